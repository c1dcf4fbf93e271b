"""Binarization and dequantization of grey values, fresh for each batch or drawn once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from numpy.random import PCG64
from torch import Tensor

from pyrogen.data.columns import chunks
from pyrogen.data.draws import bit_stream, uniform

MODES = ("static", "dynamic", "threshold", "none")
"""How grey values become binary ones: drawn once, drawn anew for each batch, by a threshold of 0.5, or not at all."""


@dataclass(frozen=True)
class DynamicBinarization:
    """Draws x ~ Bernoulli(grey) anew for each batch, from torch's global random state.

    Args:
        column: name of the column of grey values in [0, 1], floating, of any shape; "x" by default.

    Example:
        >>> DynamicBinarization()({"x": torch.tensor([0.0, 1.0])})
        {'x': tensor([0., 1.])}

    References:
        Salakhutdinov and Murray, 2008, On the quantitative analysis of deep belief networks.
        Burda, Grosse and Salakhutdinov, 2015, arXiv:1509.00519.
    """

    column: str = "x"

    def __call__(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The batch with its column in {0, 1}, same shape and type."""
        grey = batch[self.column]
        return {**batch, self.column: (torch.rand_like(grey) < grey).to(grey.dtype)}


@dataclass(frozen=True)
class Dequantization:
    """Adds fresh uniform noise within a grey level: x' = (level + u) / levels, u ~ Uniform(0, 1).

    With level = round(x (levels - 1)), the density of x' bounds the probability of the level from below:
    log P(level) >= E log p(x') - D log(levels), D the number of values in a datum. The noise keeps a distance of
    levels * 2**-22 (in float32) to both ends, so that floor(levels x') gives the level back exactly and x' < 1.

    Args:
        levels: number of grey levels, 256 for 8-bit images.
        column: name of the column of grey values in [0, 1], floating, of any shape; "x" by default.

    Example:
        >>> noisy = Dequantization(4)({"x": torch.tensor([0.0, 1.0])})["x"]
        >>> (noisy * 4).floor()
        tensor([0., 3.])

    References:
        Theis, van den Oord and Bethge, 2016, A note on the evaluation of generative models, arXiv:1511.01844.
    """

    levels: int
    column: str = "x"

    def __call__(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The batch with its column in [0, 1) and continuous, same shape and type."""
        x = batch[self.column]
        return {**batch, self.column: _within_level(x, torch.rand_like(x), self.levels)}


def binarized_once(grey: Tensor, seed: int, split: int) -> Tensor:
    """One fixed draw x = 1[u < grey], u uniform from the stream of (seed, split).

    Args:
        grey: probabilities in [0, 1], (N, ...).
        seed: of the draw.
        split: number of the split: 0, 1 or 2.

    Returns:
        The draw, of the shape and type of `grey`.
    """
    return _drawn_once(grey, bit_stream(seed, split, 0), lambda part, noise: noise < part.cpu())


def dequantized_once(x: Tensor, levels: int, seed: int, split: int) -> Tensor:
    """One fixed draw of `Dequantization`, u from the stream of (seed, split).

    Args:
        x: grey values in [0, 1], (N, ...).
        levels: number of grey levels.
        seed: of the draw.
        split: number of the split: 0, 1 or 2.

    Returns:
        The draw, of the shape and type of `x`.
    """
    stream = bit_stream(seed, split, 1)
    return _drawn_once(x, stream, lambda part, noise: _within_level(part, noise.to(part.device, part.dtype), levels))


def _drawn_once(x: Tensor, stream: PCG64, draw: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """What `draw` makes of each part of x and uniform noise of its shape, from the stream."""
    result = torch.empty_like(x)
    for source, target in zip(chunks(x), chunks(result), strict=True):
        target.copy_(draw(source, torch.from_numpy(uniform(stream, source.numel())).view(source.shape)))
    return result


def grey_levels(x: Tensor, levels: int) -> Tensor:
    """The grey levels round(x (levels - 1)).

    Args:
        x: values in [0, 1], of any shape.
        levels: number of grey levels.

    Returns:
        Whole numbers of the shape and type of `x`.

    Example:
        >>> grey_levels(torch.tensor([0.0, 0.5, 1.0]), 17)
        tensor([ 0.,  8., 16.])
    """
    return (x * (levels - 1)).round()


def _within_level(x: Tensor, noise: Tensor, levels: int) -> Tensor:
    margin = 2 * levels * torch.finfo(noise.dtype).eps
    return (grey_levels(x, levels) + margin + (1 - 2 * margin) * noise) / levels
