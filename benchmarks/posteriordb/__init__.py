"""Posteriors of posteriordb as Pyro programs, with their data and reference draws."""
