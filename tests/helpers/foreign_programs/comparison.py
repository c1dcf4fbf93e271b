"""Comparisons of an answer with what it must be."""

from __future__ import annotations

import math

import torch
from torch import Tensor

STANDARD_ERRORS = 5.0


class Wrong(Exception):
    """An answer is not what it must be."""


def require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Wrong(otherwise)


def same_numbers(what: str, found: list[float], expected: list[float]) -> None:
    alike = len(found) == len(expected) and all(
        math.isclose(a, b, rel_tol=1e-4) for a, b in zip(found, expected, strict=True)
    )
    require(alike, f"{what} {found}, stock {expected}")


def same_tensor(what: str, found: Tensor, expected: Tensor) -> None:
    alike = found.numel() == expected.numel()
    shapes = f"{tuple(found.shape)}, expected {tuple(expected.shape)}"
    require(alike, f"{what}: {shapes}")
    found, expected = found.double().flatten(), expected.double().flatten()
    require(torch.allclose(found, expected, rtol=1e-3, atol=1e-4), f"{what}: {found[:4]}, expected {expected[:4]}")


def near(what: str, first: Tensor, second: Tensor) -> None:
    """Means over the first dimension agree within their standard errors."""
    error = (first.var(0) / len(first) + second.var(0) / len(second)).sqrt()
    gap = (first.mean(0) - second.mean(0)).abs()
    worst = (gap - STANDARD_ERRORS * error).max()
    require(bool(worst <= 1e-4), f"{what}: off by {float(gap.max()):.4g}, standard error {float(error.max()):.4g}")
