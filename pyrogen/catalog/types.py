"""Types of settings: their ranges, their choices, and under which other settings they have an effect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from annotated_types import Interval, Len

from pyrogen.catalog.settings import UsedIf

Size = Annotated[int, Interval(ge=1, le=16_384)]
"""Of a layer, a latent space, a codebook."""
Count = Annotated[int, Interval(ge=1, le=256)]
"""Of layers, blocks, heads."""
GreyLevels = Annotated[int, Interval(ge=2, le=65_536)]
Sizes = Size | Annotated[Sequence[Size], Len(1, 64)]
"""Of several layers; one number is a list of one."""
SizesOrNone = Size | Annotated[Sequence[Size], Len(0, 64)]
"""Of several layers, or of none: a linear map."""
Positive = Annotated[float, Interval(gt=0, le=1_000_000)]
NonNegative = Annotated[float, Interval(ge=0, le=1_000_000)]
Probability = Annotated[float, Interval(ge=0, le=1)]
Share = Annotated[float, Interval(ge=0, lt=1)]

Likelihood = Literal[
    "bernoulli", "gaussian", "gaussian-pixel", "gaussian-shared", "logistic", "categorical", "pixelcnn"
]
ElementLikelihood = Literal["bernoulli", "gaussian", "gaussian-shared", "logistic", "categorical"]
"""Of one element at a time."""
Covariance = Literal["full", "diagonal", "spherical"]
Posterior = Literal["diagonal", "full", "unit", "flow"]
Prior = Literal["normal", "mixture", "vamp", "flow"]
Network = Literal["dense", "conv", "resnet", "recurrent", "transformer"]

Hidden = Annotated[SizesOrNone, UsedIf(network=("dense", "recurrent", "transformer"))]
Channels = Annotated[Sizes, UsedIf(network=("conv", "resnet"))]
Width = Annotated[Size, UsedIf(network=("recurrent", "transformer"))]
Components = Annotated[Size, UsedIf(prior=("mixture", "vamp"))]
Levels = Annotated[GreyLevels | None, UsedIf(likelihood=("logistic", "categorical"))]
Classes = Annotated[Size | None, UsedIf(conditional=True)]
