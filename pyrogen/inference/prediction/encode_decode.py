"""Latent codes of data and data from codes, for any story with latents of each datum."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from pyro import poutine
from pyro.distributions import Delta
from torch import Tensor, nn
from torch.distributions import Distribution, Transform

from pyrogen.inference.likelihood.memory_budget import split_rows
from pyrogen.inference.prediction.latent_points import FixedLatents, ModeLatents, mean_of, point_of
from pyrogen.inference.prediction.responses import left_out_sites, response_sites
from pyrogen.inference.program.evaluation_context import evaluation_context
from pyrogen.inference.program.program import Program
from pyrogen.inference.program.training_rows import check_rows
from pyrogen.messages import refuse_masked
from pyrogen.story import Batch, Signature, data_plate, inside, latent_sites


def encode(story: Any, data: Any) -> Any:
    """The distribution of each datum's latents, q(z | x), latent by latent, each given the points of those before it.

    A story without a guide is asked by its own method `encode`; a code without a spread is a `Delta`.

    Args:
        story: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them, N rows; those that the guide does not need may be left out.

    Returns:
        A distribution of batch shape (N,) and event shape (*latent shape), on the story's device, where one continuous
        latent belongs to each datum; a dict of them by site where several do.

    Raises:
        ValueError: no continuous latent belongs to each datum.

    Example:
        >>> from pyrogen.models import PPCA
        >>> encode(PPCA(5, latent=2), torch.randn(7, 5)).mean.shape
        torch.Size([7, 2])
    """
    with evaluation_context(story) as context:
        found = _distributions(context.program, context.batch(data, predictive=True))
    return one_or_all({name: _detached(fn) for name, fn in found.items()})


def codes(story: Any, data: Any) -> Any:
    """The code of each datum: the point of q(z | x), latent by latent, each given the points of those before it.

    The point of a distribution is its mean; of a flow, the image of its base's mean.

    Args:
        story: as `encode` takes it.
        data: columns as `fit` takes them, N rows.

    Returns:
        (N, *latent shape), on the CPU, where one continuous latent belongs to each datum; a dict of them by site where
        several do.

    Raises:
        ValueError: no continuous latent belongs to each datum.

    Example:
        >>> from pyrogen.models import PPCA
        >>> codes(PPCA(5, latent=2), torch.randn(7, 5)).shape
        torch.Size([7, 2])
    """
    return _by_pieces(story, data, _codes)


def decode(story: Any, codes: Any, **given: Any) -> Any:
    """The mean of p(x | z) at codes z; a draw where it has no closed form, as of autoregressive elements.

    Latents that are not given are at the point of their prior given those that are; latents shared by all data at the
    guide's.

    Args:
        story: as `encode` takes it.
        codes: (N, *latent shape), or a dict by site, as `codes` returns; distributions, as `encode` returns, stand for
            their points.
        given: columns that the model conditions on, one row for each code, or one for all.

    Returns:
        (N, *event shape) on the CPU; a dict by site where several are modelled.

    Raises:
        ValueError: the codes are of no latent of the model, or the model needs a column that is not given.
    """
    with evaluation_context(story) as context:
        own, program = context.story, context.program
        if "guide" in own.unsupported and hasattr(own, "decode"):
            return _point(own.decode(_point(codes).to(own.device), **given)).cpu()
        named = codes if isinstance(codes, Mapping) else {None: codes}
        named = {name: _point(code).to(own.device) for name, code in named.items()}
        n = len(next(iter(named.values())))

        def decoded(rows: Batch) -> dict[str, Tensor]:
            return _decoded(program, rows, {name: code[rows.index] for name, code in named.items()})

        parts = [decoded(rows) for rows in split_rows(own, decoded, _blank(program, n, given))]
    return _joined(parts)


def reconstruct(story: Any, data: Any) -> Any:
    """The reconstruction of each datum: the mean of p(x | z) at its code z.

    A story's own method `reconstruct` takes precedence.

    Args:
        story: as `encode` takes it.
        data: columns as `fit` takes them, N rows.

    Returns:
        (N, *event shape) on the CPU; a dict by site where several are observed.
    """
    return _by_pieces(story, data, _reconstructed)


def codes_of(guide: Any, plate: Any) -> dict[str, Any]:
    """The guide's sites that are codes: continuous, scored, one for each datum, and not auxiliary.

    Args:
        guide: a trace.
        plate: the data plate's frame, or None.

    Returns:
        By name.
    """
    name = plate.name if plate is not None else None
    scored = {key: s for key, s in latent_sites(guide.nodes.values()).items() if s["mask"] is not False}
    sites = {key: s for key, s in scored.items() if not s["infer"].get("is_auxiliary")}
    return {key: s for key, s in sites.items() if inside(s, name) and not s["fn"].support.is_discrete}


def rows_first(value: Tensor, site: Any, plate: Any) -> Tensor:
    """A value at a site with the data plate's dimension in front.

    Args:
        value: of the site's shape.
        site: of a trace.
        plate: the data plate's frame.

    Returns:
        The same values, (N, ...).
    """
    return value.movedim(plate.dim - site["fn"].event_dim, 0)


def _by_pieces(fitted: Any, data: Any, run: Callable[[Program, Batch], dict[str, Tensor]]) -> Any:
    """`run` on the rows of the data, some at a time."""
    with evaluation_context(fitted) as context:
        of_rows = functools.partial(run, context.program)
        parts = [of_rows(rows) for rows in split_rows(context.story, of_rows, context.batch(data, True))]
    return _joined(parts)


def _joined(parts: list[dict[str, Tensor]]) -> Any:
    if differing := [name for part in parts for name in part.keys() ^ parts[0].keys()]:
        raise ValueError(f"site '{differing[0]}' is there for some rows alone: pass fewer rows at once")
    return one_or_all({name: torch.cat([part[name] for part in parts]).detach() for name in parts[0]})


def one_or_all(found: dict[str, Any]) -> Any:
    """The value where there is only one, else the dict.

    Args:
        found: values by site.

    Returns:
        A value, or the dict.
    """
    return next(iter(found.values())) if len(found) == 1 else found


def _point(value: Any) -> Tensor:
    """The point of a distribution; anything else as a tensor."""
    return (point_of(value) if isinstance(value, Distribution) else torch.as_tensor(value)).detach()


def _distributions(program: Program, rows: Batch) -> dict[str, Distribution]:
    """The distributions of the codes of some rows, by site."""
    story, found = program.story, {name: site["fn"] for name, site in _code_sites(program, rows)[0].items()}
    if not found and hasattr(story, "encode"):
        own = _call(story.encode, f"{story.name}.encode", rows)
        found = {"z": Delta(own, event_dim=own.dim() - 1) if isinstance(own, Tensor) else own}
    if not found:
        raise ValueError(f"{story.name} has no codes: its guide draws no continuous latent of each datum")
    return found


def _codes(program: Program, rows: Batch) -> dict[str, Tensor]:
    sites, plate = _code_sites(program, rows)
    if sites:
        return {name: rows_first(site["value"], site, plate).cpu() for name, site in sites.items()}
    return {name: _point(fn).cpu() for name, fn in _distributions(program, rows).items()}


def _code_sites(program: Program, rows: Batch) -> tuple[dict[str, Any], Any]:
    """The guide's codes at their points, and the data plate; none of a story without a guide."""
    if "guide" in program.story.unsupported:
        return {}, None
    guide, model = _point_traces(program, rows)
    check_rows(program, guide, rows)
    plate = data_plate(model.nodes.values(), rows.n, left_out_sites(program, model, guide.nodes))
    return codes_of(guide, plate), plate


