"""The autoencoder, which defines reconstructions but no distribution over data."""

from __future__ import annotations

from collections.abc import Sequence

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.util import sum_rightmost
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from pyrogen.distributions import StandardNormal
from pyrogen.models.event_story import EncoderDecoderStory
from pyrogen.nn import Dense, Shape, as_shape, flatten_batch


class Autoencoder(EncoderDecoderStory):
    """x | z ~ N(decoder(z), I),  z without a prior,  guided by the point z = encoder(corrupted x).

    Up to a constant, the ELBO is minus half the squared error: -|x - decoder(encoder(x))|^2 / 2 - D/2 log 2 pi.
    Two penalties can be subtracted from it:

    contractive |d encoder / dx|^2   the squared Frobenius norm of the encoder's Jacobian at x, which makes codes
                                     insensitive to x (estimated without bias by one random direction of the codes),
    sparse sum_k |z_k|               the L1 norm of the code. As the decoder can undo a shrinkage of the codes, use
                                     weight decay for it (AdamW), or an encoder with bounded outputs.

    In training the encoder sees a corrupted x if `corruption` is set; the error is measured against the intact x.

    Args:
        event_shape: shape of one datum, such as (1, 28, 28).
        latent: length of a code, or its shape.
        encoder: (batch, *event_shape) -> (batch, *latent shape); a dense network by default.
        decoder: (batch, *latent shape) -> (batch, *event_shape); a dense network by default.
        hidden: widths of the dense encoder's hidden layers, reversed in the dense decoder; (400,) by default, `()`
            makes both linear.
        corruption: module applied to x in training, such as `MaskingNoise(0.3)` or `GaussianNoise(0.1)`; none by
            default.
        contractive: weight of the contractive penalty, whose encoder must be twice differentiable; 0 by default.
        sparse: weight of the sparsity penalty; 0 by default.

    Raises:
        ValueError: a penalty's weight is negative.

    Example:
        >>> story = Autoencoder((1, 8, 8), latent=2, hidden=(16,))
        >>> story.reconstruct(torch.zeros(3, 1, 8, 8)).shape
        torch.Size([3, 1, 8, 8])

    References:
        Baldi, Hornik 1989, "Neural networks and principal component analysis", doi:10.1016/0893-6080(89)90014-2;
        Vincent et al. 2008, doi:10.1145/1390156.1390294 (denoising); Rifai, Vincent, Muller, Glorot, Bengio 2011,
        "Contractive auto-encoders", ICML.
    """

    floating = True
    unsupported = {
        "density": "squared error scores reconstructions, and there is no prior over codes",
        "sample": "without a prior over codes, an autoencoder defines no distribution over x",
    }

    def __init__(
        self,
        event_shape: Shape,
        latent: Shape,
        *,
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
        hidden: Sequence[int] = (400,),
        corruption: nn.Module | None = None,
        contractive: float = 0.0,
        sparse: float = 0.0,
    ) -> None:
        super().__init__()
        for name, weight in (("contractive", contractive), ("sparse", sparse)):
            if not weight >= 0:
                raise ValueError(f"{self.name} needs a weight of at least 0, got {name}={weight!r}")
        self.event_shape, self.latent_shape = x, z = as_shape(event_shape), as_shape(latent)
        self.encoder = Dense(x, z, hidden) if encoder is None else encoder
        self.decoder = Dense(z, x, hidden[::-1]) if decoder is None else decoder
        self.corruption = nn.Identity() if corruption is None else corruption
        self.unscored_prior, self.contractive, self.sparse = StandardNormal(z), contractive, sparse

    def model(self, x: Tensor | None, n: int) -> Tensor:
        """p(x | z), and the penalties.

        Args:
            x: data to observe, (n, *event_shape), or None to draw them.
            n: number of rows.

        Returns:
            x, drawn or observed, (n, *event_shape).
        """
        with pyro.plate("data", n, dim=-1):
            z = pyro.sample("z", self.unscored_prior().mask(False))  # its log density counts as 0
            if self.sparse:
                pyro.factor("sparse", -self.sparse * sum_rightmost(z.abs(), len(self.latent_shape)))
            if self.contractive and x is not None:
                pyro.factor("contractive", -self.contractive * self.contraction(x))
            return pyro.sample("x", dist.Normal(self.decode(z), 1.0).to_event(len(self.event_shape)), obs=x)

    def guide(self, x: Tensor, n: int) -> None:
        """The point z = encoder(corrupted x).

        Args:
            x: data, (n, *event_shape).
            n: number of rows.
        """
        with pyro.plate("data", n, dim=-1):
            pyro.sample("z", self.encode(self.corruption(x)))

    def encode(self, x: Tensor) -> dist.Delta:
        """The code encoder(x) as a point.

        Args:
            x: data, (..., *event_shape).

        Returns:
            Batch shape (...), event shape `latent_shape`.
        """
        return dist.Delta(flatten_batch(self.encoder, x, self.event_shape), event_dim=len(self.latent_shape))

    def decode(self, z: Tensor) -> Tensor:
        """The data decoder(z).

        Args:
            z: codes, (..., *latent_shape).

        Returns:
            (..., *event_shape).
        """
        return flatten_batch(self.decoder, z, self.latent_shape)

    def contraction(self, x: Tensor) -> Tensor:
        """|d encoder / dx|^2 at x, estimated without bias: E |J' v|^2 over v ~ N(0, I).

        Args:
            x: data, (..., *event_shape).

        Returns:
            One estimate for each datum, (...).
        """
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # attention's other kernels have no second derivative
            x = x.detach().requires_grad_()
            z = self.encode(x).v
            (gradient,) = torch.autograd.grad(z, x, torch.randn_like(z), create_graph=True)
        return sum_rightmost(gradient.square(), len(self.event_shape))
