"""Random state of torch, numpy and Python: read, set, preserved, seeded."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor


def torch_random_state() -> list[Tensor]:
    """The states of torch's generators.

    Returns:
        That of the CPU's, then one for each CUDA device in use.
    """
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return [torch.get_rng_state(), *cuda]


def set_torch_random_state(state: list[Tensor]) -> None:
    """Set torch's generators.

    Args:
        state: what `torch_random_state` returned.
    """
    torch.set_rng_state(state[0].cpu())
    if len(state) > 1 and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([s.cpu() for s in state[1:]])


def get_random_state() -> dict[str, Any]:
    """The state of every generator that a program may draw from.

    Returns:
        Under "torch", "numpy" and "python", as tensors and plain values.
    """
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002 - programs may draw from it
    return {
        "torch": torch_random_state(),
        "numpy": [name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), position, has_gauss, gauss],
        "python": random.getstate(),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Set every generator that a program may draw from.

    Args:
        state: what `get_random_state` returned.
    """
    set_torch_random_state(state["torch"])
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state(  # noqa: NPY002 - programs may draw from it
        (name, keys.numpy().astype(np.uint32), position, has_gauss, gauss)
    )
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))


def foreign_random_state() -> tuple[Any, ...]:
    """The states of numpy's and Python's generators, which a traced graph does not contain.

    Returns:
        Something that is equal while neither has drawn.
    """
    _, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002 - programs may draw from it
    return np.asarray(keys).tobytes(), position, has_gauss, gauss, random.getstate()


def set_seed(seed: int) -> None:
    """Seed every generator.

    Args:
        seed: at least 0; numpy's takes its last 32 bits, torch's 64.
    """
    torch.manual_seed(seed % 2**64)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - programs may draw from it


@contextmanager
def preserve_random_state() -> Iterator[None]:
    """On leaving, every generator has the state that it had on entering.

    Yields:
        None.
    """
    state = get_random_state()
    try:
        yield
    finally:
        set_random_state(state)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from generators with a given seed; on leaving, they have the states that they had on entering.

    Args:
        seed: of torch's, numpy's and Python's generators.

    Yields:
        None.
    """
    with preserve_random_state():
        set_seed(seed)
        yield
