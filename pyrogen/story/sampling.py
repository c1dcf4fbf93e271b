"""New data from a story: the model run with its observed columns None."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from keyword import iskeyword
from typing import Any, Protocol

import pyro
import torch
from pyro import poutine
from pyro.ops.provenance import get_provenance, track_provenance
from torch import Tensor

from pyrogen.story.arguments import Batch, Signature
from pyrogen.story.observations import Unobserved, name_of
from pyrogen.story.sampling_checks import as_column, checked_rows, within_memory
from pyrogen.story.sites import data_plate, latent_sites, outside
from pyrogen.story.training_spec import TrainingSpec


class _Story(Protocol):
    """What is needed of a story to draw from it."""

    training_spec: TrainingSpec | None

    @property
    def name(self) -> str: ...

    @property
    def model(self) -> Callable[..., Any]: ...

    @property
    def guide(self) -> Callable[..., Any]: ...

    def signatures(self) -> tuple[Signature, Signature]: ...


def draw(story: _Story, n: int, given: Mapping[str, Any]) -> Any:
    """Draw new data from a story that is in evaluation mode: the work of `Story.sample`.

    A number of rows that is none or does not fit in memory, a column that the model lacks, and a model that draws
    another number of rows are refused with a ValueError or TypeError.

    Args:
        story: the story, within its `predicting` context.
        n: number of data to draw, at least 1.
        given: columns to condition on by name, (n, ...) or a scalar for all.

    Returns:
        The observed site's draws (n, ...), or a dict of them by site where several are observed.
    """
    n = checked_rows(n)
    with within_memory(story.name, n):
        return _draw(story, n, given)


def _draw(story: _Story, n: int, given: Mapping[str, Any]) -> Any:
    spec, model = story.training_spec, story.signatures()[0]
    if spec is not None and not spec.sites and not model.columns:
        raise ValueError(f"{story.name}.model observes no data, and none can be drawn: use posterior(run, None)")
    unknown = [key for key in given if not model.accepts(key)]
    if unknown:
        raise ValueError(f"{story.name}.model has no column '{unknown[0]}' (it has: {', '.join(model.columns)})")
    columns: dict[str | int, Any] = {key: as_column(value, n, key) for key, value in given.items()}
    total = spec.total if spec is not None and spec.total is not None else n
    extra = spec.extra if spec is not None else {}
    # A parameter with a default that the training data had no column for keeps its default.
    asked = [p.name for p in model.parameters if p.name in model.columns and p.default is p.empty]
    if spec is not None:
        asked += [name_of(key, model) for key in spec.columns if model.accepts(key)]
    columns_or_none = {key: columns.get(key) for key in (*asked, *columns) if key not in extra}
    batch = Batch(columns_or_none, n, total, torch.arange(n), extra)
    plate = spec.plate if spec is not None else None
    try:
        trace = _trace_model(story, batch, {})
        if spec is not None and spec.sites:
            _check_rows(story, trace, plate, n)  # perhaps it has n rows where placeholders do
    except Exception as error:
        if spec is None or not spec.sites:
            raise
        return _observed_values(story, _trace_of_rows(story, spec, n, columns, error), plate, n)
    if plate is None:
        frame = data_plate(trace.nodes.values(), n)
        plate = frame.name if frame is not None else _common_plate(trace, model.columns, n)
    observed = _observed_names(story, trace)
    if given and observed and all(trace.nodes[name]["is_observed"] for name in observed):
        raise ValueError(
            f"{story.name}.sample draws '{observed[0]}', which was given ({', '.join(given)}): leave it out; "
            "reconstruct and impute take data"
        )
    global_latents = [name for name in outside(latent_sites(trace.nodes.values()), plate) if name not in observed]
    if global_latents:
        trace = _trace_model(story, batch, _draw_global_latents(story, global_latents))
    return _observed_values(story, trace, plate, n)


def _trace_model(story: _Story, batch: Batch, latents: Mapping[str, Tensor]) -> Any:
    args, kwargs = story.signatures()[0].bind(batch)
    return poutine.trace(poutine.condition(story.model, data=dict(latents))).get_trace(*args, **kwargs)


def _common_plate(trace: Any, columns: list[str], n: int) -> str | None:
    """The outermost plate of size n around the sites that are named as columns (nothing is observed yet)."""
    stacks = [s["cond_indep_stack"] for name, s in trace.nodes.items() if name in columns and s["type"] == "sample"]
    return next((f.name for stack in stacks for f in stack if f.size == n), None)


def _observed_names(story: _Story, trace: Any) -> list[str]:
    """The sites that training observed; of a story that was not trained, those that are named as columns."""
    if story.training_spec is not None and story.training_spec.sites:
        return [name for name in story.training_spec.sites if name in trace.nodes]
    columns = story.signatures()[0].columns
    return [name for name, s in trace.nodes.items() if name in columns and s["type"] == "sample"]


def _observed_values(story: _Story, trace: Any, plate: str | None, n: int) -> Any:
    names = _observed_names(story, trace)
    if not names:
        columns = ", ".join(story.signatures()[0].columns)
        raise ValueError(
            f"{story.name} was not trained, and none of its sites is named as a column ({columns}), so it is not "
            "known which to return: fit it first, or name the observed site as its column"
        )
    _check_rows(story, trace, plate, n)
    values = {name: _rows_first(trace.nodes[name], plate) for name in names}
    return values[names[0]] if len(names) == 1 else values


def _frame(site: Any, plate: str | None) -> Any:
    """The data plate's frame at a site where it is one of its dimensions, or None."""
    return next((f for f in site["cond_indep_stack"] if f.name == plate and f.dim is not None), None)


