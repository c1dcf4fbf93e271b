"""Guides that are wrong in a known way, and guides that are right without being exact."""
