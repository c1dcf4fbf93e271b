"""One value for a distribution, and handlers that put latents at such or other given values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyrogen.story import is_subsample, unwrap_independent


class ModeLatents(Messenger):
    """Puts every latent at the point of its distribution (`point_of`), so that later ones are given it."""

    def _pyro_sample(self, msg: Any) -> None:
        if not (msg["is_observed"] or msg["done"] or is_subsample(msg)):
            msg["value"], msg["done"] = point_of(msg["fn"]), True


class FixedLatents(Messenger):
    """Puts latents at given values.

    Args:
        values: by site name.
    """

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.values and not msg["is_observed"]:
            msg["value"], msg["done"] = self.values[msg["name"]], True


def point_of(fn: Any) -> Tensor:
    """One value for a latent's distribution.

    Args:
        fn: the distribution.

    Returns:
        Its mean (`mean_of`); where it is discrete, its mode.
    """
    if getattr(fn.support, "is_discrete", False) and not hasattr(fn, "point"):
        mode: Tensor = fn.mode
        return mode.nan_to_num()  # a fair coin has none
    return mean_of(fn)


def mean_of(fn: Any) -> Tensor:
    """The mean of a distribution, or what comes nearest to it.

    Args:
        fn: the distribution.

    Returns:
        What its method `point` returns, if it has one; of a categorical, the mean of the numbers of its categories,
        which stand for levels; of a transformed distribution without a mean, the image of its base's.
    """
    if hasattr(fn, "point"):
        own: Tensor = fn.point()
        return own
    fn = unwrap_independent(fn)
    if isinstance(fn, torch.distributions.Categorical):
        return fn.probs @ torch.arange(fn.probs.shape[-1], dtype=fn.probs.dtype, device=fn.probs.device)
    try:
        value: Tensor = fn.mean
    except NotImplementedError:
        if not hasattr(fn, "base_dist"):
            raise
        value = mean_of(fn.base_dist)
        for transform in getattr(fn, "transforms", ()):
            value = transform(value)
    return value
