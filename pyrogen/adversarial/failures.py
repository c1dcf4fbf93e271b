"""Failures of adversarial training: mode collapse, and a critic that wins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

COLLAPSED = 0.5
"""Diversity below which a generator has collapsed: it covers less than half of the data."""
WON = 0.99
"""Accuracy above which a critic has won: less than one generated datum in a hundred passes as real."""


def diversity(generated: Tensor, data: Tensor) -> float:
    """The effective number of different generated data over that of real data.

    See `effective_number`; its scale is a third of the median distance between real data. The ratio is about 1 for
    samples of the data's own distribution, 1/2 where they cover one of two separate modes, near 0 where they are all
    alike, and above 1 where they are more scattered than data. It does not measure the quality of samples.

    Args:
        generated: (n, ...).
        data: (n, ...).

    Returns:
        The ratio; 1 where all data are alike.

    Example:
        >>> x = torch.randn(64, 2)
        >>> diversity(x, x), diversity(torch.zeros(64, 2), x) < 0.5
        (1.0, True)
    """
    made, real = generated.reshape(len(generated), -1), data.reshape(len(data), -1)
    scale = float(torch.pdist(real).median()) / 3 if len(real) > 1 else 0.0
    if scale == 0.0:
        return 1.0
    return effective_number(made, scale) / effective_number(real, scale)


def effective_number(points: Tensor, scale: float) -> float:
    r"""The effective number of different points (n, d), from 1, all alike, to n: the Vendi score.

    $$ \exp\Big(-\sum_i \lambda_i \log \lambda_i\Big), \qquad
       \lambda \text{ the eigenvalues of } \tfrac1n \exp\big(-|x_i - x_j|^2 / 2s^2\big). $$

    Args:
        points: (n, d).
        scale: s, the distance from which on points count as different.

    Returns:
        The effective number.

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
    """Failures by one record of the history, each with what to do.

    Args:
        record: with `diversity` and `critic_accuracy`, where they were measured.

    Returns:
        A sentence for each failure.

    Example:
        >>> detect_failures({"diversity": 0.9, "critic_accuracy": 0.6})
        []
    """
    found = []
    if record.get("diversity", 1.0) < COLLAPSED:
        found.append(
            f"mode collapse: generated data are {record['diversity']:.0%} as diverse as real ones; raise r1= of the "
            "objective, lower the learning rate, or use larger batches"
        )
    if record.get("critic_accuracy", 0.0) > WON:
        found.append(
            f"the critic has won: it scores a real datum above a generated one in {record['critic_accuracy']:.1%} of "
            "pairs, and the generator learns little; raise r1= of the objective, lower critic_steps=, make the critic "
            "smaller, or give it more data"
        )
    return found
