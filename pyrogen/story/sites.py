"""Reading a trace: which sites are latent, which observed, and which plate holds the data."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import torch
from pyro.distributions import Delta
from pyro.distributions.util import broadcast_shape
from pyro.poutine.indep_messenger import CondIndepStackFrame
from torch import Tensor
from torch.distributions import Independent

Site = Any


def is_subsample(site: Site) -> bool:
    """Whether the site is the choice of rows that a Pyro plate makes, and no random variable of the program.

    Args:
        site: a site of a trace, or a message of an effect handler.

    Returns:
        Whether it is.
    """
    return type(site.get("fn")).__name__ == "_Subsample"


def unwrap_independent(distribution: Any) -> Any:
    """The distribution inside `Independent`, however often it is wrapped.

    Args:
        distribution: a distribution.

    Returns:
        The innermost distribution, whose event dimensions are its own.
    """
    while isinstance(distribution, Independent):
        distribution = distribution.base_dist
    return distribution


def _is_sample(site: Site) -> bool:
    return site["type"] == "sample" and not is_subsample(site)


def latent_sites(sites: Iterable[Site]) -> dict[str, Site]:
    """The sites that draw a random variable.

    Args:
        sites: of a trace, such as `trace.nodes.values()`.

    Returns:
        The sites by name.
    """
    return {s["name"]: s for s in sites if _is_sample(s) and not s["is_observed"]}


def is_point(sites: Iterable[Site]) -> bool:
    """Whether a guide holds one value of its latents, without spread.

    An AutoGuide's latents are Deltas too, each a function of what it draws beside them: that is no point.

    Args:
        sites: of the guide's trace.

    Returns:
        Whether each latent is a Delta, and there is one.
    """
    latents = latent_sites(sites).values()
    return bool(latents) and all(is_delta(site["fn"]) for site in latents)


def is_delta(distribution: Any) -> bool:
    """Whether a distribution is one value, wrapped or not.

    Args:
        distribution: of a site.

    Returns:
        Whether it is.
    """
    while hasattr(distribution, "base_dist"):
        distribution = distribution.base_dist
    return isinstance(distribution, Delta)


def observed_sites(sites: Iterable[Site]) -> dict[str, Site]:
    """The sites that observe data; `pyro.factor` and `pyro.deterministic` observe none.

    Args:
        sites: of a trace.

    Returns:
        The sites by name.
    """
    observed = [s for s in sites if _is_sample(s) and s["is_observed"] and not s["infer"].get("_deterministic")]
    return {s["name"]: s for s in observed if type(s["fn"]).__name__ != "Unit"}


def factor_sites(sites: Iterable[Site]) -> dict[str, Site]:
    """The terms that `pyro.factor` adds to the log density.

    Args:
        sites: of a trace.

    Returns:
        The sites by name.
    """
    return {s["name"]: s for s in sites if _is_sample(s) and type(s["fn"]).__name__ == "Unit"}


def full_value(site: Site) -> Tensor:
    """A site's value with the shape of its distribution, which may have more dimensions, such as enumerated ones.

    Args:
        site: of a trace.

    Returns:
        The value, expanded.

    Raises:
        ValueError: the two shapes do not agree.
    """
    value, fn = torch.as_tensor(site["value"]), site["fn"]
    return value.expand(broadcast_shape(value.shape, (*fn.batch_shape, *fn.event_shape)))


def enumerated(site: Site) -> bool:
    """Whether the site is marked to be summed over in parallel.

    Args:
        site: of a trace.

    Returns:
        Whether it is.
    """
    return site["infer"].get("enumerate") == "parallel"


def data_plate(sites: Iterable[Site], n: int, unobserved: Collection[str] = ()) -> CondIndepStackFrame | None:
    """The plate that holds the data.

    It is the one named `data`; else, among the plates around every observed site, outermost first, a subsampled one,
    else one of size `n`; else there is none. A model that observes by `pyro.factor` alone has these in place of sites.

    Args:
        sites: of a trace.
        n: rows of the batch.
        unobserved: names of sites that observe data, and are drawn in this trace; none by default.

    Returns:
        The plate's frame as the sites hold it, or None.
    """
    sites = list(sites)
    frames = [list(s["cond_indep_stack"]) for s in sites if s["type"] == "sample"]
    for frame in (f for stack in frames for f in stack):
        if frame.name == "data":
            return frame
    observed = {**observed_sites(sites), **{s["name"]: s for s in sites if s["name"] in unobserved}}
    stacks = [list(s["cond_indep_stack"]) for s in (observed or factor_sites(sites)).values()]
    if not stacks:
        return None
    names = set.intersection(*({f.name for f in stack} for stack in stacks))
    common = [f for f in stacks[0] if f.name in names and f.name != "num_particles_vectorized"]
    for frame in common:
        if frame.full_size not in (None, frame.size):
            return frame
    return next((f for f in common if f.size == n), None)


def inside(site: Site, plate: str | None) -> bool:
    """Whether a site lies in a plate.

    Args:
        site: of a trace.
        plate: the plate's name.

    Returns:
        Whether it does.
    """
    return any(frame.name == plate for frame in site["cond_indep_stack"])


def outside(sites: dict[str, Site], plate: str | None) -> list[str]:
    """The names of the sites that do not lie in a plate.

    Args:
        sites: by name.
        plate: the plate's name.

    Returns:
        The names.
    """
    return [name for name, site in sites.items() if not inside(site, plate)]
