"""Likelihoods one can trust: of each datum, with a Monte Carlo error, from any model and guide."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrogen.inference.batching.row_batches import batches_of
from pyrogen.inference.likelihood.memory_budget import max_rows, pieces
from pyrogen.inference.likelihood.weights import LogWeightEvaluator
from pyrogen.inference.program.evaluation_context import evaluation_context
from pyrogen.inference.program.precision import story_dtype
from pyrogen.inference.program.program import Program
from pyrogen.inference.program.row_log_weights import NoWeights, kind_of_estimate, row_log_weights
from pyrogen.inference.training.defaults import elbo_for, is_local, trace_first_batch
from pyrogen.inference.training.validation import mean_elbo
from pyrogen.story import Batch, Signature

__all__ = ["LogLikelihood", "held_out_elbo", "log_likelihood", "log_weights", "weighed"]

ROWS = 256
"""Rows whose ELBO is estimated at once, where each has its own."""


@dataclass(frozen=True)
class LogLikelihood:
    r"""The log-likelihood of each datum, in nats.

    Args:
        value: (N,) log p(x), exact or $\log \frac1k \sum_j w_j$ for weights $w_j = p(x, z_j) / q(z_j|x)$.
        error: (N,) its Monte Carlo standard error, $\sqrt{\operatorname{var} w / k} / \bar w$ (delta method); 0 where
            exact. It says nothing of the bound's bias, which k alone removes.
        elbo: (N,) the ELBO, the mean of log weights; nan where there is no guide.
        elbo_error: (N,) its Monte Carlo standard error.
        k: draws for each datum; 0 where no draw was made.
        kind: "exact", "importance-weighted", or "elbo" where the guide is a point (a VQ-VAE's): `value` is then the
            ELBO, a lower bound that no k brings closer.
    """

    value: Tensor
    error: Tensor
    elbo: Tensor
    elbo_error: Tensor
    k: int
    kind: str

    def mean(self) -> tuple[float, float]:
        """Mean over data, and its Monte Carlo standard error."""
        return float(self.value.mean()), float(self.error.square().sum().sqrt()) / len(self.error)

    def mean_elbo(self) -> tuple[float, float]:
        """Mean ELBO over data, and its Monte Carlo standard error."""
        return float(self.elbo.mean()), float(self.elbo_error.square().sum().sqrt()) / len(self.elbo_error)


def log_weights(story: Any, data: Any, num_samples: int = 100, *, seed: int | None = None) -> Tensor:
    r"""Log weights $\log p(x_i, z_{si}) - \log q(z_{si}|x_i)$ of draws from the guide, unscaled by any plate.

    Args:
        story: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them.
        num_samples: draws S for each datum.
        seed: of the draws; None goes on with torch's own generator.

    Returns:
        (S, N), in nats.

    Raises:
        NoWeights (a ValueError): a site sits outside the data plate, naming it; the guide does not sample a latent; or
            the program chooses its own rows.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}")
    with _scoring(story, data, seed) as (program, batch):
        chunks = [torch.cat([w.cpu() for w in weights]) for weights in _chunks(program, batch, num_samples)]
    return torch.cat(chunks, 1)


def log_likelihood(
    story: Any, data: Any, num_samples: int = 100, *, seed: int | None = None, exact: bool | None = None
) -> LogLikelihood:
    r"""Log-likelihood of each datum: exact where the story has one, else $\log \frac1k \sum_j w_j$ (Burda et al. 2015).

    Memory is bounded: weights are summed up in chunks of data and draws.

    Args:
        story: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them.
        num_samples: draws k for each datum.
        seed: of the draws; None goes on with torch's own generator.
        exact: False estimates by weights even so; True insists on the exact one.

    Raises:
        NoWeights (a ValueError): there is no weight for each datum; see `log_weights` and `held_out_elbo`.
        ValueError: the story declares to be without a density.
    """
    with _scoring(story, data, seed) as (program, batch):
        told = program.story
        exactly = hasattr(told, "log_prob") if exact is None else exact
        if exactly and not hasattr(told, "log_prob"):
            raise ValueError(f"{told.name} has no exact log_prob: pass exact=False")
        kind = "exact" if exactly else kind_of_estimate(program, batch)
        if not exactly and kind != "importance-weighted":
            num_samples = min(num_samples, 1)  # any others would be the same
        sums = None
        if "guide" not in told.unsupported and num_samples > 0:
            parts = [_Sums.of(weights) for weights in _chunks(program, batch, num_samples)]
            sums = _Sums(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(_Sums)))
        if not exactly:
            if sums is None:
                raise ValueError(f"num_samples must be at least 1, got {num_samples}")
            return sums.result(num_samples, kind)
        value = _exact(told, batch)
    nothing = torch.full_like(value, math.nan)
    elbo, error = (nothing, nothing) if sums is None else sums.elbo(num_samples)
    return LogLikelihood(value, torch.zeros_like(value), elbo, error, 0 if sums is None else num_samples, "exact")


