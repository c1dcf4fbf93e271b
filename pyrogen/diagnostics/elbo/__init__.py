"""The ELBO taken apart: terms by site, aggregate posterior, convergence, noise of its gradient."""
