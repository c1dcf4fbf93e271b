"""The data sets by name, the folder that holds them, and the function that loads any of them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pyrogen.data import images, synthetic
from pyrogen.data.arrays import read_numpy
from pyrogen.data.draws import check_seed
from pyrogen.data.files import check_regular
from pyrogen.data.folders import read_folder
from pyrogen.data.splits import Splits, check_mode
from pyrogen.data.tables import read_csv
from pyrogen.data.texts import read_text
from pyrogen.messages import UsageError, did_you_mean, printable


class _Source(NamedTuple):
    read: Callable[[Path, bool], Splits]
    summary: str


_SOURCES = {
    "digits": _Source(images.digits, "handwritten digits, 1 x 8 x 8, 17 grey levels, from scikit-learn"),
    "mnist": _Source(images.mnist, "handwritten digits, 1 x 28 x 28, 256 grey levels"),
    "fashion-mnist": _Source(images.fashion_mnist, "articles of clothing, 1 x 28 x 28, 256 grey levels"),
    "cifar10": _Source(images.cifar10, "photographs of ten kinds, 3 x 32 x 32, 256 levels a colour"),
    "photographs": _Source(images.photographs, "patches of two photographs, 3 x 8 x 8, 256 levels, from scikit-learn"),
    "linear_gaussian": _Source(synthetic.linear_gaussian, "a planted probabilistic PCA, 8 from 3, exact density"),
    "ring": _Source(synthetic.ring, "eight Gaussians on a circle in the plane, exact density"),
}
_DOWNLOADED = ("mnist", "fashion-mnist", "cifar10")
_log = logging.getLogger(__name__)
_READERS = {".npz": read_numpy, ".npy": read_numpy, ".csv": read_csv, ".txt": read_text}


def load(
    name: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    binarize: str | None = None,
    dequantize: bool | None = None,
    *,
    seed: int = 0,
    download: bool = False,
) -> Splits:
    """Load training, validation and test data by name or path.

    Missing files are refused with a FileNotFoundError, a failed download with a ConnectionError. How a file was
    understood, where that is not obvious (`Splits.notes`), is logged as warnings of the logger `pyrogen.data.registry`.

    Args:
        name: one of `describe()`, or a path to `.npz` (a column for each key), `.npy` (column `x`), `.csv`, `.txt` (a
            datum on each line) or a folder of images; files, and folders without `train` and `test`, are split
            70/10/20 by a fixed seed, stratified on integer `y`.
        root: folder of the data sets; None, the default: `PYROGEN_DATA`, else a cache folder of the user's.
        binarize: `static`, `dynamic`, `threshold` or `none` (see `Splits.binarized`); None, the default, leaves grey
            values as they are and the choice open.
        dequantize: whether to add uniform noise within the grey levels (see `Splits.dequantized`); None, the default,
            adds none.
        seed: of the binarization or the noise, 0 by default; it changes neither splits nor synthetic data.
        download: whether to fetch missing files into the root; False by default.

    Returns:
        The splits.

    Raises:
        ValueError: the name or mode is unknown, the content damaged or unsuitable, or options exclude each other.
        TypeError: the name is no path, or the content is not numeric.

    Example:
        >>> splits = load("digits", binarize="static")
        >>> splits.train
        Columns(x: float32 (1257, 1, 8, 8), y: int64 (1257,))
    """
    if not isinstance(name, str | os.PathLike):
        raise TypeError(f"data: expected a name or a path, got a {type(name).__name__}: pass tensors to fit directly")
    check_seed(seed)
    if binarize is not None:
        check_mode(binarize)
    if dequantize and binarize not in (None, "none"):
        raise ValueError(f"dequantize=True and binarize={binarize!r} exclude each other: pass one of the two")
    splits = read(os.fspath(name), root, download)
    for note in splits.notes:
        _log.warning("%s: %s", splits.name, note)
    splits = splits if binarize is None else splits.binarized(binarize, seed)
    return splits.dequantized(seed) if dequantize else splits


def data_root(root: str | os.PathLike[str] | None = None, recorded: str | os.PathLike[str] | None = None) -> Path:
    """The folder of data sets; it need not exist.

    Args:
        root: the folder; None, the default, takes that of the environment variable `PYROGEN_DATA`.
        recorded: the folder that a run directory records, taken where neither is there; None, the default, takes the
            user's cache.

    Returns:
        The folder.

    Example:
        >>> data_root("/somewhere").as_posix()
        '/somewhere'
    """
    chosen = root or os.environ.get("PYROGEN_DATA") or recorded
    return Path(chosen).expanduser() if chosen else user_cache()


def user_cache() -> Path:
    """The user's cache folder.

    Returns:
        `$XDG_CACHE_HOME/pyrogen`, or `~/.cache/pyrogen`.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "pyrogen"


