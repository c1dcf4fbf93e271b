"""Data as named columns: loaders, splits, binarization and dequantization.

Data is a set of named columns with a common first dimension (`x`, `y`, ...). `load` returns them in three splits,
`Splits` holds the protocol of their preparation, and `check_columns` validates them.
"""

from pyrogen.arguments import check_public
from pyrogen.data.columns import RESERVED, Columns, Transform, check_columns
from pyrogen.data.registry import data_root, describe, load, user_cache
from pyrogen.data.splits import Splits, Truth
from pyrogen.data.synthetic import LinearGaussian, Ring
from pyrogen.data.texts import as_symbols, as_text
from pyrogen.data.transforms import MODES, Dequantization, DynamicBinarization

__all__ = [
    "MODES",
    "RESERVED",
    "Columns",
    "Dequantization",
    "DynamicBinarization",
    "LinearGaussian",
    "Ring",
    "Splits",
    "Transform",
    "Truth",
    "as_symbols",
    "as_text",
    "check_columns",
    "data_root",
    "describe",
    "load",
    "user_cache",
]

check_public(globals(), classes=False)
