"""New data from a story: the model run with its observed columns None."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from pyrogen.story.arguments import Batch
from pyrogen.story.sites import data_plate, latent_sites, outside

if TYPE_CHECKING:
    from pyrogen.story.story import Story

__all__ = ["Spec", "TrainingSpec", "draw"]


@dataclass(frozen=True)
class Spec:
    """Shape of one row of a column, and its type."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    def filled(self, n: int, value: int) -> Tensor:
        """A column of `n` rows of `value`."""
        return torch.full((n, *self.shape), value, dtype=self.dtype)


@dataclass(frozen=True)
class TrainingSpec:
    """What a story was trained on.

    Args:
        columns: the columns it asked for.
        n: rows in a training batch.
        total: rows in the training set, where known.
        plate: name of the data plate, if there is one.
        sites: names of the observed sites.
    """

    columns: Mapping[str | int, Spec]
    n: int
    total: int | None
    plate: str | None
    sites: tuple[str, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)

    def placeholder(self, n: int | None = None, value: int = 0, given: Mapping[str | int, Any] | None = None) -> Batch:
        """A batch of `n` rows of `value` in place of data, but for the columns that are given."""
        n = self.n if n is None else n
        columns: dict[str | int, Any] = {key: spec.filled(n, value) for key, spec in self.columns.items()}
        return Batch({**columns, **(given or {})}, n, self.total or n, torch.arange(n), self.extra)


def draw(story: Story, n: int, given: Mapping[str, Any]) -> Any:
    """`Story.sample` at home: see there."""
    if n < 1:
        raise ValueError(f"sample needs at least 1 row, got n={n}")
    seen, model = story.training_spec, story.signatures()[0]
    unknown = [key for key in given if not model.wants(key)]
    if unknown:
        raise ValueError(f"{story.name}.model has no column '{unknown[0]}' (it has: {', '.join(model.columns)})")
    columns: dict[str | int, Any] = {key: _spread(value, n, key) for key, value in given.items()}
    total = seen.total if seen is not None and seen.total is not None else n
    extra = seen.extra if seen is not None else {}
    # A parameter with a default that the training data had no column for keeps its default.
    absent: dict[str | int, Any] = {
        p.name: None for p in model.parameters if p.name in model.columns and p.default is p.empty
    }
    if seen is not None:
        absent.update({key: None for key in seen.columns if isinstance(key, str) and model.wants(key)})
    batch = Batch({**absent, **columns}, n, total, torch.arange(n), extra)
    batch = Batch({k: c for k, c in batch.columns.items() if k not in extra}, n, total, batch.index, extra)
    try:
        trace = _trace(story, batch, {})
    except Exception as error:
        if seen is None or not seen.sites:
            raise
        return _pick(story, _unconditioned(story, n, columns, error))
    plate = seen.plate if seen is not None else None
    if plate is None:
        frame = data_plate(trace.nodes.values(), n)
        plate = frame.name if frame is not None else _common_plate(trace, model.columns, n)
    latents = latent_sites(trace.nodes.values())
    fixed = [name for name in outside(latents, plate) if name not in _modelled(story, trace)]
    if fixed:
        trace = _trace(story, batch, _globals(story, fixed))
    return _pick(story, trace)


def _spread(value: Any, n: int, key: str) -> Tensor:
    tensor = torch.as_tensor(value)
    if tensor.dim() == 0:
        return tensor.expand(n)
    if tensor.shape[0] != n:
        raise ValueError(f"column '{key}' has {tensor.shape[0]} rows, expected n={n} (or one value for all)")
    return tensor


def _trace(story: Story, batch: Batch, fixed: Mapping[str, Tensor]) -> Any:
    args, kwargs = story.signatures()[0].bind(batch)
    return poutine.trace(poutine.condition(story.model, data=dict(fixed))).get_trace(*args, **kwargs)


def _common_plate(trace: Any, columns: list[str], n: int) -> str | None:
    """The outermost plate of size n around the sites that are named as columns (nothing is observed yet)."""
    stacks = [s["cond_indep_stack"] for name, s in trace.nodes.items() if name in columns and s["type"] == "sample"]
    return next((f.name for stack in stacks for f in stack if f.size == n), None)


def _modelled(story: Story, trace: Any) -> list[str]:
    if story.training_spec is not None and story.training_spec.sites:
        return [name for name in story.training_spec.sites if name in trace.nodes]
    columns = story.signatures()[0].columns
    return [name for name, s in trace.nodes.items() if name in columns and s["type"] == "sample"]


