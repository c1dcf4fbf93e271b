"""Autoregressive models: stories without latents, with exact densities, of images, other events, and texts.

Their networks are in `pyrogen.nn`, and their distribution, which is also a likelihood of VAEs, in
`pyrogen.distributions`.
"""

from pyrogen.arguments import check_public
from pyrogen.autoregressive.language import LanguageModel
from pyrogen.autoregressive.model import AutoregressiveModel, ConditionalAutoregressiveModel

__all__ = ["AutoregressiveModel", "ConditionalAutoregressiveModel", "LanguageModel"]

check_public(globals())
