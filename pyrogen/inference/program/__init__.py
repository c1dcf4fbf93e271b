"""Model and guide as functions of a batch: validation, random state, precision, log weights."""
