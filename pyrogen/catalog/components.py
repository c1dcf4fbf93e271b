"""Components by their names in `--set`: covariances, likelihoods, posteriors, priors, networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch.nn import Module

from pyrogen import distributions, nn
from pyrogen.catalog import types
from pyrogen.distributions import Covariance, Family, Prior
from pyrogen.nn import as_shape

_CONTEXT_MAPS = 4
"""Numbers that a decoder gives each pixel of an autoregressive likelihood."""


def covariance_of(name: types.Covariance, floor: float) -> Covariance:
    """The covariance of a name.

    Args:
        name: the name.
        floor: smallest standard deviation.

    Returns:
        The covariance.
    """
    table: dict[str, Callable[[float], Covariance]] = {
        "full": distributions.Full,
        "diagonal": distributions.Diagonal,
        "spherical": distributions.Spherical,
    }
    return table[name](floor)


def likelihood_of(name: types.Likelihood, event_shape: tuple[int, ...], levels: int | None) -> Family:
    """The likelihood of a name.

    Args:
        name: the name.
        event_shape: of a datum.
        levels: number of grey levels, which `logistic` and `categorical` need; None where the data have none.

    Returns:
        The likelihood.

    Raises:
        ValueError: a likelihood of grey levels, and `levels` is None.
    """
    if name in ("logistic", "categorical"):
        if levels is None:
            raise ValueError(
                f"likelihood={name} needs the number of grey levels, and the data have none: --set levels=256"
            )
        grey = distributions.DiscretizedLogistic if name == "logistic" else distributions.DiscretizedCategorical
        return grey(levels)
    table: dict[str, Callable[[], Family]] = {
        "bernoulli": distributions.Bernoulli,
        "gaussian": distributions.Gaussian,
        "gaussian-pixel": lambda: distributions.SharedScaleGaussian(event_shape),
        "gaussian-shared": distributions.SharedScaleGaussian,
        "pixelcnn": lambda: _pixelcnn(event_shape),
    }
    return table[name]()


def _pixelcnn(event_shape: tuple[int, ...]) -> Family:
    """Binary pixels given their neighbours before them and a feature map of the decoder."""
    context = (_CONTEXT_MAPS, *event_shape[1:])
    network = nn.PixelCNN(event_shape, width=16 * event_shape[0], blocks=2, kernel=5, context=context)
    return distributions.AutoregressiveLikelihood(network)


def posterior_of(name: types.Posterior, latent: int) -> Family:
    """The posterior of a name.

    Args:
        name: the name.
        latent: number of latents.

    Returns:
        The posterior's family.
    """
    table: dict[str, Callable[[], Family]] = {
        "diagonal": distributions.DiagonalNormal,
        "full": distributions.FullNormal,
        "unit": lambda: distributions.DiagonalNormal(scale=1.0),
        "flow": lambda: distributions.InverseAutoregressiveFlow(latent, hidden=(max(128, 2 * latent),)),
    }
    return table[name]()


def prior_of(name: types.Prior, latent: int, event_shape: tuple[int, ...], components: int) -> Prior:
    """The prior of a name.

    Args:
        name: the name.
        latent: number of latents.
        event_shape: of a datum.
        components: number of components of `mixture` and `vamp`.

    Returns:
        The prior.
    """
    table: dict[str, Callable[[], Prior]] = {
        "normal": lambda: distributions.StandardNormal(latent),
        "mixture": lambda: distributions.NormalMixture(latent, components),
        "vamp": lambda: distributions.VampPrior(event_shape, components),
        "flow": lambda: distributions.FlowPrior(latent),
    }
    return table[name]()


def number_of_labels(conditional: bool, classes: int | None) -> int:
    """How many labels a story is given.

    Args:
        conditional: whether it is given labels.
        classes: number of classes of the data; None where they have no labels.

    Returns:
        The number of classes; 0 where the story is given none.

    Raises:
        ValueError: the story is to be given labels, and the data have none.
    """
    if not conditional:
        return 0
    if classes is None:
        raise ValueError("conditional=true needs labels y, and the data have none: leave it out")
    return classes


@dataclass(frozen=True)
class Networks:
    """Encoders and decoders of one kind.

    Args:
        kind: `dense`, `conv`, `resnet` (convolutional, two residual blocks at each size), `recurrent` or `transformer`
            (both read an image row by row; their decoders are dense). `dense` by default.
        hidden: widths of dense networks from the data on; an empty list: linear. (400,) by default.
        channels: of convolutions from the data on; (32, 64) by default.
        width: of a recurrent network's state or a transformer's tokens; 64 by default.
    """

    kind: types.Network = "dense"
    hidden: types.SizesOrNone = (400,)
    channels: types.Sizes = (32, 64)
    width: int = 64

    def encoder(self, event_shape: tuple[int, ...], out_shape: tuple[int, ...]) -> Module:
        """An encoder.

        Args:
            event_shape: of a datum.
            out_shape: of the outputs.

        Returns:
            A network from (..., *event_shape) to (..., *out_shape).
        """
        table: dict[str, Callable[[], Module]] = {
            "dense": lambda: nn.Dense(event_shape, out_shape, as_shape(self.hidden)),
            "conv": lambda: nn.ConvEncoder(event_shape, out_shape, as_shape(self.channels)),
            "resnet": lambda: nn.ConvEncoder(event_shape, out_shape, as_shape(self.channels), blocks=2),
            "recurrent": lambda: nn.RecurrentEncoder(event_shape, out_shape, self.width),
            "transformer": lambda: nn.TransformerEncoder(event_shape, out_shape, self.width),
        }
        return table[self.kind]()

    def decoder(self, in_shape: tuple[int, ...], event_shape: tuple[int, ...]) -> Module:
        """A decoder.

        Args:
            in_shape: of the latents.
            event_shape: of the outputs.

        Returns:
            A network from (..., *in_shape) to (..., *event_shape).
        """
        if self.kind in ("conv", "resnet"):
            blocks = 2 if self.kind == "resnet" else 0
            return nn.ConvDecoder(in_shape, event_shape, as_shape(self.channels)[::-1], blocks)
        return nn.Dense(in_shape, event_shape, as_shape(self.hidden)[::-1])
