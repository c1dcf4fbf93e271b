"""Draws of latents that data share, with their log densities: many at once where the program can be vectorized."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyro
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pyrogen.diagnostics.core.estimates import Array
from pyrogen.diagnostics.core.log_densities import LogDensities
from pyrogen.diagnostics.core.program_structure import analyze_program
from pyrogen.diagnostics.core.row_blocks import require_training_rows
from pyrogen.diagnostics.core.site_values import deterministic_sites
from pyrogen.inference import NoWeights
from pyrogen.inference.likelihood.memory_budget import max_rows_in_memory
from pyrogen.story import Batch, Story, inside, is_delta, latent_sites

_COMPARED = 3
"""Draws of a vectorized run that are run one by one too."""

_MOST, _ROWS = 1000, 2**16
"""Draws of one vectorized run, and rows of all its draws together: a processor's cache holds them."""

_MANY, _ELEMENTS = 4, 2**24
"""How many times more draws are made where they are cheap, and the rows and numbers of all of them together."""

Draw = tuple[dict[str, Tensor], Tensor, Tensor, dict[str, Tensor]]
"""Values by site, log p(x, z), log q(z), and the values that the guide draws freely."""


@dataclass(frozen=True)
class SharedDraws:
    """S draws from a guide, with the log densities of all latents and data together.

    Args:
        values: by latent or deterministic site, (S, ...).
        log_p: (S,) log p(x, z), in nats.
        log_q: (S,) log q(z), in nats.
    """

    values: dict[str, Array]
    log_p: Array
    log_q: Array

    @property
    def log_weights(self) -> Array:
        """Log p(x, z) - log q(z), (S, 1)."""
        return (self.log_p - self.log_q)[:, None]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the K numbers of a draw, such as `theta[3]`."""
        shapes = {name: draws.shape[1:] for name, draws in self.values.items()}
        return tuple(f"{name}{list(i) if i else ''}" for name, shape in shapes.items() for i in np.ndindex(shape))

    @property
    def flat(self) -> Array:
        """The numbers of each draw, (S, K)."""
        return np.concatenate([draws.reshape(len(draws), -1) for draws in self.values.values()], 1)

    @classmethod
    def joined(cls, parts: Iterable[SharedDraws]) -> SharedDraws:
        """Several sets of draws of one program, concatenated.

        Args:
            parts: the sets.

        Returns:
            All draws.
        """
        parts = list(parts)
        values = {name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values}
        return cls(values, *(np.concatenate([getattr(part, of) for part in parts]) for of in ("log_p", "log_q")))


class SharedSampler:
    """Draws of all latents of a program from its guide.

    A program that `torch.func.vmap` can run makes up to 1,000 draws in one run. The first of them are replayed one by
    one; where they differ, or where the program cannot be vectorized, draws are made one by one.

    Args:
        story: the story, within an `evaluation_context`.
        batch: the training rows.

    Raises:
        ValueError: the rows are not those of training.
        NoWeights: every latent belongs to a datum; or the guide does not draw every latent, or draws have no density.
    """

    def __init__(self, story: Story, batch: Batch) -> None:
        require_training_rows(story, batch)
        self._structure = analyze_program(story, batch)
        if self._structure.local or not (self._structure.guide_is_complete and self._structure.has_densities):
            raise NoWeights(f"{story.name}: no draw has a weight of all latents together")
        self._at_once = min(_MOST, _ROWS // batch.n, max_rows_in_memory(batch) // batch.n)
        with pyro.validation_enabled(False):
            if self._at_once > 1 and not self._can_be_vectorized():
                self._at_once = 1

    @property
    def vectorized(self) -> bool:
        """Whether one run makes several draws."""
        return self._at_once > 1

    def affordable(self, num_samples: int, size: int) -> int:
        """How many draws take about as long as `num_samples` one by one: up to 4 times as many where they are cheap.

        Args:
            num_samples: number of draws.
            size: numbers in a draw.

        Returns:
            `num_samples`, or more where draws are vectorized over few rows.
        """
        if not self.vectorized:
            return num_samples
        cheap = min(_ELEMENTS // self._structure.batch.n, _ELEMENTS // (2 * size))
        return max(num_samples, min(_MANY * num_samples, cheap))

    def draw(self, num_samples: int) -> SharedDraws:
        """Further draws from the guide.

        Args:
            num_samples: their number.

        Returns:
            The draws.
        """
        with pyro.validation_enabled(False):
            sizes = [min(self._at_once, num_samples - start) for start in range(0, num_samples, self._at_once)]
            runs = [self._several(size) if self.vectorized else _as_one_of_several(self._one()) for size in sizes]
        values = {name: np.concatenate([_array(run[0][name]) for run in runs]) for name in runs[0][0]}
        log_p, log_q = (
            np.concatenate([_array(part) for part in parts]) for parts in zip(*(run[1:3] for run in runs), strict=True)
        )
        return SharedDraws(values, log_p, log_q)

    def _several(self, count: int) -> Draw:
        """Draws of one vectorized run."""
        several: Draw = torch.func.vmap(self._one, randomness="different")(torch.zeros(count))
        return several

    def _one(self, like: Tensor | None = None, drawn: Mapping[str, Tensor] | None = None) -> Draw:
        """One draw. In a vectorized run new tensors are made like `like`; `drawn` are values that the guide takes."""
        structure = self._structure
        if drawn is not None:
            structure = replace(structure, guide=_Given(drawn)(structure.guide))
        with nullcontext() if like is None else _NewTensorsLike(like):
            guide, model = structure.run()
            densities = LogDensities.of_traces(structure, guide, model)
        sites = {name: site for name, site in latent_sites(model.nodes.values()).items() if name in guide.nodes}
        for name, site in deterministic_sites(model).items():
            if not (structure.summed_out and structure.plate is not None and inside(site, structure.plate.name)):
                sites[name] = site
        values = {name: structure.draws_of(site)[0][0] for name, site in sites.items()}
        # A Delta's value follows from those of other sites.
        made = latent_sites(guide.nodes.values()).items()
        free = {name: site["value"] for name, site in made if not is_delta(site["fn"])}
        log_p, log_q = densities.log_p.sum(), densities.log_q.sum()
        return values, log_p + densities.shared_log_p, log_q + densities.shared_log_q, free

    def _can_be_vectorized(self) -> bool:
        """Whether some draws of a vectorized run are, each alone, the same, and no two of them are."""
        try:
            values, log_p, log_q, free = self._several(_COMPARED)
            for i in range(_COMPARED):
                alone = self._one(drawn={name: value[i] for name, value in free.items()})
                pairs = [(values[name][i], value) for name, value in alone[0].items()]
                if not all(_close(*pair) for pair in [*pairs, (log_p[i], alone[1]), (log_q[i], alone[2])]):
                    return False
            return bool(free) and all(value.unique(dim=0).shape[0] > 1 for value in free.values())
        except Exception:  # whatever a program does that a vectorized run cannot
            return False


class _Given(Messenger):
    """Sites have the values that are given by name."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._values = values

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self._values:
            msg["value"], msg["done"] = self._values[msg["name"]], True


class _NewTensorsLike(TorchFunctionMode):
    """`torch.empty`, which samplers of torch fill with random numbers in place, gives a tensor for each draw."""

    def __init__(self, like: Tensor) -> None:
        super().__init__()
        self._like = like

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.empty:
            return self._like.new_empty(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


def _close(a: Tensor, b: Tensor) -> bool:
    """Whether two results are equal to rounding."""
    tolerance = torch.finfo(b.dtype).eps ** 0.5 if b.is_floating_point() else 0.0
    return torch.allclose(a, b, tolerance, tolerance, equal_nan=True)


def _as_one_of_several(draw: Draw) -> Draw:
    values, log_p, log_q, free = draw
    return {name: value[None] for name, value in values.items()}, log_p[None], log_q[None], free


def _array(values: Tensor) -> Array:
    return np.asarray(values.detach().cpu(), dtype=np.float64)
