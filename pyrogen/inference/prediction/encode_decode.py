"""Codes of data, and data of codes: `encode`, `decode`, `reconstruct`, for any story with latents of each datum."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyrogen.inference.likelihood.memory_budget import pieces
from pyrogen.inference.program.evaluation_context import evaluation_context
from pyrogen.inference.program.program import Program
from pyrogen.story import (
    Batch,
    Signature,
    data_plate,
    inside,
    is_subsample,
    latent_sites,
    observed_sites,
    unwrap_independent,
)

__all__ = ["FixedLatents", "ModeLatents", "codes_of", "decode", "encode", "mean_of", "reconstruct", "rows_first"]


def encode(story: Any, data: Any) -> Any:
    """The code of each datum: the mean of q(z | x), latent by latent, each given the means of those before it.

    A flow gives the image of its base's mean. A story without a guide is asked by its own method `encode`.

    Args:
        story: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them.

    Returns:
        (N, *latent shape), on the CPU, where one continuous latent belongs to each datum; a dict of them by site where
        several do.

    Raises:
        ValueError: no continuous latent belongs to each datum.

    Example:
        >>> from pyrogen.models import PPCA
        >>> encode(PPCA(5, latent=2), torch.randn(7, 5)).shape
        torch.Size([7, 2])
    """
    with evaluation_context(story) as context:
        told = context.story
        program = context.program
        encoded = functools.partial(_encoded, program)
        found = [encoded(rows) for rows in pieces(told, encoded, context.batch(data))]
    return one_or_all({name: torch.cat([part[name] for part in found]) for name in found[0]})


def decode(story: Any, codes: Any, **given: Any) -> Any:
    """The mean of p(x | z) for codes z; where none can be written down, as of autoregressive elements, a draw.

    Latents that are not given are where p puts its mean given those that are; latents shared by all data where the
    guide does.

    Args:
        story: as `encode` takes it.
        codes: what `encode` gives: (N, *latent shape), or a dict by site.
        given: columns that the model conditions on, one for each code, or one for all.

    Returns:
        (N, *event shape) on the CPU; a dict by site where several are modelled.

    Raises:
        ValueError: codes of no latent of the model; or the model needs a column that is not given.
    """
    with evaluation_context(story) as context:
        told = context.story
        if "guide" in told.unsupported and hasattr(told, "decode"):
            return point(told.decode(torch.as_tensor(codes).to(told.device), **given)).cpu()
        named = codes if isinstance(codes, Mapping) else {None: codes}
        named = {name: torch.as_tensor(code).to(told.device) for name, code in named.items()}
        n, program = len(next(iter(named.values()))), Program(told)

        def decoded(rows: Batch) -> dict[str, Tensor]:
            return _decoded(program, rows, {name: code[rows.index] for name, code in named.items()})

        found = [decoded(rows) for rows in pieces(told, decoded, _blank(program, n, given))]
    return one_or_all({name: torch.cat([part[name] for part in found]) for name in found[0]})


def reconstruct(story: Any, data: Any) -> Any:
    """What the story makes of each datum: the mean of p(x | z) at its code z.

    A story's own method `reconstruct` is asked first, for its families know their means best.

    Args:
        story: as `encode` takes it.
        data: columns as `fit` takes them.

    Returns:
        (N, *event shape) on the CPU; a dict by site where several are observed.
    """
    with evaluation_context(story) as context:
        told = context.story
        program = context.program
        reconstructed = functools.partial(_reconstructed, program)
        found = [reconstructed(rows) for rows in pieces(told, reconstructed, context.batch(data))]
    return one_or_all({name: torch.cat([part[name] for part in found]) for name in found[0]})


class ModeLatents(Messenger):
    """Puts every latent where its distribution's point is, so that later ones are given it."""

    def _pyro_sample(self, msg: Any) -> None:
        if not (msg["is_observed"] or msg["done"]) and not is_subsample(msg):
            msg["value"], msg["done"] = point_of(msg["fn"]), True


class FixedLatents(Messenger):
    """Puts latents where the given values are, by site name."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.values and not msg["is_observed"]:
            msg["value"], msg["done"] = self.values[msg["name"]], True


def point_of(fn: Any) -> Tensor:
    """What stands for a latent's distribution: its mean; where it is discrete, its likeliest value."""
    if getattr(fn.support, "is_discrete", False) and not hasattr(fn, "point"):
        mode: Tensor = fn.mode
        return mode.nan_to_num()  # a fair coin has none
    return mean_of(fn)


def mean_of(fn: Any) -> Tensor:
    """The mean; of a flow, its base's image; of a categorical, the mean of its numbers, which stand for levels.

    A distribution that cannot write down its mean has a method `point`, which is asked.
    """
    if hasattr(fn, "point"):
        told: Tensor = fn.point()
        return told
    fn = unwrap_independent(fn)
    if isinstance(fn, torch.distributions.Categorical):
        return fn.probs @ torch.arange(fn.probs.shape[-1], dtype=fn.probs.dtype, device=fn.probs.device)
    try:
        value: Tensor = fn.mean
    except NotImplementedError:
        if not hasattr(fn, "base_dist"):
            raise
        value = mean_of(fn.base_dist)
        for transform in getattr(fn, "transforms", ()):
            value = transform(value)
    return value


