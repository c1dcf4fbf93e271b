"""Normalizing flows. Defaults suit digits."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Interval

from pyrogen import distributions, models
from pyrogen.catalog import examples, types
from pyrogen.catalog.components import number_of_labels
from pyrogen.catalog.entry import Entry
from pyrogen.catalog.settings import Auto, UsedIf
from pyrogen.nn import as_shape
from pyrogen.story import Story

Kind = Literal["auto", "multiscale", "coupling", "autoregressive"]


def _kind_for(event_shape: tuple[int, ...]) -> Kind:
    return "multiscale" if distributions.MultiScale.supports(event_shape) else "coupling"


def _alpha_for(levels: int | None) -> float:
    """Grey levels come dequantized, in (0, 1); other data may lie anywhere."""
    return 0.0 if levels is None else 0.01


def _flow(
    event_shape: tuple[int, ...],
    classes: Annotated[types.Size | None, UsedIf(conditional=True, condition=None)] = None,
    levels: Annotated[types.GreyLevels | None, UsedIf(alpha=None)] = None,
    kind: Annotated[Kind, Auto(_kind_for)] = "auto",
    elementwise: Literal["spline", "affine"] = "spline",
    steps: types.Count = 4,
    bins: Annotated[int, Interval(ge=2, le=256), UsedIf(elementwise="spline")] = 8,
    hidden: Annotated[types.Sizes, UsedIf(kind=("coupling", "autoregressive"))] = (128, 128),
    scales: Annotated[types.Count, UsedIf(kind="multiscale")] = 3,
    width: Annotated[types.Size, UsedIf(kind="multiscale")] = 32,
    alpha: Annotated[Annotated[float, Interval(ge=0, lt=0.5)] | None, Auto(_alpha_for)] = None,
    conditional: Annotated[bool, UsedIf(condition=None)] = False,
    condition: types.Sizes | None = None,
) -> Story:
    """normalizing flow: coupling, autoregressive or, for images, multi-scale; conditional=true: given labels."""
    # For MNIST: --epochs 40 --lr 1e-3 --set width=64.
    each = distributions.Spline(bins) if elementwise == "spline" else distributions.Affine()
    layers: list[distributions.BijectionConfig]
    if kind == "multiscale":
        layers = [distributions.MultiScale(each, scales, steps, width)]
    else:
        coupled = distributions.Coupling if kind == "coupling" else distributions.Autoregressive
        layers = [coupled(each, steps, as_shape(hidden))]
    if alpha:
        layers.append(distributions.Logit(alpha))
    if condition is not None:
        return models.ConditionalFlow(event_shape, condition=as_shape(condition), transforms=layers)
    if conditional:
        return models.ConditionalFlow(event_shape, number_of_labels(conditional, classes), transforms=layers)
    return models.Flow(event_shape, layers)


def _tiny() -> tuple[Story, examples.Columns]:
    layers = [distributions.MultiScale(distributions.Spline(3), 2, 1, width=4), distributions.Logit()]
    noise = torch.rand(96, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    return models.Flow((1, 4, 4), layers), {"x": (examples.images()["x"] + noise) / 2}


ENTRIES = (Entry.of(_flow, _tiny, epochs=60, lr=3e-3),)