def _rows_first(site: Any, plate: str | None) -> Tensor:
    """The site's value with its rows in front, detached."""
    frame, value = _frame(site, plate), torch.as_tensor(site["value"]).detach()
    return value if frame is None else value.movedim(frame.dim - site["fn"].event_dim, 0)


def _check_rows(story: _Story, trace: Any, plate: str | None, n: int) -> None:
    """Refuse draws of another number of rows than n: a program may fix its own."""
    for name in _observed_names(story, trace):
        site = trace.nodes[name]
        frame = next((f for f in site["cond_indep_stack"] if f.name == plate), None)
        if frame is None or frame.dim is not None:
            value = _rows_first(site, plate)
            size = len(value) if value.dim() else 1
        else:
            size = frame.size  # of a sequential plate, each of whose members is a site
        if size != n:
            where = f"plate '{plate}'" if frame is not None else "no data plate"
            raise ValueError(
                f"{story.name}.model draws {size} rows of '{name}' ({where}), and sample(n={n}) asks for {n}: call "
                f'sample({size}), or let the model ask for n by name and write pyro.plate("{plate or "data"}", n)'
            )


def _draw_global_latents(story: _Story, names: list[str]) -> dict[str, Tensor]:
    """One draw from the guide of the latents outside the data plate, which must not depend on the guide's data."""
    if story.training_spec is None:
        raise ValueError(
            f"{story.name} has latents outside the data plate ({', '.join(names)}), whose posterior comes from "
            "training: fit it first"
        )
    draws: list[dict[str, Tensor]] = []
    for value in _at_one_seed((1, 0)):
        args, kwargs = story.signatures()[1].bind(story.training_spec.placeholder(value=value))
        with pyro.validation_enabled(False):
            trace: Any = poutine.trace(story.guide).get_trace(*args, **kwargs)
        draws.append({name: trace.nodes[name]["value"] for name in names if name in trace.nodes})
    for name in names:
        if name in draws[0] and not torch.equal(draws[0][name], draws[1][name]):
            raise ValueError(
                f"{story.name}'s guide draws '{name}', a latent outside the data plate, from the data, so that no new "
                "data can be drawn without them: use posterior_predictive(story, data)"
            )
    return draws[1]


def _at_one_seed(values: Iterable[int]) -> Iterator[int]:
    """The values, with torch's generators in one state before each; in the end they have advanced by one draw."""
    seed = int(torch.randint(2**31, ()))
    with torch.random.fork_rng():
        for value in values:
            torch.manual_seed(seed)
            yield value


def _trace_of_rows(story: _Story, spec: TrainingSpec, n: int, columns: dict[str | int, Any], error: Exception) -> Any:
    """The trace on n placeholders; where only as many rows as in training are possible, the refusal says so."""
    try:
        return _trace_on_placeholders(story, spec, n, columns, error)
    except ValueError as refusal:
        if columns or n == spec.n:
            raise
        try:
            trace = _trace_on_placeholders(story, spec, spec.n, {}, error)
            _check_rows(story, trace, spec.plate, spec.n)
        except ValueError:
            raise refusal from None
        _check_rows(story, trace, spec.plate, n)
        raise


