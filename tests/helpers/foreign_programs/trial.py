"""The cells of the table: what each operation of pyrogen answers on a foreign program, held against stock Pyro."""

from __future__ import annotations

import functools
import re
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import torch
from pyro.distributions.util import scale_and_mask
from safetensors import safe_open
from torch import Tensor

from pyrogen import fit, load
from pyrogen.diagnostics import to_datatree
from pyrogen.inference import Fit, adam, posterior
from pyrogen.inference.persistence.checkpoint import load_tree
from tests.helpers.checkpoints import assert_same_checkpoint
from tests.helpers.foreign_programs.comparison import Wrong, near, require, same_numbers, same_tensor
from tests.helpers.foreign_programs.foreign import Foreign
from tests.helpers.foreign_programs.stock import RATE, STEPS, Stock, within

DRAWS, CALLS = 20, 60


class Trial:
    """The cells of one row of the table.

    Args:
        foreign: the program.
    """

    def __init__(self, foreign: Foreign) -> None:
        self.foreign = foreign

    @functools.cached_property
    def stock(self) -> Stock:
        """The program trained by stock SVI."""
        return Stock(self.foreign)

    @functools.cached_property
    def run(self) -> Fit:
        """The program trained by `fit`."""
        return self._fit()[0]

    def cell(self, operation: str) -> str:
        """What an operation of `OPERATIONS` answers: "right", "refused: ..." or "WRONG: ..."."""
        reason = self.foreign.refuses.get(operation)
        with warnings.catch_warnings(), pyro.settings.context(**self.foreign.settings):
            warnings.simplefilter("ignore")
            try:
                OPERATIONS[operation](self)
            except Wrong as wrong:
                return f"WRONG: {wrong}"
            except (ValueError, TypeError) as refusal:
                told = str(refusal)
                if reason is None or "\n" in told or re.search(reason, told) is None:
                    return f"WRONG: {type(refusal).__name__}: {told}"
                return f"refused: {told}"
            except Exception as error:
                return f"WRONG: {type(error).__name__}: {error}"
        return "right" if reason is None else f"WRONG: not refused, expected {reason}"

    def _fit(self, out: Path | None = None, steps: int = STEPS, **options: Any) -> tuple[Fit, list[float]]:
        """The run, and its losses per datum."""
        given = {"compile": False, "out": out, "progress": False, "batch_size": None, **options}
        program: Any = self.foreign.pair()
        losses: list[float] = []
        for fixed in self.foreign.rounds or ("",):
            run = fit(
                program,
                self.foreign.data,
                steps=steps,
                arguments=dict(self.foreign.arguments),
                objective=self.foreign.objective(),
                optimizer=adam(RATE),
                freeze=(fixed,) if fixed else (),
                **given,
            )
            losses += [-record["train_elbo"] for record in run.history]
            program = run.story
        return run, losses

    def fit(self) -> None:
        """Losses are stock SVI's."""
        self.run, losses = self._fit()
        same_numbers("losses", losses, self.stock.losses)

    def compile(self) -> None:
        """Losses are those of eager steps, that is, of stock SVI."""
        run, losses = self._fit(compile=True)
        require(run.mode == "compiled", f"mode is {run.mode} ({run.mode_reason})")
        same_numbers("losses", losses, self.stock.losses)

    def posterior(self) -> None:
        """Draws are those of the stock guide at the same seed, and means are near those of stock Predictive."""
        draws = posterior(self.run, self.foreign.data, DRAWS, seed=3)
        latents = self.stock.latents(3, DRAWS)
        for i, latent in enumerate(latents):
            require(draws.keys() == latent.keys(), f"sites {sorted(draws)}, expected {sorted(latent)}")
            for name, site in latent.items():
                same_tensor(f"draw {i} of {name}", draws[name][i], site["value"])
        require(not any(value.requires_grad for value in draws.values()), "draws require gradients")
        predictive = self.stock.predictive(4, DRAWS)
        for name in draws.keys() & predictive.keys():
            near(f"mean of {name}", draws[name].double(), predictive[name].reshape(draws[name].shape).double())

    def sample(self) -> None:
        """As many rows as asked for, with the moments of the stock model under draws of the stock guide."""
        n, rows = 4, self.foreign.call(4)[1]
        given = {name: rows[name] for name in self.foreign.given}
        pyro.set_rng_seed(5)
        mine = [_by_site(self.run.story.sample(n, **given), self.stock) for _ in range(CALLS)]
        theirs = []
        for latent in self.stock.latents(6, CALLS):
            shared = {k: s["value"] for k, s in latent.items() if not within(s, self.foreign.plate)}
            trace = self.stock.model_trace(shared, n, observed=False)
            theirs.append({name: trace.nodes[name] for name in self.stock.observed})
        for name, site in theirs[0].items():
            require(mine[0][name].shape == site["value"].shape, f"{name} has shape {tuple(mine[0][name].shape)}")
            first, second = (
                torch.stack([d[name] for d in mine]).double(),
                torch.stack([d[name]["value"] for d in theirs]).double(),
            )
            for power in (1, 2):
                near(f"moment {power} of {name}", (first**power).flatten(1).mean(1), (second**power).flatten(1).mean(1))

    def to_datatree(self) -> None:
        """Groups, dimensions, and the log-likelihood of each row at each draw."""
        tree = to_datatree(self.run, self.foreign.data, num_samples=4, seed=3)
        latents = self.stock.latents(3, 1)[0]
        model = self.stock.model_trace({name: site["value"] for name, site in latents.items()})
        plate, observed, data = self.foreign.plate, self.stock.observed, self.stock.data
        shared = any(not within(site, plate) for site in latents.values())
        expected = {"posterior", "prior"} if latents else set()
        expected |= {"posterior_predictive", "prior_predictive"} if observed else set()
        expected |= {"observed_data"} if data else set()
        expected |= {"log_likelihood"} if observed and plate else set()
        expected |= {"log_prior"} if latents else set()
        expected |= {"sample_stats"} if shared else {"importance", "importance_summary"}
        found = set(tree.children) - {"constant_data"}
        held = sorted(tree["observed_data"].data_vars) if data else []
        require(held == sorted(data), f"observed_data of {held}, expected {sorted(data)}")
        require(found == expected, f"groups: {sorted(found)}, expected {sorted(expected)}")
        for name, site in latents.items():
            if name in model.nodes:
                dims = ("chain", "draw", *_plates(site), *(f"{name}_dim_{i}" for i in range(site["fn"].event_dim)))
                require(tree["posterior"][name].dims == dims, f"{name} has dims {tree['posterior'][name].dims}")
        for name in observed:
            if name in data:
                same_tensor(f"observed {name}", _values(tree["observed_data"], name), data[name])
            require(tree["posterior_predictive"][name].shape[:2] == (1, 4), f"draws of {name}")
        for draw in range(4):
            values = {
                name: _values(tree["posterior"], name)[0, draw].reshape(site["value"].shape)
                for name, site in latents.items()
                if name in model.nodes
            }
            stock = self.stock.model_trace(values)
            stock.compute_log_prob()
            for name in values:  # masks count, scales do not
                site = stock.nodes[name]
                log_prior = scale_and_mask(site["unscaled_log_prob"], mask=site["mask"]).sum()
                same_tensor(f"log_prior of {name}", _values(tree["log_prior"], name)[0, draw].sum(), log_prior)
            if not (plate and observed):
                continue
            likelihood = self._log_likelihood(values)
            names = sorted(tree["log_likelihood"].data_vars)
            require(sorted(likelihood) == names, f"log_likelihood of {names}, expected {sorted(likelihood)}")
            for name, value in likelihood.items():
                same_tensor(f"log_likelihood of {name}", _values(tree["log_likelihood"], name)[0, draw], value)

    def _log_likelihood(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of each row at given latents, from the distributions of a stock trace, or by the program's own formula."""
        if self.foreign.likelihood is not None:
            columns, names = self.foreign.call()[1], self.stock.observed
            given = self.foreign.likelihood(values, columns)
            require(set(names) <= set(given), f"observed sites {names}")
            return given
        nodes, rows = self.stock.model_trace(values).nodes, {}
        for name in self.stock.observed:
            site = nodes[name]
            log_prob = site["fn"].log_prob(site["value"])
            log_prob = log_prob if site["mask"] is None else torch.where(site["mask"], log_prob, torch.zeros(()))
            dim = next(frame.dim for frame in site["cond_indep_stack"] if frame.name == self.foreign.plate)
            rows[name] = log_prob.movedim(dim, 0).flatten(1).sum(1) if log_prob.dim() > 1 else log_prob
        return rows

    def save(self) -> None:
        """A folder with every parameter as stock SVI left it, and no pickle."""
        with tempfile.TemporaryDirectory() as folder:
            self.run.save(Path(folder, "run"))
            files = {path.name for path in Path(folder, "run").iterdir()}
            require(files == {"config.json", "weights.safetensors", "history.jsonl"}, f"files {sorted(files)}")
            with safe_open(Path(folder, "run", "weights.safetensors"), "pt") as stored:
                weights = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        params = self.stock.store["params"]
        for name in {id(value): name for name, value in params.items()}.values():  # a tied one by its later name
            require(name in weights, f"'{name}' was not saved")
            same_tensor(f"'{name}'", weights[name], params[name].detach())

    def load(self) -> None:
        """A fresh pair draws what the trained one draws."""
        with tempfile.TemporaryDirectory() as folder:
            self.run.save(Path(folder, "run"))
            fresh = load(Path(folder, "run"), into=self.foreign.pair(), arguments=dict(self.foreign.arguments))
        for seed in range(9, 12):
            one, other = (posterior(run, self.foreign.data, 1, seed=seed) for run in (self.run, fresh))
            require(one.keys() == other.keys(), f"sites {sorted(other)}, expected {sorted(one)}")
            for name, value in one.items():
                require(torch.equal(value, other[name]), f"draws of {name} differ")
        require(fresh.history == self.run.history, "histories differ")

    def resume(self) -> None:
        """A run cut after two steps goes on to the bit as one that was not."""
        with tempfile.TemporaryDirectory() as folder:
            whole, cut = Path(folder, "whole"), Path(folder, "cut")
            options = {"freeze": self.foreign.rounds[:1]} if self.foreign.rounds else {}
            for out, steps, resume in ((whole, STEPS, False), (cut, 2, False), (cut, STEPS, True)):
                self._resumable(out, steps, resume, options)
            one, other = (load_tree(out / "resume.safetensors")[0] for out in (whole, cut))
        try:
            assert_same_checkpoint(one, other)
        except AssertionError as error:
            raise Wrong(f"checkpoints differ at {error}") from None

    def _resumable(self, out: Path, steps: int, resume: bool, options: dict[str, Any]) -> None:
        fit(
            self.foreign.pair(),
            self.foreign.data,
            steps=steps,
            arguments=dict(self.foreign.arguments),
            objective=self.foreign.objective(),
            optimizer=adam(RATE),
            compile=False,
            out=out,
            resume=resume,
            progress=False,
            **options,
        )


OPERATIONS: dict[str, Callable[[Trial], None]] = {
    "fit": Trial.fit,
    "sample": Trial.sample,
    "posterior": Trial.posterior,
    "to_datatree": Trial.to_datatree,
    "save": Trial.save,
    "load": Trial.load,
    "resume": Trial.resume,
    "compile": Trial.compile,
}
"""The columns of the table."""


def _plates(site: Any) -> list[str]:
    frames = [frame for frame in site["cond_indep_stack"] if frame.vectorized]
    return [frame.name for frame in sorted(frames, key=lambda frame: frame.dim)]


def _by_site(draws: Any, stock: Stock) -> dict[str, Tensor]:
    return draws if isinstance(draws, dict) else {stock.observed[0]: draws}


def _values(group: Any, name: str) -> Tensor:
    return torch.as_tensor(group[name].values)
