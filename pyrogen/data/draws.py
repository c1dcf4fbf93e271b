"""Random numbers of the protocol: the same on every machine, whatever else has drawn before.

The bits come from NumPy's PCG64, whose stream is guaranteed not to change between versions, and are turned into
numbers here, in steps that are exact in floating point.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["bit_stream", "check_seed", "permutation", "uniform"]


def bit_stream(seed: int, *key: int) -> np.random.PCG64:
    """A stream of random bits for a seed and a key, such as (split, purpose); different keys are independent."""
    return np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key))


def uniform(stream: np.random.PCG64, size: int) -> NDArray[np.float64]:
    """The next ``size`` numbers of the stream, uniform on the multiples of 2**-53 in [0, 1); shape (size,).

    >>> stream, again = bit_stream(0), bit_stream(0)
    >>> bool((np.concatenate([uniform(stream, 2), uniform(stream, 3)]) == uniform(again, 5)).all())
    True
    """
    bits = stream.random_raw(size) >> np.uint64(11)
    return np.multiply(bits, 2.0**-53, dtype=np.float64)


def permutation(stream: np.random.PCG64, size: int) -> NDArray[np.intp]:
    """A random order of 0, ..., size - 1; shape (size,)."""
    return np.argsort(uniform(stream, size), kind="stable")


def check_seed(seed: int) -> None:
    """Refuses a seed that is not an integer of at least 0, with a ``TypeError`` or a ``ValueError``."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"seed: expected an integer of at least 0, got {seed!r}")
    if seed < 0:
        raise ValueError(f"seed: expected an integer of at least 0, got {seed}")
