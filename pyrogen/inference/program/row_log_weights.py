"""The log weight of every datum, log p(x, z) - log q(z | x), from any model and guide."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Any

import torch
from pyro import poutine
from pyro.infer.traceenum_elbo import _compute_model_factors
from pyro.ops import packed
from pyro.ops.contract import contract_to_tensor
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyrogen.inference.program.isolation import isolated_run
from pyrogen.inference.program.program import Program
from pyrogen.story import (
    Batch,
    data_plate,
    enumerated,
    factor_sites,
    inside,
    is_point,
    is_subsample,
    latent_sites,
    observed_sites,
    outside,
)

Runner = Callable[[Batch], Any]


class NoWeights(ValueError):
    """The program has no weight for each datum."""


class _Unscaled(Messenger):
    """Removes the scales that plates and handlers put on sites: weights are of the plain joint density."""

    def _pyro_sample(self, msg: Any) -> None:
        msg["scale"] = 1.0


class WeightedTraces:
    """One run of guide and model with the log weight of every row.

    Args:
        model: function of a batch.
        guide: function of a batch.
        batch: the rows, n of them.
        given: names of latents outside the data plate that are taken as given, with all else that is there; None, the
            default, where nothing may be there.

    Raises:
        NoWeights: a site sits outside the data plate, the guide does not sample a latent, the model observes nothing,
            or the program chooses its own rows, or some members of another plate.
    """

    def __init__(self, model: Runner, guide: Runner, batch: Batch, given: Collection[str] | None = None) -> None:
        self.given = given
        with _Unscaled():
            self.guide = poutine.trace(guide).get_trace(batch)
            self.model = poutine.trace(poutine.replay(model, trace=self.guide)).get_trace(batch)
            self.plate: Any = data_plate(self.model.nodes.values(), batch.n)
            self._check(batch)
            if self._summed_out():
                self._enumerate(model, guide, batch)
        self.model.compute_log_prob()
        self.guide.compute_log_prob()

    def _summed_out(self) -> list[str]:
        latents = latent_sites(self.model.nodes.values())
        return [name for name, site in latents.items() if name not in self.guide.nodes and enumerated(site)]

    def _check(self, batch: Batch) -> None:
        latents = latent_sites(self.model.nodes.values())
        name = self.plate.name if self.plate is not None else None
        sites = {**latents, **latent_sites(self.guide.nodes.values())}
        shared = [site for site in outside(sites, name) if site not in (self.given or ())]
        if shared:
            raise NoWeights(
                f"site '{shared[0]}' sits outside the data plate: its weight belongs to all data together, and no "
                "datum has a log weight of its own. Use the held-out ELBO, or condition on a draw of that site"
            )
        if self.plate is None or self.plate.dim is None:
            raise NoWeights(
                "no vectorized plate holds the data, so no log weight belongs to one datum: put the observed sites "
                'inside `with pyro.plate("data", n):`'
            )
        self._check_terms(self.plate.name)
        sampled = self._sampled_plate()
        if sampled is not None:
            raise NoWeights(
                f"plate '{sampled.name}' draws {sampled.size} of its {sampled.full_size} members anew in each run, so "
                "that no datum has a log weight, only an estimate of it. Use the held-out ELBO"
            )
        missing = [n for n, site in latents.items() if n not in self.guide.nodes and not enumerated(site)]
        if missing:
            raise NoWeights(
                f"the guide does not sample the model's latent '{missing[0]}': it has no log weight (one that holds "
                "data needs its column)"
            )
        if not takes_given_rows(self.model.nodes.get(str(name)), self.plate, batch):
            raise NoWeights(
                f"plate '{name}' chooses its own rows, unrelated to those given: write "
                f'`pyro.plate("{name}", total, subsample=index)`'
            )

    def _check_terms(self, name: str) -> None:
        """Refuse a model that observes nothing, and terms that no row has a share of."""
        nodes = self.model.nodes.values()
        terms = {**observed_sites(nodes), **factor_sites(nodes)}
        if not terms:
            raise NoWeights("the model observes no data here: pass all columns of the training data")
        terms |= factor_sites(self.guide.nodes.values())
        together = outside(terms, name) if self.given is None else []
        if together:
            raise NoWeights(
                f"site '{together[0]}' sits outside the data plate: its term belongs to all data together, and no "
                "datum has a log weight of its own. Use the held-out ELBO, or put it inside the plate, by row"
            )

    def _sampled_plate(self) -> Any:
        """A plate besides the data's of which a run sees some members alone, if there is one."""
        nodes = (*self.model.nodes.values(), *self.guide.nodes.values())
        frames = [frame for site in nodes if site["type"] == "sample" for frame in site["cond_indep_stack"]]
        part = (f for f in frames if f.name != self.plate.name and f.full_size not in (None, f.size))
        return next(part, None)

    def _enumerate(self, model: Runner, guide: Runner, batch: Batch) -> None:
        sites = [*self.model.nodes.values(), *self.guide.nodes.values()]
        dims = [f.dim for s in sites if s["type"] == "sample" for f in s["cond_indep_stack"] if f.dim is not None]
        first = min(dims, default=0) - 1
        enumerating = poutine.replay(poutine.enum(model, first_available_dim=first), trace=self.guide)
        self.model = poutine.trace(enumerating).get_trace(batch)

    @property
    def scale(self) -> float:
        """Full size of the data plate over the rows in this run; 1/1 for a plate that is not subsampled."""
        return float(self.plate.full_size or self.plate.size) / self.plate.size

    def log_weights(self) -> Tensor:
        """log p(x, z) - log q(z | x) of every row.

        Returns:
            (n,), in nats.
        """
        return self.log_p() - self._by_row(self.guide)

    def log_p(self) -> Tensor:
        """log p(x, z) of every row, enumerated latents summed out.

        Returns:
            (n,), in nats.
        """
        return self._by_row(self.model) if not self._summed_out() else self._log_p_summed()

    def _by_row(self, trace: Any) -> Tensor:
        total = torch.zeros(self.plate.size)
        for site in trace.nodes.values():
            if self._has_rows(site):
                total = total + _rows_of(site["log_prob"], self.plate)
        return total

    def _has_rows(self, site: Any) -> bool:
        return site["type"] == "sample" and not is_subsample(site) and inside(site, self.plate.name)

    def _log_p_summed(self) -> Tensor:
        for trace in (self.model, self.guide):
            for name in [n for n, s in trace.nodes.items() if s["type"] == "sample" and not self._has_rows(s)]:
                trace.remove_node(name)
        self.guide.pack_tensors()
        self.model.pack_tensors(self.guide.plate_to_symbol)
        costs, factors, _, sum_dims, _ = _compute_model_factors(self.model, self.guide)
        tree: OrderedDict[Any, list[Any]] = OrderedDict((ordinal, list(terms)) for ordinal, terms in costs.items())
        for ordinal, terms in factors.items():
            tree.setdefault(ordinal, []).extend(terms)
        symbol = self.model.plate_to_symbol[self.plate.name]
        result = contract_to_tensor(tree, sum_dims, target_ordinal=frozenset({symbol}))
        return _rows_of(packed.unpack(result, self.model.symbol_to_dim), self.plate)


