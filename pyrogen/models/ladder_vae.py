"""The ladder variational autoencoder: a hierarchical one, guided from the top down."""

from __future__ import annotations

from collections.abc import Sequence

import pyro
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyrogen.distributions import Bernoulli, DiagonalNormal, Family, Prior, precision_weighted
from pyrogen.models.hierarchical_vae import HierarchicalVAE
from pyrogen.nn import Dense, Shape, as_shape, flatten_batch

__all__ = ["LadderVAE"]


class LadderVAE(HierarchicalVAE):
    """The story of `HierarchicalVAE`, guided along its own generative path, from the top down.

    The data speak to every layer, d_t = encoder_t(d_{t-1}) with d_0 = x, by a normal e_t = posterior(head_t(d_t)) over
    z_t. The guide is q(z_T | x) = e_T, and below, where the model says p(z_t | z_{t+1}) already,

    q(z_t | z_{t+1}, x) ~ p(z_t | z_{t+1}) e_t(z_t),

    the normalized product of two normals: what the guide learns is only what the data add. So layers far from the data
    stay in use that a guide from the bottom up leaves idle.

    Args:
        event_shape, latents, likelihood, prior: as `HierarchicalVAE`'s.
        conditional: family of p(z_t | z_{t+1}), of diagonal normals.
        posterior: family of e_t, of diagonal normals.
        encoders: one for each layer, z_1 first: (batch, *event_shape) -> (batch, features) for the first, (batch,
            features) -> (batch, features) above; None: dense.
        heads: one for each layer, z_1 first: (batch, features) -> (batch, *posterior.size(shape of z_t)); None: linear.
        decoders: as `HierarchicalVAE`'s.
        hidden: widths of each dense encoder; backwards, those of each dense decoder.
        features: numbers in d_t.

    Raises:
        ValueError: as `HierarchicalVAE`.

    Example:
        >>> story = LadderVAE((1, 8, 8), latents=(8, 4, 2), hidden=(16,), features=16)
        >>> story.encode(story.sample(3)).event_shape
        torch.Size([2])

    References:
        Sonderby, Raiko, Maaloe, Sonderby, Winther 2016, arXiv:1602.02282.
    """

    def __init__(
        self,
        event_shape: Shape,
        latents: Sequence[Shape],
        *,
        likelihood: Family = Bernoulli(),  # noqa: B008 (frozen)
        prior: Prior | None = None,
        conditional: Family = DiagonalNormal(),  # noqa: B008 (frozen)
        posterior: Family = DiagonalNormal(),  # noqa: B008 (frozen)
        encoders: Sequence[nn.Module] | None = None,
        heads: Sequence[nn.Module] | None = None,
        decoders: Sequence[nn.Module] | None = None,
        hidden: Sequence[int] = (200,),
        features: int = 200,
    ) -> None:
        widths = [as_shape(event_shape), *[(features,)] * len(latents)]
        if encoders is None:
            encoders = [Dense(width, features, hidden) for width in widths[:-1]]
        families = {"likelihood": likelihood, "conditional": conditional, "posterior": posterior}
        super().__init__(
            event_shape, latents, prior=prior, encoders=encoders, decoders=decoders, hidden=hidden, **families
        )
        if heads is None:
            heads = [Dense(features, posterior.size(shape), hidden=()) for shape in self.shapes[1:]]
        self.widths, self.heads = widths, self._each("heads", heads)

    def guide(self, x: Tensor, n: int) -> None:
        """q(z_T | x) ... q(z_1 | z_2, x)."""
        evidence = self.evidence(x)
        with pyro.plate("data", n, dim=-1):
            z = pyro.sample(f"z{self.depth}", evidence[-1])
            for t in range(self.depth - 1, 0, -1):
                z = pyro.sample(f"z{t}", precision_weighted(self.below(t, z), evidence[t - 1]))

    def evidence(self, x: Tensor) -> list[TorchDistribution]:
        """e_1, ..., e_T: what `x` (..., *event_shape) says of every layer by itself."""
        said = []
        for encoder, head, width, shape in zip(self.encoders, self.heads, self.widths, self.shapes[1:], strict=False):
            x = flatten_batch(encoder, x, width)
            said.append(self.posterior(flatten_batch(head, x, self.widths[-1]), shape))
        return said

    def encode(self, x: Tensor) -> TorchDistribution:
        """q(z_T | x) for `x` (..., *event_shape)."""
        return self.evidence(x)[-1]
