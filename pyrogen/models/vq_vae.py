"""The VQ-VAE: discrete codes, by nearest neighbour in a codebook, and a prior over them."""

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
from pyrogen.models.event_story import EventStory
from pyrogen.nn import CausalTransformer, Dense, GatedPixelCNN, Shape, as_shape, batch_shape, flatten_batch

_INITIAL_ROWS = 4096
"""Number of data from whose encodings the codebook is initialized."""
MAX_ELEMENTS = 2**18
"""Numbers of data in a chunk that is encoded at once."""


@dataclass(frozen=True)
class CodeUsage:
    """How many of the codes are used, at all places together and at each.

    A place whose code is the same for all data tells nothing about them, however many codes other places use.

    Args:
        used: number of codes that some datum has at some place.
        codes: number of codes in the codebook.
        perplexity: exp of the entropy of the codes' frequencies at a place, from 1 to `codes`; the mean over places.
        constant: number of places where all data have one code.
        places: number of places.
    """

    used: int
    codes: int
    perplexity: float
    constant: int
    places: int

    def __str__(self) -> str:
        where = f", mean over {self.places} places" if self.places > 1 else ""
        text = f"{self.used} of {self.codes} codes used, perplexity {self.perplexity:.1f}{where}"
        if self.constant == self.places:
            return f"{text}; warning: each place has one code for all data: the codes do not depend on x"
        return f"{text}; {self.constant} of them have one code for all data" if self.constant else text