@dataclass
class _Sums:
    """Sums over draws, (rows,): weights and squares relative to the largest, log weights and squares."""

    top: Tensor
    first: Tensor
    second: Tensor
    mean: Tensor
    square: Tensor

    @classmethod
    def of(cls, chunks: Iterable[Tensor]) -> _Sums:
        """Sum up chunks (some draws, rows)."""
        parts = iter(chunks)
        sums = cls._one(next(parts))
        for chunk in parts:
            sums = sums._plus(cls._one(chunk))
        return sums

    @classmethod
    def _one(cls, chunk: Tensor) -> _Sums:
        chunk = chunk.cpu().double()
        top = chunk.max(0).values
        relative = (chunk - _reference(top)).exp()
        return cls(top, relative.sum(0), relative.square().sum(0), chunk.sum(0), chunk.square().sum(0))

    def _plus(self, other: _Sums) -> _Sums:
        top = torch.maximum(self.top, other.top)
        # Weights that are all 0 stay 0, whatever they are taken relative to.
        mine, theirs = (torch.where(s.top == -math.inf, 0.0, (s.top - _reference(top)).exp()) for s in (self, other))
        first = self.first * mine + other.first * theirs
        second = self.second * mine.square() + other.second * theirs.square()
        return _Sums(top, first, second, self.mean + other.mean, self.square + other.square)

    def elbo(self, k: int) -> tuple[Tensor, Tensor]:
        """Mean log weight of each row, and its standard error."""
        mean = self.mean / k
        variance = (self.square / k - mean.square()).clamp(min=0) * k / max(1, k - 1)
        return mean, (variance / k).sqrt()

    def result(self, k: int, kind: str) -> LogLikelihood:
        """The estimate from k draws."""
        value = _reference(self.top) + (self.first / k).log()
        # var(w)/mean(w)^2 from the sums; the reference weight cancels.
        relative = (k * self.second / self.first.square() - 1).clamp(min=0)
        error = (relative / max(1, k - 1)).sqrt()
        return LogLikelihood(value, error, *self.elbo(k), 0 if kind == "exact" else k, kind)


def _reference(top: Tensor) -> Tensor:
    """The log weight that others are taken relative to: the largest, but where all weights are 0, where any serves."""
    return torch.where(top == -math.inf, 0.0, top)


def held_out_elbo(
    story: Any, data: Any, num_samples: int = 10, *, seed: int = 0, objective: Any = None, batch_size: int | None = None
) -> tuple[float, float]:
    """The ELBO in nats per datum on data that training did not see, and its Monte Carlo standard error.

    For stories whose latents are shared by all data, which have no weight for each datum. `total` stays the training
    set's.

    Args:
        story: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: anything that `fit` takes.
        num_samples: runs over the data; the error is that of their mean.
        seed: of the draws.
        objective: a Pyro ELBO or one of `pyrogen.inference`'s; None: `Trace_ELBO`, or `TraceEnum_ELBO` where sites are
            marked.
        batch_size: rows taken at once; None: 256 where every latent sits in the data plate, else all of them.
    """
    with evaluation_context(story) as context:
        told = context.story
        program = Program(told, told.training_spec.extra if told.training_spec is not None else None)
        dtype = story_dtype(told, torch.get_default_dtype())
        total = told.training_spec.total if told.training_spec is not None else None
        given: dict[str, Any] = {"device": told.device, "dtype": dtype, "total": total}
        batches = batches_of(data, program.wants, batch_size=batch_size or ROWS, **given)
        peek = trace_first_batch(program, batches)
        if batch_size is None and (peek is None or not is_local(told, peek)):  # or it takes none but all of its rows
            batches = batches_of(data, program.wants, batch_size=None, **given)
            peek = trace_first_batch(program, batches)
        chosen = objective if objective is not None else elbo_for(peek)
        divisors: dict[int, float] = {}
        seeds = np.random.SeedSequence(seed).generate_state(num_samples)  # no two seeds share draws
        runs = [mean_elbo(program, chosen, batches, int(s), divisors) for s in seeds]
    mean = sum(runs) / num_samples
    variance = sum((run - mean) ** 2 for run in runs) / max(1, num_samples - 1)
    return mean, math.sqrt(variance / num_samples)


def _exact(story: Any, batch: Batch) -> Tensor:
    """The story's own log p(x) of each row, (N,), some rows at a time."""
    signature = Signature(story.log_prob, f"{story.name}.log_prob")

    def log_prob(rows: Batch) -> Tensor:
        args, kwargs = signature.bind(rows)
        return torch.as_tensor(story.log_prob(*args, **kwargs)).cpu()

    parts = [log_prob(rows) for rows in pieces(story, log_prob, batch)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


@contextmanager
def _scoring(fitted: Any, data: Any, seed: int | None) -> Iterator[tuple[Program, Batch]]:
    """The program at home and predicting, and all of the data as one batch."""
    with evaluation_context(fitted, seed) as context:
        story = context.story
        story.require("density")
        program = context.program
        yield program, context.batch(data)


def _chunks(program: Program, batch: Batch, samples: int) -> Iterator[Iterator[Tensor]]:
    """For each chunk of rows, an iterator over log weights (some draws, rows)."""
    program.story.require("guide")
    budget = max_rows(program.story, weighed(program), batch)
    starts = range(0, batch.n, budget)
    chunks: Counter[tuple[int, int]] = Counter()
    for start in starts:
        rows = min(budget, batch.n - start)
        chunks.update((rows, draws) for draws in _portions(samples, rows, budget))
    weigh = LogWeightEvaluator(program, chunks)
    for start in starts:
        part = batch.rows(start, start + budget)
        yield (weigh(part, draws) for draws in _portions(samples, part.n, budget))


def weighed(program: Program) -> Callable[[Batch], None]:
    """A run of guide and model on some rows with all that their weights take, whether or not they have any."""

    def run(rows: Batch) -> None:
        with suppress(NoWeights):
            row_log_weights(program.model, program.guide, rows, 1)

    return run


def _portions(samples: int, rows: int, budget: int) -> Iterator[int]:
    """How many draws each run makes."""
    together = max(1, budget // rows)
    for done in range(0, samples, together):
        yield min(together, samples - done)
