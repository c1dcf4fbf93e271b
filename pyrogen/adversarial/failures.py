"""Health of a game in training: how diverse what the generator makes is, and what to do where something ails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["detect_failures", "diversity", "effective_number"]

COLLAPSED = 0.5
"""Diversity below which a generator has collapsed: it makes less than half of what there is."""
WON = 0.99
"""Accuracy above which a critic has won: less than one generated datum in a hundred passes for real."""


def diversity(generated: Tensor, data: Tensor) -> float:
    """How many different data there are among the generated ones, over how many there are among real ones.

    Each number is effective: see `effective_number`, with a third of the median distance between real data as what
    counts as a difference. It is about 1 for samples of the data's own distribution, 1/2 where they cover one of two
    separate modes, near 0 where they are all alike, and above 1 where they are scattered more than data are. How good
    samples are it does not tell.

    Args:
        generated: (n, ...).
        data: (n, ...), as many.

    Example:
        >>> x = torch.randn(64, 2)
        >>> diversity(x, x), diversity(torch.zeros(64, 2), x) < 0.5
        (1.0, True)
    """
    made, real = generated.reshape(len(generated), -1), data.reshape(len(data), -1)
    scale = float(torch.pdist(real).median()) / 3 if len(real) > 1 else 0.0
    if scale == 0.0:
        return 1.0  # data all alike have no more to offer
    return effective_number(made, scale) / effective_number(real, scale)


def effective_number(points: Tensor, scale: float) -> float:
    r"""The effective number of different points (n, d), from 1, all alike, to n: the Vendi score.

    $$ \exp\Big(-\sum_i \lambda_i \log \lambda_i\Big), \qquad
       \lambda \text{ the eigenvalues of } \tfrac1n \exp\big(-|x_i - x_j|^2 / 2s^2\big). $$

    Args:
        points: (n, d).
        scale: s, the distance from which on points differ.

    Example:
        >>> round(effective_number(torch.tensor([[0.0], [0.0], [9.0], [9.0]]), 1.0), 6)
        2.0

    References:
        Friedman, Dieng 2023, arXiv:2210.02410.
    """
    points = points.double()
    kernel = torch.exp(-0.5 * torch.cdist(points, points).div(scale).square())
    shares = torch.linalg.eigvalsh(kernel / len(points)).clamp(min=0)
    return float(torch.special.entr(shares).sum().exp())


def detect_failures(record: Mapping[str, Any]) -> list[str]:
    """What ails a game by one record of its history, and what to do; nothing where nothing does.

    Example:
        >>> detect_failures({"diversity": 0.9, "critic_accuracy": 0.6})
        []
    """
    found = []
    if record.get("diversity", 1.0) < COLLAPSED:
        found.append(
            f"mode collapse: generated data are {record['diversity']:.0%} as diverse as real ones; raise r1= of the "
            "objective, lower the rate, or take larger batches"
        )
    if record.get("critic_accuracy", 0.0) > WON:
        found.append(
            f"the critic has won: it scores a real datum above a generated one in {record['critic_accuracy']:.1%} of "
            "pairs, and the generator learns little; raise r1= of the objective, lower critic_steps=, make the critic "
            "smaller, or give it more data"
        )
    return found
