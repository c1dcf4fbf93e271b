"""Inputs for `benchmarks/fuzz.py`, each with its right outcome, which is known by how the input is made."""