def point(answer: Any) -> Tensor:
    """What stands for what a story's own method gave: a distribution's point, a tensor as it is."""
    return answer.detach() if isinstance(answer, Tensor) else point_of(answer).detach()


def one_or_all(found: dict[str, Tensor]) -> Any:
    """The one tensor, or the dict where there are several."""
    return next(iter(found.values())) if len(found) == 1 else found


def codes_of(guide: Any, plate: Any) -> dict[str, Any]:
    """The guide's sites that are codes: continuous, scored, one for each datum; auxiliaries are none."""
    name = plate.name if plate is not None else None
    scored = {key: s for key, s in latent_sites(guide.nodes.values()).items() if s["mask"] is not False}
    sites = {key: s for key, s in scored.items() if not s["infer"].get("is_auxiliary")}
    return {key: s for key, s in sites.items() if inside(s, name) and not s["fn"].support.is_discrete}


def rows_first(value: Tensor, site: Any, plate: Any) -> Tensor:
    """A value at a site with the data plate's dimension in front."""
    return value.movedim(plate.dim - site["fn"].event_dim, 0)


def _encoded(program: Program, rows: Batch) -> dict[str, Tensor]:
    """The codes of some rows, by site."""
    story, found = program.story, {}
    if "guide" not in story.unsupported:
        guide, model = _at_points(program, rows)
        plate = data_plate(model.nodes.values(), rows.n)
        found = {name: rows_first(s["value"], s, plate).cpu() for name, s in codes_of(guide, plate).items()}
    if not found and hasattr(story, "encode"):
        found = {"z": point(_asked(story.encode, f"{story.name}.encode", rows)).cpu()}
    if not found:
        raise ValueError(f"{story.name} has no codes: its guide draws no continuous latent of each datum")
    return found


def _reconstructed(program: Program, rows: Batch) -> dict[str, Tensor]:
    story = program.story
    if hasattr(story, "reconstruct"):
        return {"x": point(_asked(story.reconstruct, f"{story.name}.reconstruct", rows)).cpu()}
    story.require("guide")
    _, model = _at_points(program, rows)
    return {name: mean_of(site["fn"]).cpu() for name, site in observed_sites(model.nodes.values()).items()}


def _at_points(program: Program, rows: Batch) -> tuple[Any, Any]:
    """Traces of guide and model, every latent where its distribution's point is."""
    guide = poutine.trace(ModeLatents()(program.guide)).get_trace(rows)
    return guide, poutine.trace(poutine.replay(ModeLatents()(program.model), trace=guide)).get_trace(rows)


def _asked(method: Any, who: str, rows: Batch) -> Any:
    args, kwargs = Signature(method, who).bind(rows)
    return method(*args, **kwargs)


def _decoded(program: Program, rows: Batch, codes: Mapping[str | None, Tensor]) -> dict[str, Tensor]:
    """The means of the modelled columns at the codes; None names the one code."""
    story, model = program.story, ModeLatents()(program.model)
    plain: Any = poutine.trace(model).get_trace(rows)
    columns = story.training_spec.sites if story.training_spec is not None else program.signatures[0].columns
    modelled = [name for name in columns if name in plain.nodes]
    latents = {name: s for name, s in latent_sites(plain.nodes.values()).items() if name not in modelled}
    plate: Any = data_plate(plain.nodes.values(), rows.n)
    local = [name for name in latents if plate is not None and inside(latents[name], plate.name)]
    held = _shared(program, [name for name in latents if name not in local])
    for name, code in codes.items():
        if name not in latents and (name is not None or len(local) != 1):
            wrong = "several latents" if name is None else f"no latent '{name}'"
            raise ValueError(f"{story.name}.model has {wrong} (it has: {', '.join(latents)}): pass a dict by site")
        site = latents[name or local[0]]
        held[site["name"]] = code.movedim(0, plate.dim - site["fn"].event_dim)
    trace: Any = poutine.trace(FixedLatents(held)(model)).get_trace(rows)
    return {name: mean_of(trace.nodes[name]["fn"]).cpu() for name in modelled}


def _shared(program: Program, names: list[str]) -> dict[str, Tensor]:
    """Latents that all data share, where the guide's points are."""
    if not names:
        return {}
    seen = program.story.training_spec
    if seen is None:
        raise ValueError(f"{program.story.name}'s latent '{names[0]}' is shared by all data, which the fit decides")
    guide = ModeLatents()(program.guide)
    nodes: Any = poutine.trace(guide).get_trace(seen.placeholder().to(program.story.device)).nodes
    return {name: nodes[name]["value"] for name in names if name in nodes}


def _blank(program: Program, n: int, given: Mapping[str, Any]) -> Batch:
    """A batch of `n` rows of which only the given columns are known."""
    story, model = program.story, program.signatures[0]
    columns: dict[str | int, Any] = {p.name: None for p in model.parameters if p.name in model.columns}
    for name, value in given.items():
        if name not in columns:
            raise ValueError(f"{story.name}.model has no column '{name}' (it has: {', '.join(model.columns)})")
        tensor = torch.as_tensor(value)
        columns[name] = tensor.expand(n) if tensor.dim() == 0 else tensor
    seen = story.training_spec
    total = seen.total if seen is not None and seen.total is not None else n
    batch = Batch(columns, n, total, torch.arange(n), seen.extra if seen is not None else {})
    return batch.to(story.device)
