"""Normalizing flows, with their settings for digits; those for MNIST are said with each."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from pyrogen import distributions, models
from pyrogen.catalog import examples
from pyrogen.catalog.components import Sizes
from pyrogen.catalog.entry import Entry, chosen, sizes
from pyrogen.story import Story

__all__ = ["ENTRIES"]

Kind = Literal["auto", "multiscale", "coupling", "autoregressive"]
Map = Literal["spline", "affine"]


def _flow(
    event_shape: tuple[int, ...],
    classes: int | None = None,
    levels: int | None = None,
    kind: Kind = "auto",
    elementwise: Map = "spline",
    steps: int = 4,
    bins: int = 8,
    hidden: Sizes = (128, 128),
    scales: int = 3,
    width: int = 32,
    alpha: float | None = None,
    conditional: bool = False,
    condition: Sizes | None = None,
) -> Story:
    """MNIST: --epochs 40 --lr 1e-3 --set width=64."""
    each = chosen("elementwise", elementwise, {"spline": distributions.Spline(bins), "affine": distributions.Affine()})
    table = {
        "multiscale": lambda: distributions.MultiScale(each, scales, steps, width),
        "coupling": lambda: distributions.Coupling(each, steps, sizes("hidden", hidden)),
        "autoregressive": lambda: distributions.Autoregressive(each, steps, sizes("hidden", hidden)),
    }
    auto = "multiscale" if distributions.MultiScale.supports(event_shape) else "coupling"
    layers: list[distributions.BijectionConfig] = [chosen("kind", kind, {"auto": table[auto], **table})()]
    if alpha is None and levels is not None:
        alpha = 0.01  # grey levels come dequantized, in (0, 1)
    if alpha:
        layers.append(distributions.Logit(alpha))
    if condition is not None:
        return models.ConditionalFlow(event_shape, condition=sizes("condition", condition), transforms=layers)
    if conditional:
        return models.ConditionalFlow(event_shape, classes, transforms=layers)
    return models.Flow(event_shape, layers)


def _tiny() -> tuple[Story, dict[str, Tensor]]:
    layers = [distributions.MultiScale(distributions.Spline(3), 2, 1, width=4), distributions.Logit()]
    noise = torch.rand(96, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    return models.Flow((1, 4, 4), layers), {"x": (examples.images() + noise) / 2}


ENTRIES = (
    Entry(
        "flow",
        "normalizing flow: coupling, autoregressive or, of images, multi-scale; conditional=true: given labels",
        _flow,
        {"epochs": 60, "lr": 3e-3},
        _tiny,
    ),
)
