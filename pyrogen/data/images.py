"""Image data sets: digits, photographs, MNIST, Fashion-MNIST and CIFAR-10, read without pickle."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrogen.data.columns import Columns
from pyrogen.data.partition import split_columns
from pyrogen.data.splits import Splits

CIFAR_ROWS = 10_000
"""Images in a file of CIFAR-10; tests lower it."""

_CIFAR_FOLDER = "cifar-10-batches-bin"
_CIFAR_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_CIFAR_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
_CIFAR_RECORD = 1 + 3 * 32 * 32
_REMEDY = "set root=, --data-dir or PYROGEN_DATA to the folder that holds it, or pass download=True"


def digits(root: Path, download: bool = False) -> Splits:
    """Handwritten digits from scikit-learn: x (N, 1, 8, 8) = value / 16, y int64.

    Args:
        root: not used: the data come with scikit-learn.
        download: not used.

    Returns:
        The splits, stratified: 1,257, 180 and 360 rows, 17 grey levels.

    Example:
        >>> digits(Path()).event_shape
        (1, 8, 8)

    References:
        Alpaydin and Kaynak, 1998, Optical recognition of handwritten digits, UCI machine learning repository.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(images.astype(np.float32) / 16).view(-1, 1, 8, 8)
    columns = {"x": x, "y": torch.from_numpy(labels.astype(np.int64))}
    return Splits("digits", *split_columns(columns, "digits"), classes=10, levels=17)


def photographs(root: Path, download: bool = False) -> Splits:
    """Patches of two colour photographs from scikit-learn: x (N, 3, 8, 8) = value / 255.

    Patches do not overlap; those of one photograph lie in every split, so that held-out ones look like training data.

    Args:
        root: not used: the data come with scikit-learn.
        download: not used.

    Returns:
        The splits: 5,936, 848 and 1,696 rows, 256 grey levels.

    Example:
        >>> photographs(Path()).event_shape
        (3, 8, 8)
    """
    from sklearn.datasets import load_sample_images

    whole = torch.from_numpy(np.stack(load_sample_images().images)).permute(0, 3, 1, 2)
    patches = whole.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 8, 8)
    return Splits("photographs", *split_columns({"x": patches / 255}, "photographs"), levels=256)


def mnist(root: Path, download: bool = False) -> Splits:
    """MNIST from `root/MNIST/raw`: x (N, 1, 28, 28) = value / 255, y int64.

    Validation data are the last 10,000 of the training file. Missing files are refused with a FileNotFoundError,
    truncated or damaged ones with a ValueError.

    Args:
        root: folder of the data sets.
        download: whether to fetch missing files; False by default.

    Returns:
        The splits: 50,000, 10,000 and 10,000 rows, 256 grey levels.

    References:
        LeCun, Bottou, Bengio and Haffner, 1998, Gradient-based learning applied to document recognition.
    """
    return _idx_splits("mnist", "MNIST", root, download)


def fashion_mnist(root: Path, download: bool = False) -> Splits:
    """Fashion-MNIST from `root/FashionMNIST/raw`, in the shapes and splits of `mnist`, which refuses the same files.

    Args:
        root: folder of the data sets.
        download: whether to fetch missing files; False by default.

    Returns:
        The splits: 50,000, 10,000 and 10,000 rows, 256 grey levels.

    References:
        Xiao, Rasul and Vollgraf, 2017, arXiv:1708.07747.
    """
    return _idx_splits("fashion-mnist", "FashionMNIST", root, download)


