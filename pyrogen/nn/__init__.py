"""Networks without probability: they take tensors with any leading dimensions, and know nothing of stories."""

from pyrogen.nn.attention import AttentionBlock, TransformerEncoder
from pyrogen.nn.conv import ConvDecoder, ConvEncoder, ResidualBlock
from pyrogen.nn.dense import Dense
from pyrogen.nn.noise import GaussianNoise, MaskingNoise
from pyrogen.nn.recurrent import RecurrentEncoder
from pyrogen.nn.shapes import Shape, as_shape, flatten, fold, leading
from pyrogen.nn.tokens import Tokens

__all__ = [
    "AttentionBlock",
    "ConvDecoder",
    "ConvEncoder",
    "Dense",
    "GaussianNoise",
    "MaskingNoise",
    "RecurrentEncoder",
    "ResidualBlock",
    "Shape",
    "Tokens",
    "TransformerEncoder",
    "as_shape",
    "flatten",
    "fold",
    "leading",
]
