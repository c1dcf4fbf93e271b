"""The kernel density estimate: a mixture with a component on every training datum."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrogen.distributions import Bandwidth, LeaveOneOutBandwidth, squared_distances
from pyrogen.models.event_story import EventStory
from pyrogen.nn import Shape, as_shape, flatten

MAX_ELEMENTS = 2**22
"""Distances that `log_prob` holds in memory at once."""


class KDE(EventStory):
    """j ~ Uniform{1, ..., N},  x | j ~ N(x_j, h^2 I_D):  p(x) = mean_j N(x; x_j, h^2 I_D) over the training data x_j.

    The latent j is summed out, so that the guide is empty; the whole fit is to keep the data and to choose h. Memory
    is bounded: distances are computed a few million at a time.

    Args:
        event_shape: shape of one datum, flattened to D features inside.
        total: number of training data N.
        bandwidth: the standard deviation h of the kernel, in the units of the data, or a rule that chooses it;
            `LeaveOneOutBandwidth()` by default.

    Raises:
        ValueError: `bandwidth` is not positive.

    Example:
        >>> story = KDE(1, total=2, bandwidth=1.0)
        >>> story.prepare({"x": torch.tensor([[0.0], [0.0]])})
        >>> story.log_prob(torch.tensor([[0.0]]))
        tensor([-0.9189])

    References:
        Rosenblatt 1956, Annals of Mathematical Statistics 27(3); Parzen 1962, Annals of Mathematical Statistics 33(3).
    """

    floating = True
    unsupported = {
        "steps": "its fit is to keep the data and to choose a bandwidth",
        "guide": "its one latent, the index of a training datum, is summed out",
    }

    def __init__(
        self,
        event_shape: Shape,
        total: int,
        bandwidth: Bandwidth | float = LeaveOneOutBandwidth(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__()
        if not isinstance(bandwidth, Bandwidth) and not bandwidth > 0:
            raise ValueError(f"KDE needs a positive bandwidth, or a rule for it, got bandwidth={bandwidth!r}")
        self.event_shape, (self.total,), self.rule = as_shape(event_shape), as_shape(total), bandwidth
        self.points = nn.Buffer(torch.zeros(self.total, math.prod(self.event_shape)))
        self.bandwidth = nn.Buffer(torch.ones(()))

    def model(self, x: Tensor | None, n: int) -> Tensor:
        """p(j) p(x | j).

        Args:
            x: data to observe, (n, *event_shape), or None to draw them.
            n: number of rows.

        Returns:
            x, drawn or observed, (n, *event_shape).
        """
        with pyro.plate("data", n, dim=-1):
            uniform = self.points.new_zeros(self.total)
            j = pyro.sample("j", dist.Categorical(logits=uniform), infer={"enumerate": "parallel"})
            centre = self.points[j].reshape((*j.shape, *self.event_shape))
            return pyro.sample("x", dist.Normal(centre, self.bandwidth).to_event(len(self.event_shape)), obs=x)

    def guide(self, x: Tensor, n: int) -> None:
        """Empty: j is summed out.

        Args:
            x: data, (n, *event_shape).
            n: number of rows.
        """

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), exactly.

        Args:
            x: data, (..., *event_shape).

        Returns:
            (...) in nats.
        """
        flat = flatten(x, self.event_shape, self.name)
        rows = flat.reshape(-1, flat.shape[-1]).split(max(1, MAX_ELEMENTS // self.total))
        exponents = (-squared_distances(r, self.points) / (2 * self.bandwidth.square()) for r in rows)
        sums = torch.cat([exponent.logsumexp(1) for exponent in exponents]).reshape(flat.shape[:-1])
        return sums - math.log(self.total) - flat.shape[-1] * (math.sqrt(2 * math.pi) * self.bandwidth).log()

    @torch.no_grad()
    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Keep the data, and choose the bandwidth.

        Args:
            data: the training columns, `x` (N, *event_shape).

        Raises:
            ValueError: the number of data is not the `total` that the story was built for.
        """
        x = flatten(data["x"], self.event_shape, self.name)
        if len(x) != self.total:
            raise ValueError(f"KDE was built for total={self.total} data, and there are {len(x)}: pass total={len(x)}")
        self.bandwidth.fill_(self.rule(x) if isinstance(self.rule, Bandwidth) else self.rule)
        self.points.copy_(x)