def cifar10(root: Path, download: bool = False) -> Splits:
    """CIFAR-10, binary version, from `root/cifar-10-batches-bin`: x (N, 3, 32, 32) = value / 255, y int64.

    Validation data are the last 5,000 of `data_batch_5.bin`. Each record of a file is a label byte and 3,072 bytes of
    red, green and blue rows. Missing files are refused with a FileNotFoundError.

    Args:
        root: folder of the data sets.
        download: whether to fetch missing files; False by default.

    Returns:
        The splits: 45,000, 5,000 and 10,000 rows, 256 grey levels.

    Raises:
        ValueError: a file is truncated or damaged.

    References:
        Krizhevsky, 2009, Learning multiple layers of features from tiny images.
    """
    folder = root / _CIFAR_FOLDER
    files = [folder / f"data_batch_{k}.bin" for k in range(1, 6)] + [folder / "test_batch.bin"]
    if download and not all(file.exists() for file in files):
        _download("cifar10", root)
    size = CIFAR_ROWS * _CIFAR_RECORD
    records = np.concatenate([_read("cifar10", file, size).reshape(CIFAR_ROWS, _CIFAR_RECORD) for file in files])
    x, y = records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]
    if y.max() > 9:
        raise ValueError(f"cifar10: labels up to {y.max()} in {folder}, expected 0 to 9: {_damaged(files[0])}")
    return _in_order("cifar10", x, y, (5 * CIFAR_ROWS - CIFAR_ROWS // 2, 5 * CIFAR_ROWS))


def as_grey(values: NDArray[np.uint8]) -> Tensor:
    """Bytes as grey values.

    Args:
        values: bytes of any shape.

    Returns:
        value / 255, float32 in [0, 1], of the same shape.

    Example:
        >>> as_grey(np.array([0, 255], dtype=np.uint8))
        tensor([0., 1.])
    """
    return torch.from_numpy(np.divide(values, np.float32(255), dtype=np.float32))


def _idx_splits(name: str, folder: str, root: Path, download: bool) -> Splits:
    raw = root / folder / "raw"
    shapes = {"train": 60_000, "t10k": 10_000}
    files = {f"{part}-{kind}" for part in shapes for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")}
    if download and not all((raw / file).exists() for file in files):
        _download(name, root)
    images, labels = [], []
    for part, rows in shapes.items():
        images.append(read_idx(name, raw / f"{part}-images-idx3-ubyte", (rows, 28, 28)))
        labels.append(read_idx(name, raw / f"{part}-labels-idx1-ubyte", (rows,)))
    x = np.concatenate(images)[:, None]
    return _in_order(name, x, np.concatenate(labels), (50_000, 60_000))


def _in_order(name: str, x: NDArray[np.uint8], y: NDArray[np.uint8], cuts: tuple[int, int]) -> Splits:
    """Splits of images (N, C, H, W) and labels (N,) at two positions."""
    grey, labels = as_grey(x), torch.from_numpy(y.astype(np.int64))
    bounds = (slice(0, cuts[0]), slice(*cuts), slice(cuts[1], None))
    train, validation, test = (Columns({"x": grey[rows], "y": labels[rows]}) for rows in bounds)
    return Splits(name, train, validation, test, classes=10, levels=256)


def read_idx(name: str, file: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Read a file of bytes in IDX format: two zero bytes, type 8, number of dimensions, the dimensions, the values.

    Args:
        name: what messages call the data.
        file: the file; dimensions are 32-bit integers, big-endian.
        shape: the expected dimensions.

    Returns:
        The values, of that shape.

    Raises:
        ValueError: the file has another header or another size.
    """
    start = 4 + 4 * len(shape)
    content = _read(name, file, start + int(np.prod(shape)))
    header, expected = content[:start].view(">u4").tolist(), [0x800 + len(shape), *shape]
    if header != expected:
        raise ValueError(f"{name}: {file} has header {header}, expected {expected}: {_damaged(file)}")
    return content[start:].reshape(shape)


def _read(name: str, file: Path, size: int) -> NDArray[np.uint8]:
    if not file.is_file():
        raise FileNotFoundError(f"{name}: {file.name} is missing in {file.parent}: {_REMEDY}")
    bytes_there = file.stat().st_size
    if bytes_there != size:
        state = "is truncated" if bytes_there < size else "is too long"
        raise ValueError(f"{name}: {file} {state}: expected {size:,} bytes, got {bytes_there:,}: {_damaged(file)}")
    return np.fromfile(file, dtype=np.uint8)


def _damaged(file: Path) -> str:
    return f"delete {file.parent} and download it again (download=True)"


def _download(name: str, root: Path) -> None:
    """Fetch a data set into `root`; what torchvision prints goes to standard error."""
    from torchvision import datasets
    from torchvision.datasets.utils import download_and_extract_archive

    try:
        with contextlib.redirect_stdout(sys.stderr):
            if name == "cifar10":
                download_and_extract_archive(_CIFAR_URL, root, md5=_CIFAR_MD5)
            else:
                kind = datasets.MNIST if name == "mnist" else datasets.FashionMNIST
                kind(root, download=True)
    except (RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ConnectionError(f"{name}: could not be downloaded to {root} ({reason}): download it by hand") from error
