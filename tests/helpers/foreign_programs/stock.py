"""A foreign program trained by stock SVI, and what stock Pyro draws of it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import SVI, Predictive
from pyro.poutine.messenger import Messenger
from torch import Tensor

from tests.helpers.foreign_programs.foreign import Foreign

STEPS, RATE = 5, 0.01


class Stock:
    """A pair trained by `pyro.infer.SVI` alone.

    Args:
        foreign: the program.
    """

    def __init__(self, foreign: Foreign) -> None:
        self.foreign = foreign
        self.losses: list[float] = []
        with pyro.get_param_store().scope() as self.store:
            self.model, self.guide = foreign.pair()
            for fixed in foreign.rounds or ("",):
                self.losses += self._run(fixed)
            self.store = pyro.get_param_store().get_state()

    def _run(self, fixed: str) -> list[float]:
        args, kwargs = self.foreign.call()
        traces = {"guide": self.guide, "model": self.model}
        names: set[str] = set()
        pyro.set_rng_seed(0)
        if fixed:
            with torch.random.fork_rng():
                nodes = poutine.trace(traces[fixed]).get_trace(*args, **kwargs).nodes
            names = {name for name, node in nodes.items() if node["type"] == "param"}
        rates: Any = (lambda name: {"lr": 0.0 if name in names else RATE}) if names else {"lr": RATE}
        svi = SVI(self.model, self.guide, pyro.optim.Adam(rates), self.foreign.objective())
        return [float(svi.step(*args, **kwargs)) / self.foreign.size for _ in range(STEPS)]

    @contextmanager
    def trained(self) -> Iterator[None]:
        """The trained parameters in Pyro's store, without gradients, modules in evaluation mode."""
        store = pyro.get_param_store()
        with store.scope(self.store), torch.no_grad(), pyro.validation_enabled(False):
            yield

    @functools.cached_property
    def observed(self) -> list[str]:
        """The observed sites."""
        values = {name: site["value"] for name, site in self.latents(3, 1)[0].items()}
        nodes = self.model_trace(values).nodes.items()
        seen = [(n, s) for n, s in nodes if s["type"] == "sample" and s["is_observed"] and n not in values]
        return [n for n, s in seen if type(s["fn"]).__name__ != "Unit" and not s["infer"].get("_deterministic")]

    @functools.cached_property
    def data(self) -> dict[str, Tensor]:
        """What is observed, except for sites that observe a difference to something drawn."""
        draws = [{name: site["value"] for name, site in latent.items()} for latent in self.latents(3, 2)]
        one, other = (self.model_trace(values).nodes for values in draws)
        return {n: one[n]["value"] for n in self.observed if torch.equal(one[n]["value"], other[n]["value"])}

    def latents(self, seed: int, count: int) -> list[dict[str, Any]]:
        """The guide's latent sites, draw by draw."""
        args, kwargs = self.foreign.call()
        with self.trained():
            pyro.set_rng_seed(seed)
            traces = [poutine.trace(self.guide).get_trace(*args, **kwargs) for _ in range(count)]
        return [_latent(trace) for trace in traces]

    def model_trace(self, values: dict[str, Tensor], n: int | None = None, observed: bool = True) -> Any:
        """The model's trace at given latents, on the first n rows, observed or drawn."""
        args, kwargs = self.foreign.call(n)
        undone = [] if observed else self.observed
        with self.trained():
            model = poutine.condition(_Drawn(undone)(self.model), data=values)
            return poutine.trace(model).get_trace(*args, **kwargs)

    def predictive(self, seed: int, count: int) -> dict[str, Tensor]:
        """Draws of the latents by Pyro's own class."""
        args, kwargs = self.foreign.call()
        with self.trained():
            pyro.set_rng_seed(seed)
            draws = Predictive(self.model, guide=self.guide, num_samples=count)(*args, **kwargs)
        return dict(draws)


class _Drawn(Messenger):
    """Undoes the observation of some sites."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.names = names

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.names:
            msg["is_observed"], msg["value"], msg["done"] = False, None, False


def _latent(trace: Any) -> dict[str, Any]:
    nodes = trace.nodes.items()
    drawn = {n: s for n, s in nodes if s["type"] == "sample" and not s["is_observed"]}
    subsamples = {n for n, s in drawn.items() if type(s["fn"]).__name__ == "_Subsample"}
    return {n: s for n, s in drawn.items() if n not in subsamples and not s["infer"].get("is_auxiliary")}


def within(site: Any, plate: str | None) -> bool:
    return any(frame.name == plate for frame in site["cond_indep_stack"])
