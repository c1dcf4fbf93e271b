"""Diagnostics of the ELBO: its terms, the aggregate posterior, convergence, signal and noise of its gradient."""
