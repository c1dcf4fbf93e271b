"""The ladder variational autoencoder: a hierarchical one with a top-down guide."""

from __future__ import annotations

from collections.abc import Sequence

import pyro
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyrogen.distributions import Bernoulli, DiagonalNormal, Family, Prior, precision_weighted
from pyrogen.models.hierarchical_vae import HierarchicalVAE
from pyrogen.nn import Dense, Shape, as_shape, flatten_batch


class LadderVAE(HierarchicalVAE):
    """The story of `HierarchicalVAE`, guided along its own generative path, from the top down.

    The data inform every layer, d_t = encoder_t(d_{t-1}) with d_0 = x, by a normal e_t = posterior(head_t(d_t)) over
    z_t, the evidence. The guide is q(z_T | x) = e_T, and below, with the model's own p(z_t | z_{t+1}),

    q(z_t | z_{t+1}, x) ~ p(z_t | z_{t+1}) e_t(z_t),

    the normalized product of two normals: the guide learns only what the data add. Layers far from the data stay in use
    that collapse with a bottom-up guide.

    Args:
        event_shape: shape of one datum, such as (1, 28, 28).
        latents: number of latents, or their shape, in every layer: z_1 next to the data, ..., z_T.
        likelihood: family of p(x | z_1); `Bernoulli()` by default.
        prior: p(z_T); `StandardNormal(latents[-1])` by default.
        conditional: family of p(z_t | z_{t+1}), of diagonal normals; `DiagonalNormal()` by default.
        posterior: family of e_t, of diagonal normals; `DiagonalNormal()` by default.
        encoders: one for each layer, z_1 first: (batch, *event_shape) -> (batch, features) for the first, (batch,
            features) -> (batch, features) above; dense networks by default.
        heads: one for each layer, z_1 first: (batch, features) -> (batch, *posterior.size(shape of z_t)); linear by
            default.
        decoders: as `HierarchicalVAE`'s.
        hidden: widths of each dense encoder's hidden layers, reversed in each dense decoder; (200,) by default.
        features: length of d_t; 200 by default.

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
        self.widths, self.heads = widths, self._one_per_layer("heads", heads)

    def guide(self, x: Tensor, n: int) -> None:
        """q(z_T | x) ... q(z_1 | z_2, x).

        Args:
            x: data, (n, *event_shape).
            n: number of rows.
        """
        evidence = self.evidence(x)
        with pyro.plate("data", n, dim=-1):
            z = pyro.sample(f"z{self.num_layers}", evidence[-1])
            for t in range(self.num_layers - 1, 0, -1):
                z = pyro.sample(f"z{t}", precision_weighted(self.reverse_conditional(t, z), evidence[t - 1]))

    def evidence(self, x: Tensor) -> list[TorchDistribution]:
        """e_1, ..., e_T: what x alone implies about every layer.

        Args:
            x: data, (..., *event_shape).

        Returns:
            One distribution for each layer, z_1 first: batch shape (...), event shape that of z_t.
        """
        evidence = []
        for encoder, head, width, shape in zip(self.encoders, self.heads, self.widths, self.shapes[1:], strict=False):
            x = flatten_batch(encoder, x, width)
            evidence.append(self.posterior(flatten_batch(head, x, self.widths[-1]), shape))
        return evidence

    def encode(self, x: Tensor) -> TorchDistribution:
        """q(z_T | x).

        Args:
            x: data, (..., *event_shape).

        Returns:
            Batch shape (...), event shape that of z_T.
        """
        return self.evidence(x)[-1]
