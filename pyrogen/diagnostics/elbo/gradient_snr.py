"""How much of a gradient is signal, and how much the noise of draws and mini-batches."""

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

from pyrogen.diagnostics.core.estimates import Array, Estimates
from pyrogen.inference import evaluation_context
from pyrogen.inference.batching.row_batches import batches_of, fetched
from pyrogen.inference.program.precision import story_dtype
from pyrogen.inference.program.program import Program, divisor_for
from pyrogen.inference.training.defaults import default_objective

__all__ = ["GradientNoise", "gradient_noise"]

BLOCKS = 10
"""Means of gradients that are kept, of which one is left out at a time for the errors."""


@dataclass(frozen=True)
class GradientNoise:
    """Squared norms of the gradient's mean and of its noise, by parameter, then of all parameters together.

    Args:
        names: of the parameters, "all" last.
        signal: |E g|^2 without bias, so that it may come out negative where the mean vanishes.
        noise: E |g - E g|^2 of a single gradient.
    """

    names: tuple[str, ...]
    signal: Estimates
    noise: Array

    @property
    def ratio(self) -> Estimates:
        """Signal to noise, |E g|^2 / E |g - E g|^2; at the optimum 0, and far from it above 1."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return Estimates(self.signal.value / self.noise, self.signal.error / self.noise)

    def __str__(self) -> str:
        ratio = self.ratio
        return ", ".join(
            f"{name} {value:.2g} ± {error:.1g}"
            for name, value, error in zip(self.names, ratio.value, ratio.error, strict=True)
        )


def gradient_noise(
    fitted: Any,
    data: Any,
    num_samples: int = 100,
    *,
    objective: Any = None,
    batch_size: int | None = 128,
    seed: int = 0,
) -> GradientNoise:
    """Signal and noise of the objective's gradient where the parameters are now, no step taken.

    Where signal to noise is near 0, a run has arrived, or goes on as a random walk: lower the rate, or raise the number
    of draws. Networks are in evaluation mode.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them, the training data.
        num_samples: gradients, at least 20.
        objective: as `fit` takes it, one with a differentiable loss; None: the one that `fit` would choose.
        batch_size: rows in a mini-batch; None for all data.
        seed: of mini-batches and draws.

    Raises:
        ValueError: fewer than 20 gradients; no parameter receives one; an objective without a differentiable loss.

    Example:
        >>> from pyrogen.models import PPCA
        >>> x = torch.randn(100, 4)
        >>> found = gradient_noise(PPCA(4, latent=2).maximum_likelihood(x), x, batch_size=None)
        >>> bool(found.ratio.value[-1] < 0.1)
        True

    References:
        Rainforth et al. 2018, arXiv:1802.04537.
    """
    if num_samples < 2 * BLOCKS:
        raise ValueError(f"num_samples must be at least {2 * BLOCKS}, got {num_samples}")
    with evaluation_context(fitted, seed) as context, torch.enable_grad():
        story = context.story
        program, dtype = Program(story), story_dtype(story, torch.get_default_dtype())
        total = story.training_spec.total if story.training_spec is not None else None
        options: dict[str, Any] = {"batch_size": batch_size, "device": story.device, "dtype": dtype, "total": total}
        batches = batches_of(data, program.wants, **options, seed=seed)
        objective = objective if objective is not None else default_objective(program, batches)
        if not hasattr(objective, "differentiable_loss"):
            raise ValueError(
                f"objective: {type(objective).__name__} has no differentiable loss, so no gradient to look at"
            )
        return _judged(_gradients(program, objective, batches), num_samples // BLOCKS)


def _gradients(program: Program, objective: Any, batches: Any) -> Iterator[dict[str, Tensor]]:
    """Gradients of the loss per datum by parameter, epoch after epoch."""
    trained = {name: p for name, p in program.story.trainable().items() if p.requires_grad}
    if not trained:
        raise ValueError(f"{program.story.name} has no parameter to train, and so no gradient")
    for batch in itertools.chain.from_iterable(batches.epoch() for _ in itertools.count()):
        rows = program.at_step(fetched(batch), 0)
        loss = objective.differentiable_loss(program.model, program.guide, rows) / divisor_for(program, rows)
        found: Any = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
        yield {name: g.flatten().double() for name, g in zip(trained, found, strict=True) if g is not None}


def _judged(gradients: Iterator[dict[str, Tensor]], size: int) -> GradientNoise:
    """From 10 blocks of `size` gradients each."""
    means: list[dict[str, Tensor]] = []
    squares: defaultdict[str, float] = defaultdict(float)
    for _ in range(BLOCKS):
        block: dict[str, Tensor] = {}
        for gradient in itertools.islice(gradients, size):
            for name, g in gradient.items():
                block[name] = block.get(name, 0.0) + g / size
                squares[name] += float(g.square().sum()) / (size * BLOCKS)
        means.append(block)
    grams = {name: _gram(torch.stack([block[name] for block in means])) for name in means[0]}
    grams["all"], squares["all"] = np.sum(list(grams.values()), 0), sum(squares.values())
    signal = [_signal(gram) for gram in grams.values()]
    estimates = Estimates(*(np.array(figures) for figures in zip(*signal, strict=True)))
    noise = np.array([squares[name] for name in grams]) - estimates.value
    return GradientNoise(tuple(grams), estimates, noise)


def _gram(means: Tensor) -> Array:
    gram: Array = (means @ means.T).cpu().numpy()
    return gram


def _signal(gram: Array) -> tuple[float, float]:
    """|E g|^2 from products of different blocks' means, which have no bias; its jackknife error."""

    def off_diagonal(products: Array) -> float:
        n = len(products)
        return float(products.sum() - np.trace(products)) / (n * (n - 1))

    blocks = np.arange(len(gram))
    left_out = np.array([off_diagonal(gram[np.ix_(blocks != b, blocks != b)]) for b in blocks])
    return off_diagonal(gram), float(left_out.std() * math.sqrt(len(blocks) - 1))
