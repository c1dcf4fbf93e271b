"""Networks without probability: they take tensors with any leading dimensions, and know nothing of stories."""

from pyrogen.nn.attention import AttentionBlock, TransformerEncoder
from pyrogen.nn.causal import CausalNetwork, CausalRecurrent, CausalTransformer
from pyrogen.nn.conv import ConvDecoder, ConvEncoder, ConvNetwork, ResidualBlock
from pyrogen.nn.denoisers import DenseDenoiser
from pyrogen.nn.dense import Dense
from pyrogen.nn.grids import GridDecoder, GridEncoder
from pyrogen.nn.noise import GaussianNoise, MaskingNoise
from pyrogen.nn.recurrent import RecurrentEncoder
from pyrogen.nn.sequences import SequenceEncoder
from pyrogen.nn.shapes import Shape, as_shape, flatten, fold, leading
from pyrogen.nn.tokens import Tokens
from pyrogen.nn.unet import UNet

__all__ = [
    "AttentionBlock",
    "CausalNetwork",
    "CausalRecurrent",
    "CausalTransformer",
    "ConvDecoder",
    "ConvEncoder",
    "ConvNetwork",
    "Dense",
    "DenseDenoiser",
    "GaussianNoise",
    "GridDecoder",
    "GridEncoder",
    "MaskingNoise",
    "RecurrentEncoder",
    "ResidualBlock",
    "SequenceEncoder",
    "Shape",
    "Tokens",
    "TransformerEncoder",
    "UNet",
    "as_shape",
    "flatten",
    "fold",
    "leading",
]
