"""Neural networks, independent of Pyro and of stories; most accept any number of batch dimensions."""

from pyrogen.arguments import check_public
from pyrogen.nn.conv.blocks import ResidualBlock
from pyrogen.nn.conv.conv import ConvDecoder, ConvEncoder, ConvNetwork
from pyrogen.nn.conv.critics import Critic
from pyrogen.nn.conv.denoisers import DenseDenoiser
from pyrogen.nn.conv.generators import Generator
from pyrogen.nn.conv.grids import GridDecoder, GridEncoder
from pyrogen.nn.conv.tiles import TileDecoder, TileEncoder
from pyrogen.nn.conv.unet import UNet
from pyrogen.nn.dense import Dense
from pyrogen.nn.labels import Label
from pyrogen.nn.noise import GaussianNoise, MaskingNoise
from pyrogen.nn.pixel.gated_pixelcnn import GatedPixelCNN
from pyrogen.nn.pixel.masked import MaskedConv2d, MaskedDense
from pyrogen.nn.pixel.pixel_transformer import PixelTransformer
from pyrogen.nn.pixel.pixelcnn import PixelCNN
from pyrogen.nn.pixel.pixelcnn_pp import PixelCNNPlusPlus
from pyrogen.nn.pixel.pixelrnn import PixelRNN
from pyrogen.nn.pixel.pixels import PixelNetwork
from pyrogen.nn.sequence.attention import AttentionBlock, TransformerEncoder
from pyrogen.nn.sequence.causal import CausalNetwork, CausalRecurrent, CausalTransformer
from pyrogen.nn.sequence.recurrent import RecurrentEncoder
from pyrogen.nn.sequence.sequences import SequenceEncoder, WordDropout, elements, without_padding
from pyrogen.nn.sequence.tokens import Tokens
from pyrogen.nn.shapes import Shape, as_shape, batch_shape, flatten, flatten_batch

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
    "WordDropout",
    "as_shape",
    "batch_shape",
    "elements",
    "flatten",
    "flatten_batch",
    "without_padding",
]

check_public(globals())