def describe() -> list[tuple[str, str]]:
    """The data sets, and the kinds of files that can be read.

    Returns:
        Name and one-line summary of each.

    Example:
        >>> describe()[0]
        ('digits', 'handwritten digits, 1 x 8 x 8, 17 grey levels, from scikit-learn')
    """
    return [
        *((name, source.summary) for name, source in _SOURCES.items()),
        ("PATH.npz, PATH.npy, PATH.csv", "own arrays: a column for each key; column x; columns x and y"),
        ("PATH.txt", "own text: a datum on each line, a symbol for each character; columns x and length"),
        ("FOLDER", "own images of one size, subfolders as classes, or train, validation and test as splits"),
    ]


def read(name: str, root: str | os.PathLike[str] | None = None, download: bool = False) -> Splits:
    """Load data as `load` does, without preparation, and without logging their notes.

    Args:
        name: as in `load`.
        root: as in `load`; None by default.
        download: as in `load`; False by default.

    Returns:
        The splits.

    Raises:
        ValueError: the name is unknown, or the file of no known kind.
    """
    known = {_canonical(key): source for key, source in _SOURCES.items()}
    if _canonical(name) in known:
        return known[_canonical(name)].read(data_root(root), download)
    with _printable_errors():
        return _read_path(name, _find(name, root))


@contextmanager
def _printable_errors() -> Iterator[None]:
    """Let errors that hold names of files be one line without control characters."""
    try:
        yield
    except (ValueError, TypeError, FileNotFoundError) as error:
        text = printable(str(error)).replace("\n", "\\n")
        if text == str(error):
            raise
        kinds: tuple[type[Exception], ...] = (UsageError, ValueError, TypeError, FileNotFoundError)
        raise next(kind for kind in kinds if isinstance(error, kind))(text) from error


def _read_path(name: str, path: Path) -> Splits:
    if path.is_dir():
        return read_folder(path, name)
    if path.suffix.lower() not in _READERS:
        kind = f"a {path.suffix} file" if path.suffix else "a file without suffix"
        raise ValueError(f"{name}: expected {', '.join(_READERS)} or a folder of images, got {kind}: convert it")
    check_regular(path, name)
    return _READERS[path.suffix.lower()](path, name)


def is_known(name: str) -> bool:
    """Whether data are one of the sets of `describe`, and no file or folder.

    Args:
        name: as in `load`.

    Returns:
        True if they are.
    """
    return _canonical(name) in map(_canonical, _SOURCES)


def is_downloadable(name: str) -> bool:
    """Whether data can be downloaded.

    Args:
        name: as in `load`.

    Returns:
        True for the data sets that are kept on servers.
    """
    return _canonical(name) in _DOWNLOADED


def needs_root(name: str) -> bool:
    """Whether data are looked for in the folder of the data sets.

    Args:
        name: as in `load`.

    Returns:
        True for data sets that are files there, and for paths that lead to nothing from here.
    """
    return is_downloadable(name) or not (is_known(name) or _is_there(Path(name).expanduser()))


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, or no path
        return False


def _find(name: str, root: str | os.PathLike[str] | None) -> Path:
    """The file or folder of a name that is no data set's: the path itself, else under the root."""
    places = [Path(name).expanduser(), data_root(root) / name]
    for place in places:
        if name.strip() and place.exists():
            return place
    if Path(name).suffix or os.sep in name or "/" in name:
        tried = " and ".join(str(place.absolute()) for place in places)
        raise FileNotFoundError(f"{name}: no such file or folder, tried {tried}: correct the path, or --data-dir")
    names = ", ".join(_SOURCES)
    raise UsageError(
        f"unknown data {name!r}: expected one of {names}, or a path to .npz, .npy, .csv, .txt or a folder of images"
        f"{did_you_mean(name, _SOURCES)}"
    )


def _canonical(name: str) -> str:
    return name.lower().replace("_", "-")
