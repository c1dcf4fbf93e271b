"""Components by the names that `--set` knows them by: covariances, likelihoods, posteriors, priors, networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch.nn import Module

from pyrogen import distributions, nn
from pyrogen.catalog.entry import chosen, sizes
from pyrogen.distributions import Covariance, Family, Prior

__all__ = [
    "CovarianceName",
    "Likelihood",
    "Network",
    "Networks",
    "Posterior",
    "PriorName",
    "Sizes",
    "covariance_of",
    "likelihood_of",
    "posterior_of",
    "prior_of",
]

Likelihood = Literal[
    "bernoulli", "gaussian", "gaussian-pixel", "gaussian-shared", "logistic", "categorical", "pixelcnn"
]
CovarianceName = Literal["full", "diagonal", "spherical"]
Posterior = Literal["diagonal", "full", "unit", "flow"]
PriorName = Literal["normal", "mixture", "vamp", "flow"]
Network = Literal["dense", "conv", "resnet", "recurrent", "transformer"]
Sizes = int | Sequence[int]

_MAPS = 4
"""Numbers that a decoder tells each pixel of an autoregressive likelihood."""


def covariance_of(name: str, floor: float) -> Covariance:
    """The covariance called `name`, no standard deviation below `floor`."""
    table = {"full": distributions.Full, "diagonal": distributions.Diagonal, "spherical": distributions.Spherical}
    return chosen("covariance", name, table)(floor)


def likelihood_of(name: str, event_shape: tuple[int, ...], levels: int | None) -> Family:
    """The likelihood called `name`, over events of `event_shape` with so many grey levels."""
    needs_levels = {"logistic": distributions.DiscretizedLogistic, "categorical": distributions.DiscretizedCategorical}
    if name in needs_levels:
        if levels is None:
            raise ValueError(
                f"likelihood={name} is of grey levels, and the data tell no number of them: --set levels=256"
            )
        return needs_levels[name](levels)
    table = {
        "bernoulli": distributions.Bernoulli,
        "gaussian": distributions.Gaussian,
        "gaussian-pixel": lambda: distributions.SharedScaleGaussian(event_shape),
        "gaussian-shared": distributions.SharedScaleGaussian,
        "pixelcnn": lambda: _pixelcnn(event_shape),
    }
    return chosen("likelihood", name, table | needs_levels)()


def _pixelcnn(event_shape: tuple[int, ...]) -> Family:
    """Binary pixels, each told of its neighbours before and of a map that the decoder makes; what is far, of z."""
    context = (_MAPS, *event_shape[1:])
    network = nn.PixelCNN(event_shape, width=16 * event_shape[0], blocks=2, kernel=5, context=context)
    return distributions.AutoregressiveLikelihood(network)


def posterior_of(name: str, latent: int) -> Family:
    """The posterior called `name`, over so many latents."""
    table = {
        "diagonal": distributions.DiagonalNormal,
        "full": distributions.FullNormal,
        "unit": lambda: distributions.DiagonalNormal(scale=1.0),
        "flow": lambda: distributions.InverseAutoregressiveFlow(latent, hidden=(max(128, 2 * latent),)),
    }
    return chosen("posterior", name, table)()


def prior_of(name: str, latent: int, event_shape: tuple[int, ...], components: int) -> Prior:
    """The prior called `name`, over so many latents; `components` is for those that have any."""
    table = {
        "normal": lambda: distributions.StandardNormal(latent),
        "mixture": lambda: distributions.NormalMixture(latent, components),
        "vamp": lambda: distributions.VampPrior(event_shape, components),
        "flow": lambda: distributions.FlowPrior(latent),
    }
    return chosen("prior", name, table)()


@dataclass(frozen=True)
class Networks:
    """Encoders and decoders of one kind, which `network` names.

    Args:
        kind: `dense`, `conv`, `resnet` (convolutional, two residual blocks at each size), `recurrent` or `transformer`
            (both read an image row by row; their decoders are dense).
        hidden: widths of dense networks from the data on; none: linear.
        channels: of convolutions from the data on.
        width: of a recurrent network's state or a transformer's tokens.
    """

    kind: str = "dense"
    hidden: Sizes = (400,)
    channels: Sizes = (32, 64)
    width: int = 64

    def encoder(self, event_shape: tuple[int, ...], out_shape: tuple[int, ...]) -> Module:
        """From events of `event_shape` to `out_shape`."""
        table = {
            "dense": lambda: nn.Dense(event_shape, out_shape, self._hidden),
            "conv": lambda: nn.ConvEncoder(event_shape, out_shape, self._channels),
            "resnet": lambda: nn.ConvEncoder(event_shape, out_shape, self._channels, blocks=2),
            "recurrent": lambda: nn.RecurrentEncoder(event_shape, out_shape, self.width),
            "transformer": lambda: nn.TransformerEncoder(event_shape, out_shape, self.width),
        }
        return chosen("network", self.kind, table)()

    def decoder(self, in_shape: tuple[int, ...], event_shape: tuple[int, ...]) -> Module:
        """From `in_shape` to events of `event_shape`."""
        blocks: dict[Any, int] = {"conv": 0, "resnet": 2}
        if self.kind in blocks:
            return nn.ConvDecoder(in_shape, event_shape, self._channels[::-1], blocks[self.kind])
        return nn.Dense(in_shape, event_shape, self._hidden[::-1])

    @property
    def _hidden(self) -> tuple[int, ...]:
        return () if self.hidden == [] or self.hidden == () else sizes("hidden", self.hidden)

    @property
    def _channels(self) -> tuple[int, ...]:
        return sizes("channels", self.channels)