class VQVAE(EventStory):
    """c ~ prior,  z_i = vector of code c_i,  x | z ~ likelihood(decoder(z)),  guided by codes nearest to encoder(x).

    The guide is a point, so that the ELBO is log p(x | z) + log p(c) <= log p(x) = log sum_c p(c) p(x | c): a lower
    bound, and a code length for x. Codes have no gradient; the decoder's is copied to the encoder (straight-through),
    which needs encodings near their vectors: in training commitment |encoder(x) - z|^2 is subtracted, so that training
    ELBOs are below the bound, and validation's are not. The vectors are moving averages of the encodings that are
    nearest to them (`Codebook`), updated in each run of the guide: particles that run one by one update several times a
    step, as a decay of decay^particles would. As the guide updates them, `freeze="guide"` or "codebook" keeps them
    fixed, and "model" does not. The prior learns in the same run from the codes, and changes nothing else.

    Args:
        event_shape: shape of one datum, such as (1, 28, 28).
        grid: shape of the codes of a datum, such as (7, 7).
        codes: number of vectors in the codebook; 128 by default.
        features: length of a vector; 16 by default.
        likelihood: family of p(x | z); `Bernoulli()` by default.
        prior: p(c): "transformer", the default, causal over the codes row by row; "pixelcnn", gated, over a
            two-dimensional grid; "uniform"; or a network for `AutoregressiveDistribution` over `Categorical(codes)`.
        encoder: (batch, *event_shape) -> (batch, *grid, features); a dense network by default.
        decoder: (batch, *grid, features) -> (batch, *likelihood.size(event_shape)); a dense network by default.
        hidden: widths of the dense encoder's hidden layers, reversed in the dense decoder; (400,) by default, `()`
            makes both linear.
        commitment: weight of the squared distance between encodings and their vectors; 0.25 by default.
        decay: of the codebook's moving averages; 0.99 by default.

    Raises:
        ValueError: the prior is unknown, or built for other codes or fewer positions; or the commitment is negative.

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
        if prior == "uniform":
            return None
        sizes = {"symbols": self.codebook.codes, "outputs": self.codebook.codes}
        if prior == "transformer":
            return CausalTransformer(math.prod(self.grid), **sizes)
        if prior != "pixelcnn":
            raise ValueError(f"prior is one of transformer, pixelcnn, uniform or a network, got {prior!r}")
        if len(self.grid) != 2:
            raise ValueError(
                f"{self.name}: prior='pixelcnn' needs a grid (height, width) of codes, got grid={self.grid}: set "
                "grid=(4, 4), say, or prior='transformer'"
            )
        return GatedPixelCNN(self.grid, **sizes)

    def _check_prior(self, prior: nn.Module) -> None:
        """Refuse a network whose attributes show that it is for other codes, or fewer positions."""
        codes, positions = self.codebook.codes, math.prod(self.grid)
        for name, needed in (("symbols", codes), ("outputs", codes), ("length", positions)):
            value = getattr(prior, name, needed)
            if isinstance(value, int) and (value < needed if name == "length" else value != needed):
                raise ValueError(
                    f"{self.name} has {codes} codes in {positions} positions, and its prior is a "
                    f"{type(prior).__name__} with {name}={value}: build it with {name}={needed}"
                )

    def model(self, x: Tensor | None, n: int) -> Tensor:
        """p(c) p(x | c).

        Args:
            x: data to observe, (n, *event_shape), or None to draw them.
            n: number of rows.

        Returns:
            x, drawn or observed, (n, *event_shape).
        """
        with pyro.plate("data", n, dim=-1):
            z = pyro.sample("z", Quantized(self.codebook, self.code_prior()))
            return pyro.sample("x", self.decode(z), obs=x)

    def guide(self, x: Tensor, n: int) -> None:
        """The codes nearest to encoder(x), as a point.

        Args:
            x: data, (n, *event_shape).
            n: number of rows.
        """
        encodings = self.encodings(x)
        index = self.codebook.nearest(encodings)
        self.codebook.update(encodings, index)
        z = self.codebook(index)
        with pyro.plate("data", n, dim=-1):
            if self.training:
                distance = (encodings - z.detach()).square().flatten(-len(self.latent_shape)).sum(-1)
                # A factor of the guide is part of log q, which the ELBO subtracts.
                pyro.factor("commitment", self.commitment * distance, has_rsample=True)
            straight_through = encodings + (z - encodings).detach()
            pyro.sample("z", dist.Delta(straight_through, event_dim=len(self.latent_shape)))

    def code_prior(self) -> dist.TorchDistribution:
        """p(c).

        Returns:
            Over int64, batch shape (), event shape `grid`.
        """
        if self.prior is not None:
            return AutoregressiveDistribution(self.prior, Categorical(self.codebook.codes), self.grid)
        logits = self.codebook.vectors.new_zeros(*self.grid, self.codebook.codes)
        return dist.Categorical(logits=logits).to_event(len(self.grid))

    def encodings(self, x: Tensor) -> Tensor:
        """encoder(x), before quantization.

        Args:
            x: data, (..., *event_shape).

        Returns:
            (..., *grid, features).
        """
        return flatten_batch(self.encoder, x, self.event_shape)

    def encode(self, x: Tensor) -> dist.Delta:
        """The vectors of the codes nearest to encoder(x), as a point.

        Args:
            x: data, (..., *event_shape).

        Returns:
            Batch shape (...), event shape (*grid, features).
        """
        z = self.codebook(self.codebook.nearest(self.encodings(x)))
        return dist.Delta(z, event_dim=len(self.latent_shape))

    def decode(self, z: Tensor) -> dist.TorchDistribution:
        """p(x | z).

        Args:
            z: latents, (..., *grid, features).

        Returns:
            Batch shape (...), event shape `event_shape`.
        """
        return self.likelihood(flatten_batch(self.decoder, z, self.latent_shape), self.event_shape)

    def codes(self, x: Tensor) -> Tensor:
        """The codes nearest to encoder(x).

        Args:
            x: data, (..., *event_shape).

        Returns:
            (..., *grid) int64.
        """
        return self._in_chunks(x, self.codebook.nearest)

    def reconstruct(self, x: Tensor) -> Tensor:
        """The mean of p(x | z) at the codes of x.

        Args:
            x: data, (..., *event_shape).

        Returns:
            (..., *event_shape).
        """
        point, book = self.likelihood.point, self.codebook
        return self._in_chunks(x, lambda encodings: point(self.decode(book(book.nearest(encodings)))))

    def _in_chunks(self, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """A function of the encodings of `x` (..., *event_shape), computed in chunks."""
        batch = batch_shape(x, self.event_shape, self.name)
        rows = x.reshape(math.prod(batch), *self.event_shape)
        with self.predicting():
            out = torch.cat([function(self.encodings(chunk.to(self.device))) for chunk in self._chunks(rows)])
        return out.reshape(*batch, *out.shape[1:])

    def _chunks(self, rows: Tensor) -> tuple[Tensor, ...]:
        return rows.split(max(1, MAX_ELEMENTS // math.prod(self.event_shape)))

    def usage(self, x: Tensor) -> CodeUsage:
        """How many codes the data use, and how evenly.

        Args:
            x: data, (n, *event_shape).

        Returns:
            The number of codes in use, and their perplexity at a place.
        """
        codes, number = self.codes(x).reshape(len(x), -1).T, self.codebook.codes
        frequencies = torch.stack([place.bincount(minlength=number) for place in codes]).double() / len(x)
        used = int((frequencies.sum(0) > 0).sum())
        perplexity = float(torch.special.entr(frequencies).sum(1).exp().mean())
        constant = int(((frequencies > 0).sum(1) == 1).sum())
        return CodeUsage(used, number, perplexity, constant, len(codes))

    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Initialize the likelihood from the training data, and the codebook from encodings of some of them.

        Args:
            data: the training columns, `x` (N, *event_shape).
        """
        self.likelihood.prepare(data["x"])
        rows = data["x"][torch.randperm(len(data["x"]))[:_INITIAL_ROWS].to(data["x"].device)]
        self.codebook.initialize(torch.cat([self.encodings(chunk) for chunk in self._chunks(rows)]))
