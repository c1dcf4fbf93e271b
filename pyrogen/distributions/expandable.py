"""A base class of distributions that expand by their attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor


class ExpandableDistribution(TorchDistribution):
    """A distribution of which `expand` expands the tensors and distributions that it is made of."""

    batched: Mapping[str, int]
    """The attributes that have batch dimensions, with the number of dimensions behind these."""

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The distribution with another batch shape.

        Args:
            batch_shape: to which the present one broadcasts.

        Returns:
            A new distribution.
        """
        new = self.__new__(type(self)) if _instance is None else _instance
        new.__dict__.update(vars(self), _batch_shape=torch.Size(batch_shape))
        for name, event_dim in self.batched.items():
            part = getattr(self, name)
            if isinstance(part, Tensor):
                setattr(new, name, part.expand(*batch_shape, *part.shape[part.dim() - event_dim :]))
            elif part is not None:
                setattr(new, name, part.expand(batch_shape))
        return new
