"""Diffusion, with its settings for digits; those for MNIST are said with it."""

from __future__ import annotations

from typing import Any, Literal

from torch.nn import Module

from pyrogen import distributions, models, nn
from pyrogen.catalog import examples
from pyrogen.catalog.components import Sizes
from pyrogen.catalog.entry import Entry, chosen, sizes
from pyrogen.distributions import Bernoulli, DiscretizedCategorical, Family, reconstruction_log_snr
from pyrogen.story import Story

__all__ = ["ENTRIES"]


def _diffusion(
    event_shape: tuple[int, ...],
    classes: int | None = None,
    levels: int | None = None,
    conditional: bool = False,
    num_timesteps: int = 1000,
    likelihood: Literal["categorical", "bernoulli", "gaussian"] | None = None,
    prediction: Literal["v", "noise", "x"] = "v",
    schedule: Literal["even", "cosine", "linear"] = "even",
    network: Literal["unet", "dense"] | None = None,
    channels: Sizes = (16, 32),
    blocks: int = 1,
    hidden: Sizes = (256, 256, 256),
    timesteps_per_datum: int | None = 1,
    simple_loss: bool = False,
    high: float | None = None,
    low: float = -10.0,
    label_dropout: float = 0.1,
) -> Story:
    """MNIST: --epochs 100 --set channels=[64,128] --set blocks=2 (and conditional=true; or simple_loss=true)."""
    if conditional and classes is None:
        raise ValueError("conditional=true needs labels y, and the data tell no classes: leave it out")
    labels = classes if conditional and classes is not None else 0
    family = _likelihood(likelihood, levels)
    schedules = {
        "even": distributions.LinearLogSNRSchedule,
        "cosine": distributions.CosineSchedule,
        "linear": distributions.LinearBetaSchedule,
    }
    kinds = {"v": distributions.PredictV, "noise": distributions.PredictNoise, "x": distributions.PredictX}
    parts: dict[str, Any] = {
        "likelihood": family,
        "prediction": chosen("prediction", prediction, kinds)(),
        "schedule": chosen("schedule", schedule, schedules)(_first(family, levels) if high is None else high, low),
        "network": _network(network, event_shape, channels, blocks, hidden, labels),
        "timesteps_per_datum": timesteps_per_datum,
        "simple_loss": simple_loss,
    }
    if labels:
        return models.ConditionalDiffusion(event_shape, labels, num_timesteps, label_dropout=label_dropout, **parts)
    return models.Diffusion(event_shape, num_timesteps, **parts)


def _likelihood(name: str | None, levels: int | None) -> Family | None:
    """The likelihood called `name`; left out, that of grey levels where the data have some."""
    name = name or ("gaussian" if levels is None else "categorical")
    if name == "categorical" and levels is None:
        raise ValueError(
            "likelihood=categorical is of grey levels, and the data tell no number of them: set levels=256"
        )
    table = {
        "categorical": lambda: DiscretizedCategorical(levels or 256),
        "bernoulli": lambda: Bernoulli(),
        "gaussian": lambda: None,
    }
    family: Family | None = chosen("likelihood", name, table)()
    return family


def _first(likelihood: Family | None, levels: int | None) -> float:
    """The log-SNR to begin with: that of grey levels also where they are told as numbers."""
    finest = 0.0 if levels is None else reconstruction_log_snr(DiscretizedCategorical(levels))
    return max(reconstruction_log_snr(None), finest) if likelihood is None else reconstruction_log_snr(likelihood)


def _network(
    name: str | None, event_shape: tuple[int, ...], channels: Sizes, blocks: int, hidden: Sizes, labels: int
) -> Module:
    """The network called `name`; left out, a U-Net for images and a dense one for all else."""
    table = {
        "unet": lambda: nn.UNet(event_shape, sizes("channels", channels), blocks, labels),
        "dense": lambda: nn.DenseDenoiser(event_shape, sizes("hidden", hidden), labels),
    }
    made: Module = chosen("network", name or ("unet" if len(event_shape) == 3 else "dense"), table)()
    return made


def _tiny() -> tuple[Story, dict[str, Any]]:
    parts: dict[str, Any] = {"likelihood": Bernoulli(), "timesteps_per_datum": None, "hidden": (16,)}
    return models.ConditionalDiffusion((1, 4, 4), 2, 3, **parts), examples.labelled_images()


ENTRIES = (
    Entry(
        "diffusion",
        "a hierarchical VAE whose guide only adds noise: U-Net or dense, one random level a step or the full chain",
        _diffusion,
        {"epochs": 200, "lr": 2e-3, "ema": 0.995},
        _tiny,
    ),
)
