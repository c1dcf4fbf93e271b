"""Objectives, optimizers, schedules of the learning rate, and frozen parameters."""
