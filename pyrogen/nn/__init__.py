"""Networks without probability: they take tensors with any leading dimensions, and know nothing of stories."""

from pyrogen.nn.conv import ConvDecoder, ConvEncoder
from pyrogen.nn.dense import Dense
from pyrogen.nn.shapes import Shape, as_shape, fold, leading

__all__ = ["ConvDecoder", "ConvEncoder", "Dense", "Shape", "as_shape", "fold", "leading"]
