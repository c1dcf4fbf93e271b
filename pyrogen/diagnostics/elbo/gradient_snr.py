"""Signal-to-noise ratio of the objective's gradient, under draws and mini-batches."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrogen.annotations import Count, Seed
from pyrogen.diagnostics.core.estimates import Array, Estimates
from pyrogen.inference import evaluation_context
from pyrogen.inference.batching.row_batches import materialize
from pyrogen.inference.program.isolation import divisor_for
from pyrogen.inference.program.program import Program
from pyrogen.inference.training.defaults import default_objective

_BLOCKS = 10
"""Blocks of gradients, of which one is left out at a time for the errors."""


@dataclass(frozen=True)
class GradientNoise:
    """Squared norms of the gradient's mean and of its noise, by parameter, then of all parameters together.

    Args:
        names: names of the K - 1 parameters, then "all".
        signal: |E g|^2, (K,), unbiased, so that it may be negative where the mean vanishes.
        noise: E |g - E g|^2 of a single gradient, (K,).
    """

    names: tuple[str, ...]
    signal: Estimates
    noise: Array

    @property
    def ratio(self) -> Estimates:
        """Signal-to-noise ratio |E g|^2 / E |g - E g|^2, (K,): 0 at the optimum, above 1 far from it."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return Estimates(self.signal.value / self.noise, self.signal.error / self.noise)

    def __str__(self) -> str:
        ratio = self.ratio
        rows = zip(self.names, ratio.value, ratio.error, strict=True)
        return ", ".join(f"{name} {value:.2g} ± {error:.1g}" for name, value, error in rows)


def gradient_noise(
    fitted: Any,
    data: Any,
    num_samples: Count = 100,
    *,
    objective: Any = None,
    batch_size: int | None = 128,
    seed: Seed = 0,
) -> GradientNoise:
    """Signal and noise of the objective's gradient at the current parameters, without a step.

    Where their ratio is near 0, the run has converged, or further steps are a random walk: lower the learning rate, or
    raise the number of draws. Networks are in evaluation mode.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them, the training data.
        num_samples: number of gradients, at least 20; 100 by default.
        objective: as `fit` takes it, one with a differentiable loss; None, the default, is the one that `fit` would
            choose.
        batch_size: rows in a mini-batch, 128 by default; None for all data.
        seed: of mini-batches and draws, 0 by default.

    Returns:
        Signal and noise, by parameter and in all.

    Raises:
        ValueError: `num_samples` is below 20, no parameter is trained, or the objective has no differentiable loss.

    Example:
        >>> from pyrogen.models import PPCA
        >>> x = torch.randn(100, 4)
        >>> gradient = gradient_noise(PPCA(4, latent=2).maximum_likelihood(x), x, batch_size=None)
        >>> bool(gradient.ratio.value[-1] < 0.1)
        True

    References:
        Rainforth et al. 2018, arXiv:1802.04537.
    """
    if num_samples < 2 * _BLOCKS:
        raise ValueError(f"num_samples must be at least {2 * _BLOCKS}, got {num_samples}")
    with evaluation_context(fitted, seed) as context, torch.enable_grad():
        program, batches = context.program, context.batches(data).with_size(batch_size, seed)
        objective = objective if objective is not None else default_objective(program, batches)
        if not hasattr(objective, "differentiable_loss"):
            kind = type(objective).__name__
            raise ValueError(f"objective: {kind} has no differentiable loss: pass one that has, such as Trace_ELBO")
        return _signal_and_noise(_gradients(program, objective, batches), num_samples // _BLOCKS)


def _gradients(program: Program, objective: Any, batches: Any) -> Iterator[dict[str, Tensor]]:
    """Gradients of the loss per datum by parameter, epoch after epoch."""
    parameters = {name: p for name, p in program.story.trainable().items() if p.requires_grad}
    if not parameters:
        raise ValueError(f"{program.story.name} has no parameter to train, and so no gradient")
    for batch in itertools.chain.from_iterable(batches.epoch() for _ in itertools.count()):
        rows = program.at_step(materialize(batch), 0)
        loss = objective.differentiable_loss(program.model, program.guide, rows) / divisor_for(program, rows)
        gradients: Any = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        yield {name: g.flatten().double() for name, g in zip(parameters, gradients, strict=True) if g is not None}


def _signal_and_noise(gradients: Iterator[dict[str, Tensor]], size: int) -> GradientNoise:
    """Estimates from 10 blocks of `size` gradients each."""
    means: list[dict[str, Tensor]] = []
    squares: defaultdict[str, float] = defaultdict(float)
    for _ in range(_BLOCKS):
        block: dict[str, Tensor] = {}
        for gradient in itertools.islice(gradients, size):
            for name, g in gradient.items():
                block[name] = block.get(name, 0.0) + g / size
                squares[name] += float(g.square().sum()) / (size * _BLOCKS)
        means.append(block)
    stacked = {name: torch.stack([block[name] for block in means]) for name in means[0]}
    products: dict[str, Array] = {name: (blocks @ blocks.T).cpu().numpy() for name, blocks in stacked.items()}
    products["all"], squares["all"] = np.sum(list(products.values()), 0), sum(squares.values())
    signal = Estimates(*map(np.array, zip(*map(_signal, products.values()), strict=True)))
    noise = np.array([squares[name] for name in products]) - signal.value
    return GradientNoise(tuple(products), signal, noise)


def _signal(products: Array) -> tuple[float, float]:
    """|E g|^2 from products of different blocks' means, which have no bias; its jackknife error."""

    def off_diagonal_mean(matrix: Array) -> float:
        n = len(matrix)
        return float(matrix.sum() - np.trace(matrix)) / (n * (n - 1))

    blocks = np.arange(len(products))
    left_out = np.array([off_diagonal_mean(products[np.ix_(blocks != b, blocks != b)]) for b in blocks])
    return off_diagonal_mean(products), float(left_out.std() * math.sqrt(len(blocks) - 1))
