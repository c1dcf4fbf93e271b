"""Grids of images, and reconstructions below their originals."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrogen.inference import posterior_predictive
from pyrogen.messages import writing
from pyrogen.story import Story

Picture = NDArray[np.float32]
"""Pixels (height, width, 3) in [0, 1]."""

_VISIBLE = 56
"""Pixels to which the longer side of an image is enlarged, by a whole number, so that 8 by 8 digits can be seen."""
GAP, _GAP_SHADE = 2, 0.25
_DRAWS = 32


def image_grid(images: Any, columns: int | None = None) -> Picture:
    """A grid of images with thin gaps; small images are enlarged without smoothing.

    Args:
        images: (n, 1, height, width) grey, (n, 3, height, width) colour, or (n, height, width) grey; values are clipped
            to [0, 1], NaN is black.
        columns: images in a row; None (the default): the square root of n, rounded up.

    Returns:
        Pixels (height, width, 3) in [0, 1].

    Raises:
        ValueError: `images` have another shape, there are none, or `columns` is below 1.

    Example:
        >>> image_grid(torch.rand(6, 1, 8, 8), columns=3).shape
        (118, 176, 3)
    """
    pixels = _colour(images)
    n, _, height, width = pixels.shape
    if columns is not None and columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}")
    across = min(n, columns or math.ceil(math.sqrt(n)))
    scale = max(1, round(_VISIBLE / max(height, width)))
    pixels = pixels.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    down, step_y, step_x = math.ceil(n / across), height * scale + GAP, width * scale + GAP
    grid = torch.full((3, down * step_y + GAP, across * step_x + GAP), _GAP_SHADE, device=pixels.device)
    for i, image in enumerate(pixels):
        top, left = (i // across) * step_y + GAP, (i % across) * step_x + GAP
        grid[:, top : top + height * scale, left : left + width * scale] = image
    return grid.permute(1, 2, 0).contiguous().numpy()


def save_picture(path: str | Path | BinaryIO, picture: Picture) -> None:
    """Write pixels to an image file.

    Args:
        path: of the file, whose suffix determines the format, such as `.png`; its folder is made. Or an open binary
            file, which receives PNG.
        picture: pixels (height, width, 3) in [0, 1].

    Raises:
        OSError: the file cannot be written.
    """
    from matplotlib.image import imsave

    if not isinstance(path, str | Path):
        imsave(path, picture, format="png")
        return
    with writing(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        imsave(str(path), picture)


def save_image_grid(path: str | Path, images: Any, columns: int | None = None) -> None:
    """Write `image_grid(images, columns)` to an image file.

    Args:
        path: of the file, whose suffix determines the format, such as `.png`; its folder is made.
        images: (n, 1, height, width), (n, 3, height, width) or (n, height, width), in [0, 1].
        columns: images in a row; None (the default): the square root of n, rounded up.
    """
    save_picture(path, image_grid(images, columns))


def reconstructions(story: Story, x: Tensor, columns: int = 16) -> Picture:
    """Images, and below each its reconstruction: the mean of p(x | z) for z from the guide.

    The reconstruction is the story's own method `reconstruct(x)`, if it has one; otherwise the mean of 32 draws from
    the posterior predictive distribution.

    Args:
        story: a trained story of images.
        x: the originals (n, channels, height, width).
        columns: images in a row, 16 by default.

    Returns:
        Pixels (height, width, 3) in [0, 1].
    """
    made = getattr(story, "reconstruct", None)
    y = (made(x) if made is not None else _predicted(story, x)).detach().cpu()
    width = min(columns, len(x))
    rows = [_row(part[i : i + width], width) for i in range(0, len(x), width) for part in (x.cpu(), y)]
    return image_grid(torch.cat(rows), width)


def _predicted(story: Story, x: Tensor) -> Tensor:
    draws = posterior_predictive(story, {"x": x}, _DRAWS, seed=0)
    return (draws["x"] if "x" in draws else next(iter(draws.values()))).float().mean(0)


def _row(images: Tensor, width: int) -> Tensor:
    """The images, filled up with black ones where they are fewer than `width`."""
    return torch.cat([images.float(), torch.zeros(width - len(images), *images.shape[1:])])


def _colour(images: Any) -> Tensor:
    """Images as (n, 3, height, width) in [0, 1], float32."""
    pixels = torch.as_tensor(images).detach().cpu().float()
    shape = tuple(pixels.shape)
    pixels = pixels[:, None] if pixels.dim() == 3 else pixels
    if pixels.dim() != 4 or pixels.shape[1] not in (1, 3) or 0 in shape:
        raise ValueError(f"images are (n, 1 or 3, height, width) or (n, height, width), got {shape}: reshape them")
    return pixels.clamp(0, 1).nan_to_num(0.0).expand(-1, 3, -1, -1)
