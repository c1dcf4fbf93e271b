"""What several tests use: small stories, exact oracles, statistical comparisons."""
