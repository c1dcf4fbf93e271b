"""Quality of samples beside data: Frechet distance, precision and recall, two-sample tests, memorization."""
