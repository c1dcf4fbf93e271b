"""Steps of stochastic variational inference: those of `fit`, and a drop-in for Pyro's `SVI`."""
