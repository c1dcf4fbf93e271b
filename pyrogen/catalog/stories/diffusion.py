"""Diffusion models. Defaults suit digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from annotated_types import Interval

from pyrogen import distributions, models, nn
from pyrogen.catalog import examples, types
from pyrogen.catalog.components import likelihood_of, number_of_labels
from pyrogen.catalog.entry import Entry
from pyrogen.catalog.settings import Auto, UsedIf
from pyrogen.distributions import (
    Bernoulli,
    DiscretizedCategorical,
    Family,
    NoiseSchedule,
    Prediction,
    reconstruction_log_snr,
)
from pyrogen.nn import as_shape
from pyrogen.story import Story

LogSNR = Annotated[float, Interval(ge=-100, le=100)]
Levels = Annotated[types.GreyLevels | None, UsedIf(likelihood="categorical"), UsedIf(likelihood="gaussian", high=None)]
Likelihood = Annotated[
    Literal["categorical", "bernoulli", "gaussian"] | None,
    Auto(lambda levels: "gaussian" if levels is None else "categorical"),
]
Network = Annotated[
    Literal["unet", "dense"] | None, Auto(lambda event_shape: "unet" if len(event_shape) == 3 else "dense")
]
_SCHEDULES: dict[str, Callable[[float, float], NoiseSchedule]] = {
    "even": distributions.LinearLogSNRSchedule,
    "cosine": distributions.CosineSchedule,
    "linear": distributions.LinearBetaSchedule,
}
_PREDICTIONS: dict[str, Callable[[], Prediction]] = {
    "v": distributions.PredictV,
    "noise": distributions.PredictNoise,
    "x": distributions.PredictX,
}


def _diffusion(
    event_shape: tuple[int, ...],
    classes: types.Classes = None,
    levels: Levels = None,
    conditional: bool = False,
    num_timesteps: Annotated[int, Interval(ge=3, le=100_000)] = 1000,
    likelihood: Likelihood = None,
    prediction: Literal["v", "noise", "x"] = "v",
    schedule: Literal["even", "cosine", "linear"] = "even",
    network: Network = None,
    channels: Annotated[types.Sizes, UsedIf(network="unet")] = (16, 32),
    blocks: Annotated[types.Count, UsedIf(network="unet")] = 1,
    hidden: Annotated[types.Sizes, UsedIf(network="dense")] = (256, 256, 256),
    timesteps_per_datum: types.Size | None = 1,
    simple_loss: bool = False,
    high: LogSNR | None = None,
    low: LogSNR = -10.0,
    label_dropout: Annotated[types.Share, UsedIf(conditional=True)] = 0.1,
) -> Story:
    """a hierarchical VAE whose guide only adds noise: U-Net or dense, one random level a step or the full chain."""
    # For MNIST: --epochs 100 --set channels=[64,128] --set blocks=2.
    labels, family = number_of_labels(conditional, classes), None
    if likelihood is not None and likelihood != "gaussian":
        family = likelihood_of(likelihood, (), levels)
    unet = network == "unet"
    parts: dict[str, Any] = {
        "likelihood": family,
        "prediction": _PREDICTIONS[prediction](),
        "schedule": _SCHEDULES[schedule](_first_log_snr(family, levels) if high is None else high, low),
        "network": nn.UNet(event_shape, as_shape(channels), blocks, labels)
        if unet
        else nn.DenseDenoiser(event_shape, as_shape(hidden), labels),
        "timesteps_per_datum": timesteps_per_datum,
        "simple_loss": simple_loss,
    }
    if labels:
        return models.ConditionalDiffusion(event_shape, labels, num_timesteps, label_dropout=label_dropout, **parts)
    return models.Diffusion(event_shape, num_timesteps, **parts)


def _first_log_snr(likelihood: Family | None, levels: int | None) -> float:
    """The log-SNR of the first level: that of grey levels also where the likelihood is a Gaussian."""
    finest = 0.0 if levels is None else reconstruction_log_snr(DiscretizedCategorical(levels))
    return max(reconstruction_log_snr(None), finest) if likelihood is None else reconstruction_log_snr(likelihood)


def _tiny() -> tuple[Story, examples.Columns]:
    parts: dict[str, Any] = {"likelihood": Bernoulli(), "timesteps_per_datum": None, "hidden": (16,)}
    return models.ConditionalDiffusion((1, 4, 4), 2, 3, **parts), examples.labelled_images()


ENTRIES = (Entry.of(_diffusion, _tiny, epochs=200, lr=2e-3, ema=0.995),)
