"""The training loop: epochs, validation, early stopping, progress, and the `Fit` that comes out of it."""
