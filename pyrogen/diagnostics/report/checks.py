"""All checks of a diagnosis, in order, and `diagnose`, which runs and judges them."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from pyrogen.diagnostics.model_checks.predictive_checks import Statistic
from pyrogen.diagnostics.report import fit_checks as fit
from pyrogen.diagnostics.report import guide_checks as guide
from pyrogen.diagnostics.report import latent_checks as latents
from pyrogen.diagnostics.report import misfit_checks as misfit
from pyrogen.diagnostics.report import moment_checks as moments
from pyrogen.diagnostics.report import prior_checks as prior_predictive
from pyrogen.diagnostics.report.diagnosis import Diagnosis
from pyrogen.diagnostics.report.examination import BUDGETS, Budget, Check, Examination, Kind
from pyrogen.diagnostics.report.findings import PURPOSES, Finding, Part, Purpose, by_severity
from pyrogen.diagnostics.report.remedies import Remedies
from pyrogen.diagnostics.report.thresholds import Assessment
from pyrogen.messages import UsageError, did_you_mean

CHECKS: tuple[Check, ...] = (
    guide.IMPORTANCE_WEIGHTS,
    guide.EXACT_LOG_LIKELIHOOD,
    guide.PRIOR_ELBO,
    guide.LIKELIHOOD_GAP,
    moments.CALIBRATION,
    moments.DATUM_MOMENTS,
    moments.MISSED_MODES,
    guide.INFERENCE_GAPS,
    guide.JOINT_WEIGHTS,
    moments.SHARED_MOMENTS,
    moments.STARTS,
    guide.CONVERGENCE,
    latents.ACTIVE_UNITS,
    latents.ELBO_SURGERY,
    latents.ELBO_DECOMPOSITION,
    fit.TYPICALITY,
    fit.PREDICTIVE_CHECK,
    misfit.MISFIT,
    prior_predictive.LATENT_SHAPE,
    fit.OVERFITTING,
    misfit.LEAVE_ONE_OUT,
    prior_predictive.SENSITIVITY,
    prior_predictive.PRIOR_PREDICTIVE,
    fit.SAMPLE_QUALITY,
)
"""In the order in which they run, a check after those whose results it uses, and are judged."""

Progress = Callable[[str, int, int], None]


def diagnose(
    fitted: Any,
    data: Any,
    *,
    training: Any = None,
    budget: Literal["quick", "standard", "thorough"] | Budget = "standard",
    purposes: Sequence[Purpose] = (),
    statistics: Mapping[str, Statistic] | None = None,
    prior: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> Diagnosis:
    """Check a trained story: whether its samples, its likelihood and its posterior may be used.

    Each check says which of these purposes it bears on; guide, use of latents and fit to the data are judged separately
    as well (`Diagnosis.verdict_on`).

    The checks depend on the story. Latents of each datum: importance weights, simulation-based calibration, posteriors
    optimized separately. Latents that data share: joint importance weights, leave-one-out. No latents, but a density:
    the fit to the data. No density: sample quality alone.

    A metric is bad if it is beyond its threshold by more than its standard error explains (see
    `pyrogen.diagnostics.report.thresholds`); an exact guide of the right model is called wrong in less than 1 % of
    diagnoses.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained; or a list of several fits of one
            model, from several initial values, of which the first is examined and the others are held against it.
        data: columns as `fit` takes them, preferably held-out data. Where data share latents, the posterior is that of
            the training data: `training`, or `data` if it is None.
        training: the training columns, for overfitting and memorization; None by default, which skips both.
        budget: `quick`, `standard` (the default; minutes), `thorough`, or a `Budget`.
        purposes: what the story is to be used for: `samples`, `likelihood`, `posterior`; the verdict is the worst of
            theirs. All that the story has by default.
        statistics: further statistics of a whole data set, by name, as `predictive_check` takes them; none by default.
        prior: whether to check the prior of a story that need not be trained, by its replications of the data, and
            nothing else; False by default.
        seed: of all draws; 0 by default.
        progress: called before each check with its name, its index, and the number of checks, and with `"done"` at the
            end; None by default.

    Returns:
        The verdict, its reasons, all metrics, and what each check computed.

    Raises:
        ValueError: there is no such budget, or the story has none of these purposes.

    Example:
        >>> from pyrogen.models import PPCA
        >>> story = PPCA(4, latent=2).maximum_likelihood(torch.randn(200, 4))
        >>> with torch.no_grad():
        ...     _ = story.raw_scale.diagonal().sub_(1.0)  # 0.37 times the posterior's standard deviation
        >>> diagnosis = diagnose(story, story.sample(200), budget="quick")
        >>> diagnosis.verdict, "narrow" in diagnosis.kinds
        ('do not believe', True)
    """
    if isinstance(budget, str) and budget not in BUDGETS:
        raise ValueError(f"budget: expected {', '.join(BUDGETS)} or a Budget, got '{budget}'")
    start = time.perf_counter()
    allowed = BUDGETS[budget] if isinstance(budget, str) else budget
    examination = Examination(fitted, data, training, allowed, seed, statistics, prior)
    uses = _uses(examination, purposes)
    skipped, seconds = _run(examination, progress or (lambda name, done, of: None))
    assessment = Assessment("guide")
    for check in CHECKS:
        if check.judge is not None and check.name in examination.results:
            assessment.part, assessment.purposes = check.part, check.purposes
            check.judge(assessment, examination, examination.results[check.name])
    findings = [*assessment.findings, *_scope(examination, assessment, skipped, uses)]
    protocol = examination.protocol() | {"budget": budget if isinstance(budget, str) else "custom"}
    return Diagnosis(
        subject=examination.story.name,
        figures=assessment.metrics,
        findings=by_severity(findings),
        results=examination.results,
        skipped=skipped,
        protocol={**protocol, "seconds": {**seconds, "total": round(time.perf_counter() - start, 2)}},
        columns=examination.rows.columns,
        uses=uses,
    )


def _uses(examination: Examination, asked: Sequence[Purpose]) -> tuple[Purpose, ...]:
    """The purposes that a story has, those that are asked for if some are."""
    by_kind: dict[Kind, tuple[Purpose, ...]] = {"exact": ("samples", "likelihood")}
    by_kind |= dict.fromkeys(("samples", "nothing", "prior"), ("samples",))
    has = by_kind.get(examination.kind, tuple(PURPOSES))
    if "sample" in examination.story.unsupported and len(has) > 1:
        has = tuple(use for use in has if use != "samples")
    unknown = [use for use in asked if use not in has]
    if unknown:
        hint = "" if unknown[0] in PURPOSES else did_you_mean(unknown[0], PURPOSES)
        raise UsageError(f"purposes: {examination.story.name} has no '{unknown[0]}'{hint} (it has: {', '.join(has)})")
    return tuple(use for use in has if use in asked or not asked)


def _run(examination: Examination, progress: Progress) -> tuple[dict[str, str], dict[str, float]]:
    """Run the checks that apply; the reasons of those that were skipped, and the seconds of each."""
    checks = [check for check in CHECKS if check.applies_to(examination)]
    skipped: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for place, check in enumerate(checks):
        progress(check.name, place, len(checks))
        start = time.perf_counter()
        try:
            examination.results[check.name] = check.run(examination)
        except (ValueError, RuntimeError) as refusal:  # the latter of programs that take no other rows
            skipped[check.name] = textwrap.shorten(str(refusal), 300)
        seconds[check.name] = round(time.perf_counter() - start, 2)
    progress("done", len(checks), len(checks))
    return skipped, seconds


def _scope(
    examination: Examination, assessment: Assessment, skipped: Mapping[str, str], uses: Sequence[Purpose]
) -> Iterator[Finding]:
    """What could not be checked."""
    name, kind, unsupported = examination.story.name, examination.kind, examination.story.unsupported
    guided: tuple[Purpose, ...] = ("likelihood", "posterior")
    others = Remedies(examination)
    why = next(iter(skipped.values()), "no check applies to it")
    if kind == "nothing":
        message = f"{name} has neither a density ({unsupported['density']}) nor samples: there is nothing to check"
        yield Finding("untested", "fit", "caution", message, purposes=("samples",))
    elif kind == "samples":
        message = f"{name} has no density ({unsupported['density']}): only its samples are checked"
        yield Finding("samples alone", "fit", None, message, purposes=("samples",))
    elif kind == "exact":
        message = "the likelihood is exact, without an approximate posterior: only the fit to the data is checked"
        yield Finding("exact", "guide", None, message, purposes=("likelihood",))
    elif examination.point:
        message = "the guide is a point estimate of the latents, without uncertainty"
        yield Finding("untested", "guide", "caution", message, (others.guide_with_a_variance,), guided)
    elif kind == "shared" and not examination.starts and assessment.metrics:
        message = "one start was examined: a mode of the posterior that it never visited would not be seen"
        yield Finding("one start", "guide", None, message, (others.more_starts,), guided)
    elif kind == "local" and "missed_modes" in skipped and assessment.metrics:
        message = f"modes that the guide never visits were not searched for ({skipped['missed_modes']})"
        yield Finding("one start", "guide", None, message, (others.compare_with_mcmc,), guided)
    if kind == "nothing" or examination.point:
        return
    for use in uses:
        judged = [key for key, m in assessment.metrics.items() if use in m.purposes and m.verdict]
        computed = use == "likelihood" and (kind == "exact" or "log_likelihood" in assessment.metrics)
        if not computed and not set(judged) - {"elbo_rise"}:
            part: Part = "fit" if use == "samples" else "guide"
            instead = others.see_samples if use == "samples" else others.compare_with_mcmc
            message = f"no check of the {use} could be run ({why})"
            yield Finding("untested", part, "caution", message, (instead,), (use,))
