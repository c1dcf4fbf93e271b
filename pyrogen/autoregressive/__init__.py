"""Exact densities by the chain rule: stories without latents, of images, other events, and texts.

The networks are in `pyrogen.nn`, the distribution in `pyrogen.distributions`, where it is also a likelihood of a VAE.
"""

from pyrogen.autoregressive.language import LanguageModel
from pyrogen.autoregressive.model import AutoregressiveModel, ConditionalAutoregressiveModel

__all__ = ["AutoregressiveModel", "ConditionalAutoregressiveModel", "LanguageModel"]
