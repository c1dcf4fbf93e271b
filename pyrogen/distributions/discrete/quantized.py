"""A codebook of vectors, and the distribution of grids of its vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from pyrogen.distributions.family import without_autocast

__all__ = ["Codebook", "Quantized"]


@dataclass(eq=False)
class Codebook(nn.Module):
    """K vectors, each the average of what was nearest to it of late.

    With m_k rows nearest to vector k in a batch and s_k their sum, counts and sums are averaged over steps, N_k <-
    decay N_k + (1 - decay) m_k and S_k likewise, and the vector is S_k / N_k: k-means, step by step. A vector that
    nothing has been nearest to for long is dead, and starts anew at a row of the batch, each at another one. In
    evaluation mode nothing is learned.

    Args:
        codes: number of vectors K.
        features: numbers in a vector.
        decay: of the averages.
        dead: a vector is dead when its average count is below this part of an equal share, and no row is nearest to it.

    Raises:
        ValueError: no code or no feature, or `decay` or `dead` is not in [0, 1).

    Example:
        >>> book = Codebook(codes=5, features=2)
        >>> book.nearest(torch.zeros(7, 3, 2)).shape
        torch.Size([7, 3])

    References:
        van den Oord, Vinyals, Kavukcuoglu 2017, arXiv:1711.00937, appendix A.1; Dhariwal et al. 2020,
        arXiv:2005.00341 (dead codes).
    """

    codes: int
    features: int
    decay: float = 0.99
    dead: float = 0.03

    def __post_init__(self) -> None:
        super().__init__()
        if self.codes < 1 or self.features < 1 or not 0 <= self.decay < 1 or not 0 <= self.dead < 1:
            raise ValueError(
                "Codebook needs a code and a feature at least, 0 <= decay < 1 and 0 <= dead < 1, got "
                f"codes={self.codes}, features={self.features}, decay={self.decay} and dead={self.dead}"
            )
        self.vectors: Tensor
        self.counts: Tensor
        self.sums: Tensor
        vectors = torch.randn(self.codes, self.features)
        self.register_buffer("vectors", vectors)
        self.register_buffer("counts", torch.ones(self.codes))
        self.register_buffer("sums", vectors.clone())

    def nearest(self, z: Tensor) -> Tensor:
        """The code nearest to each vector of `z` (..., features), int64 (...)."""
        with without_autocast(self.vectors):
            # TrainingSpec from the middle of the vectors: |v|^2 - 2 z v cancels far from the origin.
            middle = self.vectors.mean(0)
            vectors, z = self.vectors - middle, z.detach().to(middle.dtype) - middle
            return (vectors.square().sum(-1) - 2 * z @ vectors.T).argmin(-1)

    def forward(self, index: Tensor) -> Tensor:
        """The vectors (..., features) of the codes `index` (...)."""
        return self.vectors[index]

    @torch.no_grad()
    def initialize(self, z: Tensor) -> None:
        """Put the vectors at different rows of `z` (..., features), chosen at random, each as often if they are few."""
        self.vectors.copy_(self._some(z.detach().reshape(-1, self.features)))
        self.counts.fill_(1.0)
        self.sums.copy_(self.vectors)

    @torch.no_grad()
    def update(self, z: Tensor, index: Tensor) -> None:
        """Average the vectors `z` (..., features) into those of their codes `index` (...), and revive dead ones."""
        if not self.training:
            return
        rows = z.detach().reshape(-1, self.features).to(self.vectors.dtype)
        # A product, and no index_add: on CUDA that adds in another order each time.
        belongs = (index.reshape(-1, 1) == torch.arange(self.codes, device=rows.device)).to(rows.dtype)
        number = belongs.sum(0)
        with without_autocast(rows):
            sums = self.decay * self.sums + (1 - self.decay) * belongs.T @ rows
        counts = self.decay * self.counts + (1 - self.decay) * number
        share = counts.sum() / self.codes
        dead = (counts < self.dead * share) & (number == 0)
        counts = torch.where(dead, share, counts)
        sums = torch.where(dead[:, None], self._some(rows) * share, sums)
        self.counts.copy_(counts)
        self.sums.copy_(sums)
        self.vectors.copy_(sums / counts[:, None])

    def _some(self, rows: Tensor) -> Tensor:
        """As many of the rows as there are codes, chosen at random: different ones, each as often if they are few."""
        times = -(-self.codes // len(rows))
        chosen = torch.cat([torch.randperm(len(rows), device=rows.device) for _ in range(times)])
        return rows[chosen[: self.codes]]


class Quantized(TorchDistribution):
    """A grid of a codebook's vectors, z_i = vector of c_i, with c ~ `symbols`.

    A value is scored by the codes nearest to it, without gradient: log p(z) = log p(c).

    Args:
        codebook: the vectors.
        symbols: p(c), over int64 of event shape `grid`.

    Example:
        >>> import pyro.distributions as dist
        >>> z = Quantized(Codebook(codes=5, features=2), dist.Categorical(torch.ones(3, 5)).to_event(1))
        >>> z.sample().shape, z.log_prob(z.sample((7,))).shape
        (torch.Size([3, 2]), torch.Size([7]))
    """

    arg_constraints: dict[str, Any] = {}
    has_rsample = False

    def __init__(self, codebook: Codebook, symbols: TorchDistribution, validate_args: bool | None = None) -> None:
        self.codebook, self.symbols = codebook, symbols
        event_shape = (*symbols.event_shape, codebook.features)
        super().__init__(symbols.batch_shape, torch.Size(event_shape), validate_args=validate_args)

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        """Any vectors: the nearest codes are scored."""
        return constraints.independent(constraints.real, len(self.event_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Quantized:
        """The distribution with another batch shape."""
        new = self._get_checked_instance(Quantized, _instance)
        new.codebook, new.symbols = self.codebook, self.symbols.expand(batch_shape)
        super(Quantized, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws (*sample_shape, *batch_shape, *grid, features)."""
        drawn: Tensor = self.codebook(self.symbols.sample(torch.Size(sample_shape)))
        return drawn

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(z = value), nats."""
        log_prob: Tensor = self.symbols.log_prob(self.codebook.nearest(value))
        return log_prob