def _reconstructed(program: Program, rows: Batch) -> dict[str, Tensor]:
    story = program.story
    if hasattr(story, "reconstruct"):
        return {"x": _point(_call(story.reconstruct, f"{story.name}.reconstruct", rows)).cpu()}
    story.require("guide")
    guide, model = _point_traces(program, rows)
    sites = response_sites(model, left_out_sites(program, model, guide.nodes))
    return {name: mean_of(model.nodes[name]["fn"]).cpu() for name in sites}


def _point_traces(program: Program, rows: Batch) -> tuple[Any, Any]:
    """Traces of guide and model with every latent at the point of its distribution."""
    guide = poutine.trace(ModeLatents()(program.guide)).get_trace(rows)
    return guide, poutine.trace(ModeLatents()(poutine.replay(program.model, trace=guide))).get_trace(rows)


def _detached(value: Any) -> Any:
    """A distribution, and whatever it holds, without the graph that leads to parameters."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(map(_detached, value))
    if not isinstance(value, Distribution | Transform) or isinstance(value, nn.Module):
        return value
    detached = copy.copy(value)
    detached.__dict__.update({name: _detached(part) for name, part in vars(value).items()})
    return detached


def _call(method: Any, name: str, rows: Batch) -> Any:
    args, kwargs = Signature(method, name).bind(rows)
    return method(*args, **kwargs)


def _decoded(program: Program, rows: Batch, codes: Mapping[str | None, Tensor]) -> dict[str, Tensor]:
    """The means of the modelled columns at the codes; the key None stands for the only code."""
    story, model = program.story, ModeLatents()(program.model)
    plain: Any = poutine.trace(model).get_trace(rows)
    columns = story.training_spec.sites if story.training_spec is not None else program.signatures[0].columns
    modelled = [name for name in columns if name in plain.nodes]
    latents = {name: s for name, s in latent_sites(plain.nodes.values()).items() if name not in modelled}
    plate: Any = data_plate(plain.nodes.values(), rows.n)
    local = [name for name in latents if plate is not None and inside(latents[name], plate.name)]
    values = _shared_points(program, [name for name in latents if name not in local])
    for name, code in codes.items():
        if name not in latents and (name is not None or len(local) != 1):
            wrong = "several latents" if name is None else f"no latent '{name}'"
            raise ValueError(f"{story.name}.model has {wrong} (it has: {', '.join(latents)}): pass a dict by site")
        site = latents[name or local[0]]
        values[site["name"]] = code.movedim(0, plate.dim - site["fn"].event_dim)
    trace: Any = poutine.trace(FixedLatents(values)(model)).get_trace(rows)
    return {name: mean_of(trace.nodes[name]["fn"]).cpu() for name in modelled}


def _shared_points(program: Program, names: list[str]) -> dict[str, Tensor]:
    """The guide's points of latents that all data share."""
    if not names:
        return {}
    spec = program.story.training_spec
    if spec is None:
        raise ValueError(f"{program.story.name}'s latent '{names[0]}' is shared by all data: fit the story first")
    guide = ModeLatents()(program.guide)
    nodes: Any = poutine.trace(guide).get_trace(spec.placeholder().to(program.story.device)).nodes
    return {name: nodes[name]["value"] for name in names if name in nodes}


def _blank(program: Program, n: int, given: Mapping[str, Any]) -> Batch:
    """A batch of `n` rows of which only the given columns are known."""
    story, model = program.story, program.signatures[0]
    columns: dict[str | int, Any] = {p.name: None for p in model.parameters if p.name in model.columns}
    for name, value in given.items():
        if name not in columns:
            raise ValueError(f"{story.name}.model has no column '{name}' (it has: {', '.join(model.columns)})")
        refuse_masked(f"column '{name}'", value)
        tensor = torch.as_tensor(value)
        columns[name] = tensor.expand(n) if tensor.dim() == 0 else tensor
    spec = story.training_spec
    total = spec.total if spec is not None and spec.total is not None else n
    batch = Batch(columns, n, total, torch.arange(n), spec.extra if spec is not None else {})
    return batch.to(story.device)
