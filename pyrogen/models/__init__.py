"""Generative stories, one in each file."""

from pyrogen.models.ppca import PPCA
from pyrogen.models.vae import VAE

__all__ = ["PPCA", "VAE"]