def _pick(story: Story, trace: Any) -> Any:
    names = _modelled(story, trace)
    if not names:
        columns = ", ".join(story.signatures()[0].columns)
        raise ValueError(
            f"{story.name} was not trained, and none of its sites is named as a column ({columns}), so it is not "
            "known which to return: fit it first, or name the observed site as its column"
        )
    values = {name: trace.nodes[name]["value"] for name in names}
    return values[names[0]] if len(names) == 1 else values


def _globals(story: Story, names: list[str]) -> dict[str, Tensor]:
    """One draw from the guide of the latents outside the data plate, which must not depend on the data given to it."""
    if story.training_spec is None:
        raise ValueError(
            f"{story.name} has latents outside the data plate ({', '.join(names)}), which the fit decides: fit it first"
        )
    draws: list[dict[str, Tensor]] = []
    for value in _with_one_seed((1, 0)):
        args, kwargs = story.signatures()[1].bind(story.training_spec.placeholder(value=value))
        with pyro.validation_enabled(False):
            trace: Any = poutine.trace(story.guide).get_trace(*args, **kwargs)
        draws.append({name: trace.nodes[name]["value"] for name in names if name in trace.nodes})
    for name in names:
        if name in draws[0] and not torch.equal(draws[0][name], draws[1][name]):
            raise ValueError(
                f"{story.name}'s guide draws '{name}', a latent outside the data plate, from the data: no new data "
                "can be drawn without them. Use posterior_predictive(story, data)"
            )
    return draws[1]


def _with_one_seed(values: Iterable[int]) -> Iterator[int]:
    """The values, torch's generators set alike before each; afterwards they are one draw on from where they were."""
    seed = int(torch.randint(2**31, ()))
    with torch.random.fork_rng():
        for value in values:
            torch.manual_seed(seed)
            yield value


def _unconditioned(story: Story, n: int, columns: dict[str | int, Any], why: Exception) -> Any:
    """The model without an x=None path, run on placeholders with its observations undone."""
    assert story.training_spec is not None
    traces: list[Any] = []
    first_line = (str(why).splitlines() or [""])[0] or type(why).__name__
    missing = [str(key) for key in story.training_spec.columns if key not in columns]
    missing = [key for key in missing if key not in story.training_spec.sites] or missing
    remedy = (
        f"{story.name}.model cannot draw from x=None ({first_line}), and its draws change with what is put in the "
        f"place of data: pass the columns that it conditions on, as in sample(n, {missing[-1] if missing else 'y'}=...)"
        f" (columns: {', '.join(missing)})"
    )
    for value in _with_one_seed((1, 0)):
        try:
            traces.append(_released(story, story.training_spec.placeholder(n, value, columns)))
        except (RuntimeError, ValueError) as error:
            raise ValueError(remedy) from error
    for name in story.training_spec.sites:
        first, second = (trace.nodes[name] for trace in traces)
        if first["value"].shape != second["value"].shape or not _alike(first, second):
            raise ValueError(remedy)
    return traces[1]


def _released(story: Story, batch: Batch) -> Any:
    """The model's trace on a batch with its observed sites drawn anew, latents outside the data plate by the guide."""
    assert story.training_spec is not None
    program = Unobserved(story.training_spec.sites)(story.model)
    args, kwargs = story.signatures()[0].bind(batch)
    with pyro.validation_enabled(False):
        trace: Any = poutine.trace(program).get_trace(*args, **kwargs)
        latents = latent_sites(trace.nodes.values())
        fixed = [name for name in outside(latents, story.training_spec.plate) if name not in story.training_spec.sites]
        if fixed:
            held = poutine.condition(program, data=_globals(story, fixed))
            trace = poutine.trace(held).get_trace(*args, **kwargs)
    return trace


def _alike(first: Any, second: Any) -> bool:
    """Whether two draws are the same, and from the same distribution: discrete ones may be the same by chance."""
    value = first["value"]
    if not torch.equal(value, second["value"]):
        return False
    return torch.equal(first["fn"].log_prob(value), second["fn"].log_prob(value))


class Unobserved(poutine.messenger.Messenger):
    """Draws the named observed sites anew; other observations stay."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.names and msg["is_observed"]:
            msg["is_observed"], msg["value"], msg["done"] = False, None, False
