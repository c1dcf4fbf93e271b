"""Networks without probability: they take tensors with any leading dimensions, and know nothing of stories."""

from pyrogen.nn.attention import AttentionBlock, TransformerEncoder
from pyrogen.nn.causal import CausalNetwork, CausalRecurrent, CausalTransformer
from pyrogen.nn.conv import ConvDecoder, ConvEncoder, ConvNetwork, ResidualBlock
from pyrogen.nn.critics import Critic
from pyrogen.nn.denoisers import DenseDenoiser
from pyrogen.nn.dense import Dense
from pyrogen.nn.gated_pixelcnn import GatedPixelCNN
from pyrogen.nn.generators import Generator
from pyrogen.nn.grids import GridDecoder, GridEncoder
from pyrogen.nn.labels import Label
from pyrogen.nn.masked import MaskedConv2d, MaskedDense
from pyrogen.nn.noise import GaussianNoise, MaskingNoise
from pyrogen.nn.pixel_transformer import PixelTransformer
from pyrogen.nn.pixelcnn import PixelCNN
from pyrogen.nn.pixelcnn_pp import PixelCNNPlusPlus
from pyrogen.nn.pixelrnn import PixelRNN
from pyrogen.nn.pixels import PixelNetwork
from pyrogen.nn.recurrent import RecurrentEncoder
from pyrogen.nn.sequences import HiddenTokens, SequenceEncoder, elements, without_padding
from pyrogen.nn.shapes import Shape, as_shape, flatten, fold, leading
from pyrogen.nn.tiles import TileDecoder, TileEncoder
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
    "Critic",
    "Dense",
    "DenseDenoiser",
    "GatedPixelCNN",
    "GaussianNoise",
    "Generator",
    "GridDecoder",
    "GridEncoder",
    "HiddenTokens",
    "Label",
    "MaskedConv2d",
    "MaskedDense",
    "MaskingNoise",
    "PixelCNN",
    "PixelCNNPlusPlus",
    "PixelNetwork",
    "PixelRNN",
    "PixelTransformer",
    "RecurrentEncoder",
    "ResidualBlock",
    "SequenceEncoder",
    "Shape",
    "TileDecoder",
    "TileEncoder",
    "Tokens",
    "TransformerEncoder",
    "UNet",
    "as_shape",
    "elements",
    "flatten",
    "fold",
    "leading",
    "without_padding",
]
