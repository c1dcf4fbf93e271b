"""The examination of a trained story: which tests it can take, within a budget, and what they say together."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from pyrogen.diagnostics.core.posterior_draws import some_rows, takes_any_rows
from pyrogen.diagnostics.core.program_structure import examine
from pyrogen.diagnostics.report.checks import TESTS
from pyrogen.diagnostics.report.diagnosis import Diagnosis, Finding, Metric
from pyrogen.diagnostics.report.findings import in_order, ruled
from pyrogen.inference import evaluation_context
from pyrogen.inference.persistence.run_directory import versions
from pyrogen.inference.program.input_checks import is_auto
from pyrogen.story import Batch, inside, is_point

__all__ = ["BUDGETS", "Budget", "Examination", "diagnose"]


@dataclass(frozen=True)
class Budget:
    """How much an examination may take.

    Args:
        rows: data that are examined, of latents of their own.
        draws: from the guide for each.
        simulations: data that the model makes to check calibration.
        ranked: draws that each true latent is ranked among.
        refined: data whose posteriors are refined; 0: none.
        shared_draws: of latents that data share.
        replications: data sets for predictive checks.
        samples: for sample quality, where there is nothing else.
        seconds: after which no more samples are begun, of models that are slow to draw from.
    """

    rows: int
    draws: int
    simulations: int
    ranked: int
    refined: int
    shared_draws: int
    replications: int
    samples: int
    seconds: float


BUDGETS = {
    "quick": Budget(200, 400, 500, 49, 0, 1000, 50, 200, 20),
    "standard": Budget(500, 1000, 1000, 99, 100, 4000, 200, 1000, 60),
    "thorough": Budget(2000, 2000, 4000, 199, 500, 20_000, 500, 5000, 600),
}

Progress = Callable[[str, int, int], None]


def diagnose(
    fitted: Any,
    data: Any,
    *,
    training: Any = None,
    budget: Literal["quick", "standard", "thorough"] | Budget = "standard",
    seed: int = 0,
    progress: Progress | None = None,
) -> Diagnosis:
    """Examine a trained story: its guide, its use of latents, its fit to data, each judged apart.

    Which tests are made depends on the story. Latents of each datum: weights of its draws, calibration on simulated
    data, refinement of its posterior. Latents that all data share: weights of all of them together, leave-one-out.
    No latents, but a density: its fit to data. No density: the quality of its samples alone.

    A figure is judged bad if it is beyond its tolerance by more than chance explains (both in
    `pyrogen.diagnostics.report.thresholds`); an exact guide of the right model is called wrong in less than 1 % of examinations.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them, best such as training did not see. Where data share latents, the posterior
            is given the training data: `training`, or where it is None, these.
        training: the training columns, for overfitting and memorization.
        budget: `quick`, `standard` (minutes) or `thorough`, or one of your own.
        seed: of everything.
        progress: called before each test with its name, its place, and how many there are.

    Raises:
        ValueError: there is no such budget; or the story cannot take the data.

    Example:
        >>> from pyrogen.models import PPCA
        >>> story = PPCA(4, latent=2).maximum_likelihood(torch.randn(200, 4))
        >>> with torch.no_grad():
        ...     _ = story.raw_scale.diagonal().sub_(1.0)  # a guide of 0.37 times the width
        >>> found = diagnose(story, story.sample(200), budget="quick")
        >>> found.verdict, "narrow" in found.kinds
        ('do not believe', True)
    """
    if isinstance(budget, str) and budget not in BUDGETS:
        raise ValueError(f"budget is {', '.join(BUDGETS)}, got '{budget}'")
    chosen = BUDGETS[budget] if isinstance(budget, str) else budget
    start = time.perf_counter()
    examination = Examination(fitted, data, training, chosen, seed)
    examination.run(progress or (lambda name, done, of: None))
    figures, findings = ruled(examination.results, examination.noun)
    protocol = examination.protocol() | {"budget": budget if isinstance(budget, str) else "own"}
    protocol |= {"seconds": {**examination.seconds, "all": round(time.perf_counter() - start, 2)}}
    findings = in_order([*findings, *examination.bounds_of_it(figures)])
    return Diagnosis(
        examination.story.name, figures, tuple(findings), examination.results, examination.skipped, protocol
    )


class Examination:
    """One examination under way: what is examined, what was found so far.

    Args:
        fitted, data, training, budget, seed: see `diagnose`.

    Attributes:
        kind: where the latents are: `local`, of each datum, or `shared`; `exact`: there are none, or they are summed
            out; `samples`: there is no density; `nothing`: there are no samples either.
        rows: the data that are examined, as one batch.
        observed: the observed sites.
        mixed: some of the latents are shared, and some are of a datum.
        point: the guide holds one value of every latent, and no spread.
        of_training: the rows are those of training, of which the guide's posterior is.
        fixed: the guide knows these rows alone, though latents are of each datum.
    """

    def __init__(self, fitted: Any, data: Any, training: Any, budget: Budget, seed: int) -> None:
        self.fitted, self.data, self.training, self.budget, self.seed = fitted, data, training, budget, seed
        self.results: dict[str, Any] = {}
        self.skipped: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        with evaluation_context(fitted, seed) as context:
            story = context.story
            self.story = story
            # The posterior that an AutoGuide stands for is that of the training data, row by row.
            self.of_training = is_auto(story) and training is not None
            rows = context.batch(training if self.of_training else data)
            self._look(rows)
            if self.kind == "shared" and training is not None and not self.of_training:
                rows, self.of_training = context.batch(training), True
            self.fixed = self.kind == "local" and not takes_any_rows(story, rows.rows(0, 2), 2)
            whole = self.kind not in ("local", "exact") or self.fixed
            self.rows = rows if whole else some_rows(rows, budget.rows)
        self.results["columns"] = self.rows.columns
        self.noun = "images" if any(_is_image(column) for column in rows.columns.values()) else "data"

    def _look(self, rows: Batch) -> None:
        """Find out what kind of story it is."""
        self.observed: tuple[str, ...] = ()
        self.kind, self.mixed, self.point, without = "exact", False, False, self.story.unsupported
        if "density" in without:
            self.kind = "nothing" if "sample" in without else "samples"
            return
        anatomy = examine(self.story, rows)
        self.observed = anatomy.observed
        if "guide" not in without and anatomy.latents:
            self.kind = "local" if anatomy.local else "shared"
            guide, model = anatomy.run()
            sites, plate = model.nodes, anatomy.plate
            self.point = is_point(guide.nodes.values())
            self.mixed = plate is not None and any(inside(sites[name], plate.name) for name in anatomy.latents)

    def run(self, progress: Progress) -> None:
        """Make the tests; those that refuse are skipped, with their reason."""
        own = {self.kind, "point"} if self.point else {self.kind}
        tests = {name: test for name, (kinds, test) in TESTS.items() if own <= set(kinds)}
        for place, (name, test) in enumerate(tests.items()):
            progress(name, place, len(tests))
            start = time.perf_counter()
            try:
                self.results |= test(self)
            except (ValueError, RuntimeError) as refusal:  # the latter of programs that take no other rows
                self.skipped[name] = textwrap.shorten(str(refusal), 300)
            self.seconds[name] = round(time.perf_counter() - start, 2)
        progress("done", len(tests), len(tests))

    def bounds_of_it(self, figures: Mapping[str, Metric]) -> list[Finding]:
        """What the examination cannot say."""
        name, without = self.story.name, self.story.unsupported
        if self.kind == "nothing":
            said = f"{name} has neither density ({without['density']}) nor samples"
            return [Finding("untested", "fit", "caution", said, "there is no posterior or likelihood to believe")]
        if self.kind == "samples":
            said = f"{name} has no density ({without['density']})"
            return [Finding("samples alone", "fit", None, said, "it is judged by its samples alone")]
        if self.kind == "exact":
            said = "no guide approximates anything: the likelihood is exact"
            return [Finding("exact", "guide", None, said, "only the fit to data is in question")]
        if self.point:
            said = "the guide is a point: it holds one value of the latents, and no posterior around it"
            return [Finding("untested", "guide", "caution", said, _WITH_SPREAD)]
        if any(f.part == "guide" and f.verdict is not None and f_name != "rise" for f_name, f in figures.items()):
            return []
        why = next(iter(self.skipped.values()), "no test is for it")
        return [Finding("untested", "guide", "caution", f"no test of the guide could be made ({why})", _ELSEWHERE)]

    def protocol(self) -> dict[str, Any]:
        """What the figures depend on."""
        described = {"story": self.story.name, "kind": self.kind, "observed": list(self.observed)}
        described["of"] = "training data" if self.of_training else "data"
        return {**described, "n": self.rows.n, "seed": self.seed, **vars(self.budget), "versions": versions()}


_WITH_SPREAD = "where uncertainty is asked for, take a guide with a spread"
_ELSEWHERE = "compare it with MCMC (sample_reference) on a few data"


def _is_image(column: Any) -> bool:
    return isinstance(column, Tensor) and column.dim() == 4 and column.shape[1] in (1, 3)
