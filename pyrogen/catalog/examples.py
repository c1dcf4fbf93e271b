"""Small data for the exam that every entry's tiny instance sits."""

from __future__ import annotations

import torch
from torch import Tensor

Columns = dict[str, Tensor]


def points() -> Columns:
    """Correlated points.

    Returns:
        A column x (96, 6).
    """
    generator = torch.Generator().manual_seed(1)
    return {"x": torch.randn(96, 2, generator=generator) @ torch.randn(2, 6, generator=generator)}


def images() -> Columns:
    """Binary images of horizontal or vertical bars.

    Returns:
        A column x (96, 1, 4, 4).
    """
    generator = torch.Generator().manual_seed(2)
    bars = torch.rand(96, 1, 4, 1, generator=generator).expand(96, 1, 4, 4) < 0.4
    upright = torch.rand(96, 1, 1, 1, generator=generator) < 0.5
    return {"x": torch.where(upright, bars.transpose(2, 3), bars).float()}


def labelled_images() -> Columns:
    """The images, and whether more than half of their pixels are set.

    Returns:
        Columns x (96, 1, 4, 4) and y (96,).
    """
    x = images()["x"]
    return {"x": x, "y": (x.mean((1, 2, 3)) > 0.5).long()}


def labelled_points() -> Columns:
    """The points, and whether the first number of each is positive.

    Returns:
        Columns x (96, 6) and y (96,).
    """
    x = points()["x"]
    return {"x": x, "y": (x[:, 0] > 0).long()}


def series() -> Columns:
    """Random walks of two numbers, of three to five steps.

    Returns:
        Columns x (96, 5, 2) and length (96,).
    """
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(96, 5, 2, generator=generator).cumsum(1)
    return {"x": x, "length": torch.randint(3, 6, (96,), generator=generator)}


def text() -> Columns:
    """Three symbols in turn, of two to four of them.

    Returns:
        Columns x (96, 4) and length (96,).
    """
    generator = torch.Generator().manual_seed(4)
    x = (torch.randint(3, (96, 1), generator=generator) + torch.arange(4)) % 3
    length = torch.randint(2, 5, (96,), generator=generator)
    return {"x": x * (torch.arange(4) < length[:, None]), "length": length}