def _trace_on_placeholders(
    story: _Story, spec: TrainingSpec, n: int, columns: dict[str | int, Any], error: Exception
) -> Any:
    """The trace of a model without an x=None path: run on placeholders with its observations undone."""
    traces: list[Any] = []
    first_line = (str(error).splitlines() or [""])[0] or type(error).__name__
    message = (
        f"{story.name}.model cannot draw from x=None ({first_line}), and its draws depend on the values of "
        f"placeholders for the data: {_conditions(story, spec, columns, n)}"
    )
    by_position = {name_of(key, story.signatures()[0]): key for key in spec.columns}
    columns = {by_position.get(str(key), key): column for key, column in columns.items()}
    for value in _at_one_seed((1, 0)):
        try:
            traces.append(_trace_unobserved(story, spec, spec.placeholder(n, value, columns)))
        except Exception as failure:
            raise ValueError(message) from failure
    names = [[name for name in spec.sites if name in trace.nodes] for trace in traces]
    if names[0] != names[1] or not names[0]:
        raise ValueError(message)
    for name in names[0]:
        first, second = (trace.nodes[name] for trace in traces)
        drawn = torch.as_tensor(first["value"])
        # Draws of discrete distributions may be equal by chance, so that log densities are compared as well.
        if not torch.equal(drawn, torch.as_tensor(second["value"])) or not torch.equal(
            first["fn"].log_prob(drawn), second["fn"].log_prob(drawn)
        ):
            raise ValueError(message)
    return traces[1]


def _conditions(story: _Story, spec: TrainingSpec, given: Mapping[str | int, Any], n: int) -> str:
    """What to type where draws depend on columns that were not given."""
    model = story.signatures()[0]
    observed = _observed_columns(story, spec)
    names = [name_of(key, model) for key in spec.columns if model.accepts(key) and key not in observed]
    missing = [name for name in names if name not in given]
    if missing and all(name.isidentifier() and not iskeyword(name) and name not in ("n", "self") for name in missing):
        drawn = _plate_rows(story, spec, n)
        rows = "n" if drawn == n else f"{drawn}"
        only = "" if drawn == n else f", with {drawn} rows each: plate '{spec.plate}' takes that many by subsample_size"
        columns = ", ".join(f"{m}=..." for m in missing)
        return f"pass the columns that it conditions on, as in sample({rows}, {columns}){only}"
    columns = ", ".join(repr(name_of(key, model)) for key in spec.columns)
    return f"use posterior_predictive(run, data), with data of the columns {columns}"


def _plate_rows(story: _Story, spec: TrainingSpec, n: int) -> int:
    """Rows that the model draws when it is asked for n: another number where its plate subsamples by itself."""
    for rows in (n, spec.n):  # a plate may take more rows by subsample_size than n
        with suppress(Exception):  # the refusal that is being written says why
            nodes: Any = _trace_unobserved(story, spec, spec.placeholder(rows, 1)).nodes
            break
    else:
        return n
    frames = [_frame(nodes[name], spec.plate) for name in spec.sites if name in nodes]
    return next((int(frame.size) for frame in frames if frame is not None), n)


def _observed_columns(story: _Story, spec: TrainingSpec) -> list[str | int]:
    """The columns that observed sites are computed from; at least those of their names."""
    found = {key for key in spec.columns if key in spec.sites}
    for value in (0, 1, 2):  # sites may depend on a column, such as the length of a sequence
        batch = spec.placeholder(value=value)
        columns = {key: track_provenance(column, frozenset({key})) for key, column in batch.columns.items()}
        try:
            args, kwargs = story.signatures()[0].bind(replace(batch, columns=columns))
            with pyro.validation_enabled(False):
                trace: Any = poutine.trace(story.model).get_trace(*args, **kwargs)
        except Exception:  # values that the model cannot take
            continue
        values = [trace.nodes[name]["value"] for name in spec.sites if name in trace.nodes]
        found |= {key for observed in values for key in get_provenance(observed)}
    return [key for key in spec.columns if key in found]


def _trace_unobserved(story: _Story, spec: TrainingSpec, batch: Batch) -> Any:
    """The model's trace on a batch with its observed sites drawn anew, latents outside the data plate by the guide."""
    program = Unobserved(spec.sites)(story.model)
    args, kwargs = story.signatures()[0].bind(batch)
    with pyro.validation_enabled(False):
        trace: Any = poutine.trace(program).get_trace(*args, **kwargs)
        latents = latent_sites(trace.nodes.values())
        names = [name for name in outside(latents, spec.plate) if name not in spec.sites]
        if names:
            conditioned = poutine.condition(program, data=_draw_global_latents(story, names))
            trace = poutine.trace(conditioned).get_trace(*args, **kwargs)
    return trace
