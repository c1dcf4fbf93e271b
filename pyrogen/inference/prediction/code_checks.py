"""Checks of codes before they are decoded."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from pyrogen.inference.prediction.latent_points import point_of


def checked_codes(story: Any, name: str | None, codes: Any) -> Tensor:
    """Codes, or the points of their distributions, as finite numbers in rows.

    Args:
        story: the story.
        name: of the latent; None where there is one.
        codes: what `decode` was called with.

    Returns:
        The codes (N, ...), on the story's device.

    Raises:
        TypeError: they are no numbers.
        ValueError: there are no rows, or values that are not finite.
    """
    what = f"{story.name}: the codes{f' of {name!r}' if name else ''}"
    try:
        points = torch.as_tensor(point_of(codes) if isinstance(codes, Distribution) else codes).detach()
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{what} are a {type(codes).__name__}, expected a tensor (N, *latent shape)") from None
    if points.dim() == 0 or not len(points):
        raise ValueError(f"{what} have shape {tuple(points.shape)}, expected at least one row, (N, *latent shape)")
    if points.is_floating_point() and not bool(points.isfinite().all()):
        bad = int((~points.isfinite().reshape(len(points), -1).all(1)).sum())
        raise ValueError(f"{what} are not finite in {bad} of {len(points)} rows; expected finite numbers")
    return points.to(story.device)


def check_code_shape(story: str, name: str, code: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse codes of another shape than the latent's.

    Args:
        story: its name.
        name: of the latent.
        code: the codes (N, ...).
        shape: of one latent.

    Raises:
        ValueError: they are of another shape.
    """
    if tuple(code.shape[1:]) != shape:
        expected = ", ".join(["N", *map(str, shape)])
        raise ValueError(f"{story}: the codes of '{name}' have shape {tuple(code.shape)}, expected ({expected})")
