"""The autoencoder: no generative story, told as far as it goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.util import sum_rightmost
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from pyrogen.distributions import StandardNormal
from pyrogen.nn import Dense, Shape, as_shape, flatten_batch
from pyrogen.story import Story, check_event

__all__ = ["Autoencoder"]


class Autoencoder(Story):
    """x | z ~ N(decoder(z), I),  z without a prior,  guided by z = encoder(corrupted x), a point.

    The ELBO is half the squared error with its sign turned, and a constant: -|x - decoder(encoder(x))|^2 / 2 - D/2
    log 2 pi. From it go

    contractive |d encoder / dx|^2   the squared Frobenius norm of the encoder's Jacobian at x: codes that hardly move
                                     when x does (estimated without bias by one random direction of the codes),
    sparse sum_k |z_k|               codes with few large elements; as shrinking codes can be undone by the decoder, its
                                     weights want decay (AdamW), or the encoder an end that is bounded.

    In training the encoder sees a corrupted x, if asked to, and the error is that against the whole one.

    Args:
        event_shape: shape of one datum, such as (1, 28, 28).
        latent: length of a code, or its shape.
        encoder: (batch, *event_shape) -> (batch, *latent shape); None: dense.
        decoder: (batch, *latent shape) -> (batch, *event_shape); None: dense.
        hidden: widths of the dense encoder; backwards, those of the dense decoder; `()` makes both linear.
        corruption: what is done to x in training, such as `MaskingNoise(0.3)` or `GaussianNoise(0.1)`; None: nothing.
        contractive: weight of the encoder's Jacobian, which needs an encoder that can be differentiated twice.
        sparse: weight of the codes' absolute values.

    Raises:
        ValueError: a negative weight; by `check`, x has another event shape.

    Example:
        >>> story = Autoencoder((1, 8, 8), latent=2, hidden=(16,))
        >>> story.reconstruct(torch.zeros(3, 1, 8, 8)).shape
        torch.Size([3, 1, 8, 8])

    References:
        Baldi, Hornik 1989, "Neural networks and principal component analysis", doi:10.1016/0893-6080(89)90014-2;
        Vincent et al. 2008, doi:10.1145/1390156.1390294 (denoising); Rifai, Vincent, Muller, Glorot, Bengio 2011,
        "Contractive auto-encoders", ICML.
    """

    unsupported = {
        "density": "squared error scores reconstructions, and no prior says how likely a code is",
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
        self.anywhere, self.contractive, self.sparse = StandardNormal(z), contractive, sparse

    def model(self, x: Tensor | None, n: int) -> Tensor:
        """p(x | z), and what is taken off."""
        with pyro.plate("data", n, dim=-1):
            z = pyro.sample("z", self.anywhere().mask(False))  # scores 0 wherever it is
            if self.sparse:
                pyro.factor("sparse", -self.sparse * sum_rightmost(z.abs(), len(self.latent_shape)))
            if self.contractive and x is not None:
                pyro.factor("contractive", -self.contractive * self.contraction(x))
            return pyro.sample("x", dist.Normal(self.decode(z), 1.0).to_event(len(self.event_shape)), obs=x)

    def guide(self, x: Tensor, n: int) -> None:
        """z = encoder(corrupted x)."""
        with pyro.plate("data", n, dim=-1):
            pyro.sample("z", dist.Delta(self.encode(self.corruption(x)), event_dim=len(self.latent_shape)))

    def encode(self, x: Tensor) -> Tensor:
        """The codes (..., *latent_shape) of `x` (..., *event_shape)."""
        return flatten_batch(self.encoder, x, self.event_shape)

    def decode(self, z: Tensor) -> Tensor:
        """The data (..., *event_shape) that codes `z` (..., *latent_shape) stand for."""
        return flatten_batch(self.decoder, z, self.latent_shape)

    def reconstruct(self, x: Tensor) -> Tensor:
        """decoder(encoder(x)), (..., *event_shape)."""
        with self.predicting():
            return self.decode(self.encode(x.to(self.device)))

    def contraction(self, x: Tensor) -> Tensor:
        """|d encoder / dx|^2, (...), estimated without bias: E |J' v|^2 over v ~ N(0, I)."""
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # attention's other kernels have no second derivative
            x = x.detach().requires_grad_()
            z = self.encode(x)
            (gradient,) = torch.autograd.grad(z, x, torch.randn_like(z), create_graph=True)
        return sum_rightmost(gradient.square(), len(self.event_shape))

    def check(self, data: Mapping[str, Tensor]) -> None:
        """Refuse an x of another event shape."""
        check_event(self.name, "event_shape", data, self.event_shape)
