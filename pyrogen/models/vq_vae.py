"""The VQ-VAE: discrete codes, found by nearest neighbour, and a prior over them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrogen.distributions import AutoregressiveDistribution, Bernoulli, Categorical, Codebook, Family, Quantized
from pyrogen.nn import CausalTransformer, Dense, GatedPixelCNN, Shape, as_shape, batch_shape, flatten_batch
from pyrogen.story import Story, check_event

__all__ = ["VQVAE", "CodeUsage"]

_STARTED = 4096
"""Data whose encodings the codebook starts from."""
_NUMBERS = 2**18
"""Numbers of data that are encoded at once."""


@dataclass(frozen=True)
class CodeUsage:
    """How the codes are used.

    Args:
        used: codes that some datum has.
        codes: how many there are.
        perplexity: exp of the entropy of the codes' frequencies: as many codes, equally often, would be as uncertain.
    """

    used: int
    codes: int
    perplexity: float

    def __str__(self) -> str:
        return f"{self.used} of {self.codes} codes used, perplexity {self.perplexity:.1f}"


class VQVAE(Story):
    """c ~ prior,  z_i = vector of code c_i,  x | z ~ likelihood(decoder(z)),  guided by codes nearest to encoder(x).

    The guide is a point, so that the ELBO is log p(x | z) + log p(c) <= log p(x) = log sum_c p(c) p(x | c): a bound
    like any other, and a code length for x. Codes have no gradient. The decoder's is passed on to the encoder as it is
    (straight-through), which needs encodings to stay near their vectors: in training the guide pays commitment
    |encoder(x) - z|^2 besides, so that training figures are below the bound, and validation's are not. The vectors are
    averages of the encodings that are nearest to them (`Codebook`), taken once in each run of the guide: particles that
    run one by one average several times a step, as a decay of decay^particles would. It is the guide that moves them:
    `freeze="guide"` or "codebook" keeps them where they are, "model" does not. The prior learns in the same run, on the
    codes as they are, and moves nothing else.

    Args:
        event_shape: shape of one datum, such as (1, 28, 28).
        grid: shape of the codes of a datum, such as (7, 7).
        codes: number of vectors in the codebook.
        features: numbers in a vector.
        likelihood: family of p(x | z).
        prior: p(c): "transformer", masked, over the codes in the order of reading; "pixelcnn", gated, over a grid of
            them; "uniform"; or a network that `AutoregressiveDistribution` takes, over `Categorical(codes)`.
        encoder: (batch, *event_shape) -> (batch, *grid, features); None: dense.
        decoder: (batch, *grid, features) -> (batch, *likelihood.size(event_shape)); None: dense.
        hidden: widths of the dense encoder; backwards, those of the dense decoder; `()` makes both linear.
        commitment: weight of the encodings' distance from their vectors.
        decay: of the codebook's averages.

    Raises:
        ValueError: an unknown prior, or one made for other codes or fewer places; a negative commitment; by `check`, x
            has another event shape, or no density.

    Example:
        >>> story = VQVAE((1, 8, 8), grid=4, codes=16, features=2, hidden=(16,))
        >>> story.codes(story.sample(3)).shape
        torch.Size([3, 4])

    References:
        van den Oord, Vinyals, Kavukcuoglu 2017, arXiv:1711.00937.
    """

    def __init__(
        self,
        event_shape: Shape,
        grid: Shape,
        codes: int = 128,
        features: int = 16,
        *,
        likelihood: Family = Bernoulli(),  # noqa: B008 (frozen)
        prior: Literal["transformer", "pixelcnn", "uniform"] | nn.Module = "transformer",
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
        hidden: Sequence[int] = (400,),
        commitment: float = 0.25,
        decay: float = 0.99,
    ) -> None:
        super().__init__()
        if not commitment >= 0:
            raise ValueError(f"{self.name} needs a commitment of at least 0, got {commitment!r}")
        self.event_shape, self.grid = x, g = as_shape(event_shape), as_shape(grid)
        self.latent_shape = z = (*g, features)
        self.likelihood, self.commitment = likelihood, commitment
        self.codebook = Codebook(codes, features, decay)
        self.encoder = Dense(x, z, hidden) if encoder is None else encoder
        self.decoder = Dense(z, likelihood.size(x), hidden[::-1]) if decoder is None else decoder
        self.prior = self._network(prior)

    def _network(self, prior: str | nn.Module) -> nn.Module | None:
        """The network of the prior; None for the uniform one."""
        if isinstance(prior, nn.Module):
            self._check_prior(prior)
            return prior
        told = {"symbols": self.codebook.codes, "outputs": self.codebook.codes}
        table: dict[str, Callable[[], nn.Module | None]] = {
            "transformer": lambda: CausalTransformer(math.prod(self.grid), **told),
            "pixelcnn": lambda: GatedPixelCNN(self.grid, **told),
            "uniform": lambda: None,
        }
        if prior not in table:
            raise ValueError(f"prior is one of {', '.join(table)} or a network, got {prior!r}")
        if prior == "pixelcnn" and len(self.grid) != 2:
            raise ValueError(
                f"{self.name}: prior='pixelcnn' is over codes on a grid (height, width), got grid={self.grid}: set "
                "such as grid=(4, 4), or prior='transformer'"
            )
        return table[prior]()

    def _check_prior(self, prior: nn.Module) -> None:
        """Refuse a network that says of itself that it is made for other codes, or fewer places."""
        codes, places = self.codebook.codes, math.prod(self.grid)
        for name, needed in (("symbols", codes), ("outputs", codes), ("length", places)):
            made = getattr(prior, name, needed)
            if isinstance(made, int) and (made < needed if name == "length" else made != needed):
                raise ValueError(
                    f"{self.name} has {codes} codes in {places} places, and its prior is a {type(prior).__name__} of "
                    f"{name}={made}: build it with {name}={needed}"
                )

    def model(self, x: Tensor | None, n: int) -> Tensor:
        """p(c) p(x | c)."""
        with pyro.plate("data", n, dim=-1):
            z = pyro.sample("z", Quantized(self.codebook, self.symbols()))
            return pyro.sample("x", self.decode(z), obs=x)

    def guide(self, x: Tensor, n: int) -> None:
        """The codes nearest to encoder(x)."""
        near = self.encode(x)
        index = self.codebook.nearest(near)
        self.codebook.update(near, index)
        z = self.codebook(index)
        with pyro.plate("data", n, dim=-1):
            if self.training:
                distance = (near - z.detach()).square().flatten(-len(self.latent_shape)).sum(-1)
                # A guide's factor counts as part of log q, which is to be small.
                pyro.factor("commitment", self.commitment * distance, has_rsample=True)
            straight = near + (z - near).detach()
            pyro.sample("z", dist.Delta(straight, event_dim=len(self.latent_shape)))

    def symbols(self) -> dist.TorchDistribution:
        """p(c), over int64 of event shape `grid`."""
        if self.prior is not None:
            return AutoregressiveDistribution(self.prior, Categorical(self.codebook.codes), self.grid)
        logits = self.codebook.vectors.new_zeros(*self.grid, self.codebook.codes)
        return dist.Categorical(logits=logits).to_event(len(self.grid))

    def encode(self, x: Tensor) -> Tensor:
        """encoder(x), before the nearest code is taken: (..., *grid, features) for `x` (..., *event_shape)."""
        return flatten_batch(self.encoder, x, self.event_shape)

    def decode(self, z: Tensor) -> dist.TorchDistribution:
        """p(x | z) for `z` (..., *grid, features)."""
        return self.likelihood(flatten_batch(self.decoder, z, self.latent_shape), self.event_shape)

    def codes(self, x: Tensor) -> Tensor:
        """The codes (..., *grid), int64, of `x` (..., *event_shape)."""
        return self._by_parts(x, self.codebook.nearest)

    def reconstruct(self, x: Tensor) -> Tensor:
        """The mean of p(x | z) at the codes of `x`, (..., *event_shape)."""
        point, book = self.likelihood.point, self.codebook
        return self._by_parts(x, lambda near: point(self.decode(book(book.nearest(near)))))

    def _by_parts(self, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """A function of the encodings of `x` (..., *event_shape), which are taken some at a time."""
        lead = batch_shape(x, self.event_shape, self.name)
        rows = x.reshape(math.prod(lead), *self.event_shape)
        with self.predicting():
            out = torch.cat([function(self.encode(part.to(self.device))) for part in self._parts(rows)])
        return out.reshape(*lead, *out.shape[1:])

    def _parts(self, rows: Tensor) -> tuple[Tensor, ...]:
        return rows.split(max(1, _NUMBERS // math.prod(self.event_shape)))

    def usage(self, x: Tensor) -> CodeUsage:
        """How often the codes are used by `x` (n, *event_shape)."""
        counts = torch.bincount(self.codes(x).flatten(), minlength=self.codebook.codes).double()
        entropy = torch.special.entr(counts / counts.sum()).sum()
        return CodeUsage(int((counts > 0).sum()), self.codebook.codes, float(entropy.exp()))

    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Start the codebook at encodings of training data."""
        self.likelihood.prepare(data["x"])
        some = data["x"][torch.randperm(len(data["x"]))[:_STARTED].to(data["x"].device)]
        self.codebook.initialize(torch.cat([self.encode(part) for part in self._parts(some)]))

    def check(self, data: Mapping[str, Tensor]) -> None:
        """Refuse an x of another event shape, or without a density."""
        check_event(self.name, "event_shape", data, self.event_shape)
        self.likelihood.check(data["x"])
