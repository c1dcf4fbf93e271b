"""Distributions of grey levels and of codebook vectors."""
