"""The story and data that a diagnosis examines, its budget, and what a check of it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from pyrogen.diagnostics.core.program_structure import analyze_program
from pyrogen.diagnostics.core.row_blocks import accepts_any_rows, random_rows
from pyrogen.diagnostics.report.findings import Part, Purpose
from pyrogen.diagnostics.report.thresholds import Assessment
from pyrogen.inference import evaluation_context
from pyrogen.inference.persistence.config import versions
from pyrogen.inference.program.input_checks import is_auto
from pyrogen.story import Batch, inside, is_point

Kind = Literal["local", "shared", "exact", "samples", "nothing", "prior"]
"""Which posterior there is to check.

`local`: of latents of each datum. `shared`: of latents that data share. `exact`: none, since there are no latents or
they are summed out. `samples`: none, since there is no density. `nothing`: neither density nor samples. `prior`: it is
not asked for, and the prior is examined.
"""


@dataclass(frozen=True)
class Budget:
    """How much a diagnosis may compute.

    Args:
        rows: number of data examined, if latents are local.
        draws: draws from the guide for each datum.
        simulations: simulated data for calibration.
        ranked: draws among which each true latent is ranked.
        refined: number of data whose posteriors are optimized separately; 0: none.
        shared_draws: draws of latents that data share, at first.
        max_shared_draws: the most of them, where fewer leave a verdict undecided.
        replications: replicated data sets for predictive checks.
        samples: samples for sample quality, of stories without a density.
        seconds: time limit for drawing samples, for models that are slow to draw from.
    """

    rows: int
    draws: int
    simulations: int
    ranked: int
    refined: int
    shared_draws: int
    max_shared_draws: int
    replications: int
    samples: int
    seconds: float


BUDGETS = {
    "quick": Budget(200, 400, 500, 49, 0, 1000, 8000, 50, 200, 8),
    "standard": Budget(500, 1000, 1000, 99, 100, 4000, 32_000, 200, 1000, 60),
    "thorough": Budget(2000, 2000, 4000, 199, 500, 20_000, 200_000, 500, 5000, 600),
}


class Examination:
    """The trained story, the data and the results of the checks run so far.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them.
        training: the training columns, or None.
        budget: how much the checks may compute.
        seed: of all draws.
        statistics: further statistics of a data set, by name; none by default.
        prior: whether the prior is examined, of a story that need not be trained; False by default.

    Attributes:
        kind: which posterior there is to check.
        starts: several fits of one model, to be compared; empty where there is one.
        rows: the examined data as one batch.
        observed: names of the observed sites.
        mixed: some latents are shared, and others belong to a datum.
        point: the guide is a point estimate of every latent.
        of_training: the examined data are the training data, whose posterior the guide is.
        fixed_rows: latents are local, but the guide has parameters for these rows alone (it is not amortized).
        noun: what a datum is called, in the plural: `images` or `data`.
        results: what each check computed, by name of the check.
    """

    def __init__(
        self,
        fitted: Any,
        data: Any,
        training: Any,
        budget: Budget,
        seed: int,
        statistics: Mapping[str, Callable[[Any], Any]] | None = None,
        prior: bool = False,
    ) -> None:
        self.starts = list(fitted) if isinstance(fitted, list) and len(fitted) > 1 else []
        fitted = fitted[0] if isinstance(fitted, list) and fitted else fitted
        self.fitted, self.data, self.training, self.budget, self.seed = fitted, data, training, budget, seed
        self.results: dict[str, Any] = {}
        self.statistics = dict(statistics or {})
        with evaluation_context(fitted, seed) as context:
            story = context.story
            self.story = story
            # The posterior that an AutoGuide approximates is that of the training data, row by row.
            self.of_training = is_auto(story) and training is not None
            rows = context.batch(training if self.of_training else data)
            self._classify(rows, prior)
            if self.kind == "shared" and training is not None and not self.of_training:
                rows, self.of_training = context.batch(training), True
            self.fixed_rows = self.kind == "local" and not accepts_any_rows(story, rows.rows(0, 2), 2)
            whole = self.kind not in ("local", "exact") or self.fixed_rows
            self.rows = rows if whole else random_rows(rows, budget.rows)
        self.noun = "images" if any(map(is_image, rows.columns.values())) else "data"

    def _classify(self, rows: Batch, prior: bool) -> None:
        """Set `kind`, `observed`, `mixed` and `point`."""
        self.observed: tuple[str, ...] = ()
        self.kind: Kind = "exact"
        self.mixed, self.point, unsupported = False, False, self.story.unsupported
        if prior:
            self.story.require("sample")
            self.kind, self.observed = "prior", analyze_program(self.story, rows).observed
            return
        if "density" in unsupported:
            self.kind = "nothing" if "sample" in unsupported else "samples"
            return
        structure = analyze_program(self.story, rows)
        self.observed = structure.observed
        if "guide" not in unsupported and structure.latents:
            self.kind = "local" if structure.local else "shared"
            guide, model = structure.run()
            sites, plate = model.nodes, structure.plate
            self.point = is_point(guide.nodes.values())
            self.mixed = plate is not None and any(inside(sites[name], plate.name) for name in structure.latents)

    def choose_rows(self, count: int) -> Batch:
        """A random choice of the data.

        Args:
            count: number of rows to choose.

        Returns:
            The rows; all data where there are no more.
        """
        with evaluation_context(self.fitted, self.seed) as context:
            return random_rows(context.batch(self.training if self.of_training else self.data), count)

    def require_amortized(self) -> None:
        """Refuse a guide that has parameters for the examined rows alone.

        Raises:
            ValueError: the guide is not amortized.
        """
        if self.fixed_rows:
            raise ValueError(f"{self.story.name}: its guide is not amortized: it has parameters of the training rows")

    def protocol(self) -> dict[str, Any]:
        """What the metrics depend on.

        Returns:
            Story, kind, observed sites, number of rows, seed, budget and versions, ready for JSON.
        """
        described = {"story": self.story.name, "kind": self.kind, "observed": list(self.observed)}
        described["examined"] = "training data" if self.of_training else "data"
        return {**described, "n": self.rows.n, "seed": self.seed, **vars(self.budget), "versions": versions()}


@dataclass(frozen=True)
class Check:
    """One check of a diagnosis: its name, the stories that it applies to, its computation and its verdict.

    The same name is its key in `Diagnosis.results`, in `Diagnosis.skipped`, among the seconds of the protocol, and in
    `pyrogen.plots.DIAGNOSTIC_PLOTS`, hence also the name of its picture's file.

    Args:
        name: of the check, in snake_case.
        part: the part of the diagnosis that its metrics and findings belong to: `guide`, `latents` or `fit`.
        purposes: the uses of the story that they bear on: `samples`, `likelihood`, `posterior`.
        kinds: the kinds of story that it applies to.
        run: computes its result from the examination. A ValueError or RuntimeError skips the check, with its message
            as the reason.
        judge: adds metrics and findings to an assessment, given the examination and the result, after all checks have
            run; None: it adds none.
        takes_points: whether it applies to guides that are point estimates; False by default.
    """

    name: str
    part: Part
    purposes: tuple[Purpose, ...]
    kinds: tuple[Kind, ...]
    run: Callable[[Examination], Any]
    judge: Callable[[Assessment, Examination, Any], None] | None = None
    takes_points: bool = False

    def applies_to(self, examination: Examination) -> bool:
        """Whether the check applies to a story and guide.

        Args:
            examination: of the story.

        Returns:
            True if it applies to the story's kind, and to its guide if that is a point estimate.
        """
        return examination.kind in self.kinds and (self.takes_points or not examination.point)


def is_image(column: Any) -> bool:
    """Whether a column holds images.

    Args:
        column: a tensor, or any other value.

    Returns:
        True for a tensor (N, 1 or 3, height, width).
    """
    return isinstance(column, Tensor) and column.dim() == 4 and column.shape[1] in (1, 3)
