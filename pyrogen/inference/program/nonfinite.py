"""Values that are not finite: in data, where the program must handle them, and in a loss, whose site is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from pyrogen.data import check_columns
from pyrogen.inference.batching.row_batches import materialize
from pyrogen.inference.program.isolation import isolated_run, shape_lazy_parameters
from pyrogen.inference.program.program import Program, Recording
from pyrogen.inference.program.rng import set_torch_random_state
from pyrogen.story import Batch, is_subsample

_LARGE = 50.0
"""Values beyond this are far from the unit scale that networks and learning rates are made for."""
_ROWS_TRIED = 1024
"""Rows with values that are not finite on which a program is run."""


def check_finite(
    program: Program, columns: Mapping[str | int, Any], batch_of: Callable[[Tensor], Batch], what: str
) -> None:
    """Refuse values that are not finite, unless the program handles them: its density of these rows is finite.

    A model may do so by a mask (`poutine.mask`, `.mask`) or by a distribution such as `NanMaskedNormal`.

    Args:
        program: the story's.
        columns: all columns, by name or position.
        batch_of: from positions (b,) to the batch of these rows.
        what: what messages call the data, such as "data".

    Raises:
        ValueError: a column has NaN or infinite values that the program does not handle.
    """
    tensors = {str(key): c for key, c in columns.items() if isinstance(c, Tensor) and c.is_floating_point()}
    bad = [
        ~column.isfinite().flatten(1).all(1) if column.dim() > 1 else ~column.isfinite() for column in tensors.values()
    ]
    if not any(bool(rows.any()) for rows in bad):
        return
    rows = torch.stack(bad).any(0)
    some = rows.nonzero()[:_ROWS_TRIED, 0]
    if "density" in program.story.unsupported or not (
        _density_is_finite(program, batch_of, some) or _density_is_finite(program, batch_of, torch.arange(len(rows)))
    ):
        check_columns(tensors, what, any_name=True)


def _density_is_finite(program: Program, batch_of: Callable[[Tensor], Batch], index: Tensor) -> bool:
    """Whether the model runs on some rows, and every site has a finite log density where it is not masked."""
    try:
        batch = program.at_step(batch_of(index), 0)
        with isolated_run(program.story):
            shape_lazy_parameters(program, lambda: batch)
            trace = poutine.trace(program.model).get_trace(batch)
            trace.compute_log_prob()
        terms = (site["log_prob"] for site in trace.nodes.values() if "log_prob" in site)
        return all(bool(torch.as_tensor(term).isfinite().all()) for term in terms)
    except Exception:  # it may need all rows; and what is wrong otherwise is reported by the first step
        return False


def explain_nonfinite_loss(program: Program, batch: Batch, noise: list[Tensor], loss: float, step: int) -> str:
    """Repeat a step whose loss is not finite, with the same noise, and name the site.

    Args:
        program: the story's.
        batch: the rows of the step.
        noise: torch's random state before the step, as `torch_random_state` gives it.
        loss: the loss.
        step: number of the step.

    Returns:
        What is wrong, where, and what to do.
    """
    with isolated_run(program.story):
        set_torch_random_state(noise)
        recording = Recording(materialize(batch, anew=True))
        try:
            reason = _first_nonfinite(recording.run(program))
        except (ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
    return (
        f"{program.story.name}: the loss is {loss} at step {step}: {reason}; {advise_scale(materialize(batch).columns)}"
        "lower the learning rate, pass clip_norm=, or bound the scale; no parameter changed in this step"
    )


def advise_scale(columns: Mapping[Any, Any] | None) -> str:
    """Advice to standardize columns of large numbers, by which losses and gradients overflow.

    Args:
        columns: by name or position; None where they are not known.

    Returns:
        A clause that ends in "or ", to be put before other advice; empty where no floating column is large.
    """
    for key, column in (columns or {}).items():
        if isinstance(column, Tensor) and column.is_floating_point() and column.numel():
            low, high = float(column.min()), float(column.max())
            if max(abs(low), abs(high)) > _LARGE:
                return (
                    f"standardize column '{key}', whose values lie in [{low:.4g}, {high:.4g}], as (x - x.mean(0)) / "
                    "x.std(0); or "
                )
    return ""


def _first_nonfinite(recording: Recording) -> str:
    with pyro.validation_enabled(False), torch.no_grad():
        for role in ("guide", "model"):
            for name, site in getattr(recording, role).sites.items():
                if is_subsample(site):
                    continue
                if isinstance(site["value"], Tensor) and not torch.isfinite(site["value"].float()).all():
                    return f"{role} site '{name}' drew a value that is not finite"
                if not torch.isfinite(torch.as_tensor(site["fn"].log_prob(site["value"]))).all():
                    return f"the log density of {role} site '{name}' is not finite"
    return "no single site: the sum of log densities is not finite"
