"""Fit of a model to data: predictive checks, leave-one-out, outliers, simulation."""
