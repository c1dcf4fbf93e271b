"""Normalizing flows: bijections, couplings, and the distributions that they make."""
