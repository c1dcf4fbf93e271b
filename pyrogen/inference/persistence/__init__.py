"""Runs on disk: checkpoints, weights, configuration and history, without pickle."""
