"""A codebook of vectors, and the distribution of grids of its vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn
from torch.distributions import constraints

from pyrogen.annotations import Count
from pyrogen.distributions.expandable import ExpandableDistribution
from pyrogen.distributions.family import without_autocast


@dataclass(eq=False)
class Codebook(nn.Module):
    """K vectors, each an exponential moving average of the encodings nearest to it.

    With m_k rows nearest to vector k in a batch and s_k their sum, counts and sums are averaged over steps, N_k <-
    decay N_k + (1 - decay) m_k and S_k likewise, and the vector is S_k / N_k: online k-means. A vector that was nearest
    to few rows for long is dead, and is reset to a row of the batch, each to a different one. In evaluation mode
    vectors do not change.

    Args:
        codes: number of vectors K.
        features: numbers in a vector.
        decay: of the averages, for each step; 0.99 by default.
        dead: a vector is dead when its average count is below this fraction of the mean count and no row of the batch
            is nearest to it; 0.03 by default.

    Raises:
        ValueError: there is no code or no feature, or `decay` or `dead` is not in [0, 1).

    Example:
        >>> book = Codebook(codes=5, features=2)
        >>> book.nearest(torch.zeros(7, 3, 2)).shape
        torch.Size([7, 3])

    References:
        van den Oord, Vinyals, Kavukcuoglu 2017, arXiv:1711.00937, appendix A.1; Dhariwal et al. 2020,
        arXiv:2005.00341 (dead codes).
    """

    codes: Count
    features: Count
    decay: float = 0.99
    dead: float = 0.03

    def __post_init__(self) -> None:
        super().__init__()
        if self.codes < 1 or self.features < 1 or not 0 <= self.decay < 1 or not 0 <= self.dead < 1:
            raise ValueError(
                "Codebook needs a code and a feature at least, 0 <= decay < 1 and 0 <= dead < 1, got "
                f"codes={self.codes}, features={self.features}, decay={self.decay} and dead={self.dead}"
            )
        vectors = torch.randn(self.codes, self.features)
        self.vectors = nn.Buffer(vectors)
        self.counts = nn.Buffer(torch.ones(self.codes))
        self.sums = nn.Buffer(vectors.clone())

    def nearest(self, z: Tensor) -> Tensor:
        """The index of the vector nearest to each encoding.

        Args:
            z: encodings (..., features).

        Returns:
            int64 (...).
        """
        with without_autocast(self.vectors):
            # Relative to the mean of the vectors: |v|^2 - 2 z v cancels far from the origin.
            mean = self.vectors.mean(0)
            vectors, z = self.vectors - mean, z.detach().to(mean.dtype) - mean
            return (vectors.square().sum(-1) - 2 * z @ vectors.T).argmin(-1)

    def forward(self, index: Tensor) -> Tensor:
        """Look up vectors.

        Args:
            index: int64 (...).

        Returns:
            The vectors (..., features).
        """
        return self.vectors[index]

    @torch.no_grad()
    def initialize(self, z: Tensor) -> None:
        """Set the vectors to encodings chosen at random, different ones where there are enough.

        Args:
            z: encodings (..., features).
        """
        self.vectors.copy_(self._random_rows(z.detach().reshape(-1, self.features)))
        self.counts.fill_(1.0)
        self.sums.copy_(self.vectors)

    @torch.no_grad()
    def update(self, z: Tensor, index: Tensor) -> None:
        """Update the averages by the encodings of a batch and reset dead vectors; only in training mode.

        Args:
            z: encodings (..., features).
            index: of the vectors nearest to them, int64 (...).
        """
        if not self.training:
            return
        rows = z.detach().reshape(-1, self.features).to(self.vectors.dtype)
        # A product in place of index_add, whose order of addition is not deterministic on CUDA.
        assignment = (index.reshape(-1, 1) == torch.arange(self.codes, device=rows.device)).to(rows.dtype)
        number = assignment.sum(0)
        with without_autocast(rows):
            sums = self.decay * self.sums + (1 - self.decay) * assignment.T @ rows
        counts = self.decay * self.counts + (1 - self.decay) * number
        share = counts.sum() / self.codes
        dead = (counts < self.dead * share) & (number == 0)
        counts = torch.where(dead, share, counts)
        sums = torch.where(dead[:, None], self._random_rows(rows) * share, sums)
        self.counts.copy_(counts)
        self.sums.copy_(sums)
        self.vectors.copy_(sums / counts[:, None])

    def _random_rows(self, rows: Tensor) -> Tensor:
        """K rows without replacement, as far as there are as many."""
        times = -(-self.codes // len(rows))
        chosen = torch.cat([torch.randperm(len(rows), device=rows.device) for _ in range(times)])
        return rows[chosen[: self.codes]]


class Quantized(ExpandableDistribution):
    """A grid of a codebook's vectors, z_i = vector of c_i, with c ~ `symbols`.

    The density of a value is that of the codes nearest to it, without gradient: log p(z) = log p(c).

    Args:
        codebook: the vectors.
        symbols: p(c), over int64 of event shape `grid`.
        validate_args: whether values are checked; None, the default: as Pyro is set.

    Example:
        >>> import pyro.distributions as dist
        >>> z = Quantized(Codebook(codes=5, features=2), dist.Categorical(torch.ones(3, 5)).to_event(1))
        >>> z.sample().shape, z.log_prob(z.sample((7,))).shape
        (torch.Size([3, 2]), torch.Size([7]))
    """

    arg_constraints: dict[str, Any] = {}
    has_rsample = False
    batched = {"symbols": 0}

    def __init__(self, codebook: Codebook, symbols: TorchDistributionMixin, validate_args: bool | None = None) -> None:
        self.codebook, self.symbols = codebook, symbols
        event_shape = (*symbols.event_shape, codebook.features)
        super().__init__(symbols.batch_shape, torch.Size(event_shape), validate_args=validate_args)

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        """The constraint that values satisfy.

        Returns:
            Real vectors: the density is that of the codes nearest to them.
        """
        return constraints.independent(constraints.real, len(self.event_shape))

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw grids of vectors.

        Args:
            sample_shape: of independent draws, `()` by default.

        Returns:
            Vectors (*sample_shape, *batch_shape, *grid, features).
        """
        return self.codebook(self.symbols.sample(torch.Size(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """The log probability of the codes nearest to a value, in nats.

        Args:
            value: vectors (..., *grid, features).

        Returns:
            log p(c), (...).
        """
        return self.symbols.log_prob(self.codebook.nearest(value))
