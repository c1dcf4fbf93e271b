"""Reading a trace: which sites are latent, which observed, and which plate holds the data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pyro.distributions import Delta
from pyro.poutine.indep_messenger import CondIndepStackFrame

__all__ = ["data_plate", "enumerated", "inside", "is_point", "latent_sites", "observed_sites", "outside"]

Site = Any


def _is_sample(site: Site) -> bool:
    return site["type"] == "sample" and type(site["fn"]).__name__ != "_Subsample"


def latent_sites(sites: Iterable[Site]) -> dict[str, Site]:
    """The sites that draw a random variable, by name."""
    return {s["name"]: s for s in sites if _is_sample(s) and not s["is_observed"]}


def is_point(sites: Iterable[Site]) -> bool:
    """Whether a guide of these sites holds one value of its latents, and no spread.

    An AutoGuide's latents are points too, each a function of what it draws beside them: that is not.
    """
    latents = latent_sites(sites).values()
    return bool(latents) and all(_is_delta(site["fn"]) for site in latents)


def _is_delta(density: Any) -> bool:
    while hasattr(density, "base_dist"):
        density = density.base_dist
    return isinstance(density, Delta)


def observed_sites(sites: Iterable[Site]) -> dict[str, Site]:
    """The sites that observe data, by name; `pyro.factor` and `pyro.deterministic` observe none."""
    return {
        s["name"]: s
        for s in sites
        if _is_sample(s)
        and s["is_observed"]
        and not s["infer"].get("_deterministic")
        and type(s["fn"]).__name__ != "Unit"
    }


def enumerated(site: Site) -> bool:
    """Whether the site is marked to be summed over in parallel."""
    return site["infer"].get("enumerate") == "parallel"


def data_plate(sites: Iterable[Site], n: int) -> CondIndepStackFrame | None:
    """The plate that holds the data, as the sites saw it.

    It is the one named `data`; else, among the plates around every observed site, outermost first, a subsampled one,
    else one of size `n`; else there is none.
    """
    sites = list(sites)
    frames = [list(s["cond_indep_stack"]) for s in sites if s["type"] == "sample"]
    for frame in (f for stack in frames for f in stack):
        if frame.name == "data":
            return frame
    stacks = [list(s["cond_indep_stack"]) for s in observed_sites(sites).values()]
    if not stacks:
        return None
    names = set.intersection(*({f.name for f in stack} for stack in stacks))
    common = [f for f in stacks[0] if f.name in names and f.name != "num_particles_vectorized"]
    for frame in common:
        if frame.full_size not in (None, frame.size):
            return frame
    return next((f for f in common if f.size == n), None)


def inside(site: Site, plate: str | None) -> bool:
    """Whether the site sits in the plate of that name."""
    return any(frame.name == plate for frame in site["cond_indep_stack"])


def outside(sites: dict[str, Site], plate: str | None) -> list[str]:
    """The names of the sites that do not sit in the plate of that name."""
    return [name for name, site in sites.items() if not inside(site, plate)]