def takes_given_rows(rows: Any, plate: Any, batch: Batch) -> bool:
    """Whether a subsampled data plate holds the rows of the batch.

    Args:
        rows: the plate's subsampling site, or None.
        plate: the data plate's frame.
        batch: the rows.

    Returns:
        True where the plate is not subsampled, too.
    """
    if plate.size == plate.full_size or rows is None:
        return True
    if batch.index is None or rows["value"] is batch.index:
        return batch.index is not None
    return torch.equal(rows["value"].to(batch.index.device), batch.index)


def _rows_of(log_prob: Any, plate: Any) -> Tensor:
    """The log density of a site inside the data plate, summed over all other dimensions, (n,)."""
    log_prob = torch.as_tensor(log_prob)
    if log_prob.dim() < -plate.dim:  # a term that is the same for all rows
        return log_prob.sum().expand(plate.size)
    rows = log_prob.movedim(plate.dim, -1)
    rows = rows.reshape(-1, rows.shape[-1]).sum(0)
    return rows.expand(plate.size)


def row_log_weights(model: Runner, guide: Runner, batch: Batch, samples: int) -> tuple[Tensor, float]:
    """Log weights of several draws for every row.

    All draws are made in one run on repeated rows; a program that fixes its own number of rows is run once for each
    draw.

    Args:
        model: function of a batch.
        guide: function of a batch.
        batch: the rows, n of them.
        samples: number of draws for each row.

    Returns:
        (samples, n) log weights in nats, and the data plate's scale.
    """
    # Repeated rows as many as the training set would hide from the plate that they are a subsample.
    hidden = samples > 1 and batch.n < (batch.total or 0) == batch.n * samples
    if samples > 1 and not hidden:
        try:
            traces = WeightedTraces(model, guide, batch.repeated(samples))
            if traces.plate.size == batch.n * samples:
                scale = traces.scale if traces.scale == 1.0 else traces.scale * samples
                return traces.log_weights().reshape(samples, batch.n), scale
        except (RuntimeError, ValueError, IndexError):
            pass  # A program that is wrong, not one that fixes its rows, fails below as well, with its own message.
    runs = [WeightedTraces(model, guide, batch) for _ in range(samples)]
    return torch.stack([run.log_weights() for run in runs]), runs[0].scale


def kind_of_estimate(program: Program, batch: Batch) -> str:
    """What an average of weights is an estimate of.

    Args:
        program: the story's.
        batch: the rows.

    Returns:
        "exact" where there are no latents; "elbo", a bound, where the guide is a point; else "importance-weighted".
    """
    for rows in (batch.rows(0, 2), batch):  # a program may take none but all of its rows
        try:
            with isolated_run(program.story):
                guide = WeightedTraces(program.model, program.guide, rows).guide
        except Exception:  # reported where weights are computed
            continue
        if not latent_sites(guide.nodes.values()):
            return "exact"
        return "elbo" if is_point(guide.nodes.values()) else "importance-weighted"
    return "importance-weighted"
