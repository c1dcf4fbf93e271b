"""Random numbers for fixed data preparation: the same on every machine, independent of global random states.

The bits come from NumPy's PCG64, whose stream is guaranteed not to change between versions, and are converted to
numbers here, in steps that are exact in floating point.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def bit_stream(seed: int, *key: int) -> np.random.PCG64:
    """A stream of random bits; different keys give independent streams.

    Args:
        seed: an integer of at least 0.
        *key: integers such as the number of a split and that of a purpose.

    Returns:
        The bit generator.
    """
    return np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key))


def uniform(stream: np.random.PCG64, size: int) -> NDArray[np.float64]:
    """The next numbers of a stream, uniform on the multiples of 2**-53 in [0, 1).

    Args:
        stream: random bits; it advances.
        size: how many numbers.

    Returns:
        The numbers, shape (size,).

    Example:
        >>> stream, again = bit_stream(0), bit_stream(0)
        >>> bool((np.concatenate([uniform(stream, 2), uniform(stream, 3)]) == uniform(again, 5)).all())
        True
    """
    bits = stream.random_raw(size) >> np.uint64(11)
    return np.multiply(bits, 2.0**-53, dtype=np.float64)


def permutation(stream: np.random.PCG64, size: int) -> NDArray[np.intp]:
    """A random order of 0, ..., size - 1.

    Args:
        stream: random bits; it advances.
        size: how many numbers.

    Returns:
        The order, shape (size,).
    """
    return np.argsort(uniform(stream, size), kind="stable")


def check_seed(seed: int) -> None:
    """Refuse a seed that is not an integer of at least 0.

    Args:
        seed: the seed.

    Raises:
        TypeError: it is no integer.
        ValueError: it is negative.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"seed: expected an integer of at least 0, got {seed!r}")
    if seed < 0:
        raise ValueError(f"seed: expected an integer of at least 0, got {seed}")
