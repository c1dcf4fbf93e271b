"""Checks of a model against its data: statistics of replicated data, and leave-one-out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pyro import poutine
from torch import Tensor
from torch.distributions import constraints

from pyrogen.diagnostics.core.estimates import Array
from pyrogen.diagnostics.model_checks.leave_one_out import loo
from pyrogen.diagnostics.model_checks.loo_pit import loo_pit, uniformity
from pyrogen.diagnostics.model_checks.misfit import Misfit, by_cause, critical_score, misfits
from pyrogen.diagnostics.model_checks.misfit_statistics import Kind
from pyrogen.diagnostics.model_checks.predictive_checks import Statistic, predictive_check
from pyrogen.diagnostics.report.examination import Check, Examination
from pyrogen.diagnostics.report.remedies import Remedies
from pyrogen.diagnostics.report.thresholds import Assessment, Bounds
from pyrogen.inference import evaluation_context
from pyrogen.story import Batch, observed_sites, unwrap_independent

if TYPE_CHECKING:
    from arviz_stats import ELPDData

_REPLICATIONS, _LOO_DRAWS = 400, 1000
_FEWEST_ROWS, _MOST_ROWS, _MOST_COVARIATES, _MOST_NUMBERS = 20, 5000, 10, 8
_BLOCKS = 50
"""Blocks of neighbouring rows that are examined where there are more rows than are looked at."""

USERS = "the user's statistics"


@dataclass(frozen=True)
class MisfitResult:
    """Statistics of the data among those of replications.

    Args:
        statistics: by observed site, and `the user's statistics`; on held-out data too, where these are given.
        transforms: LOO-PIT (N,) by observed site.
        rows: number of rows examined.
        of: number of rows that there are.
    """

    statistics: Mapping[str, list[Misfit]]
    transforms: Mapping[str, Array]
    rows: int
    of: int

    @property
    def critical(self) -> float:
        """The score that the largest of all statistics exceeds by chance in one diagnosis of a hundred."""
        return critical_score(sum(map(len, self.statistics.values())))


def _misfit(e: Examination) -> MisfitResult:
    """Shape, trends, spread, order and groups of the residuals of each observed site, and the user's own statistics."""
    found = _statistics(e, e.rows)
    transforms: dict[str, Array] = {}
    if e.kind == "shared":
        try:
            transforms = loo_pit(e.fitted, e.rows, min(_LOO_DRAWS, e.budget.shared_draws), seed=e.seed)
        except ValueError:  # data have latents of their own, or the guide is wrong, which its checks say
            transforms = {}
    for site, values in transforms.items():
        if site in found and len(values) >= _FEWEST_ROWS:
            found[site] = [*found[site], uniformity(values)]
    for site, statistics in (_statistics(e, held_out) if (held_out := _held_out(e)) else {}).items():
        found[f"{site} (held-out data)"] = statistics
    if not found:
        raise ValueError(f"no observed site holds at least {_FEWEST_ROWS} rows of a few real numbers, counts or bits")
    return MisfitResult(found, transforms, min(e.rows.n, _MOST_ROWS), e.rows.n)


def _held_out(e: Examination) -> Batch | None:
    """The data, where the examined ones are those of training and the guide can predict others."""
    if e.kind != "shared" or not e.of_training or e.mixed or e.data is e.training:
        return None
    with evaluation_context(e.fitted, e.seed) as context:
        return context.batch(e.data)


def _statistics(e: Examination, rows: Batch) -> dict[str, list[Misfit]]:
    """Those of each site and of the user, of some rows among their replications."""
    kinds = {site: kind for site, kind in _kinds_of_data(e, rows).items() if kind is not None}
    chosen = _chosen(rows.n)
    wanted: dict[str, Statistic] = {f"site {site}": _rows_of(site, chosen) for site in kinds}
    wanted |= {f"user's {name}": statistic for name, statistic in e.statistics.items()}
    if not wanted:
        return {}
    under: Any = "posterior" if e.kind == "shared" else "prior"
    values = predictive_check(e.fitted, rows, wanted, _REPLICATIONS, under=under, seed=e.seed)
    covariates = _covariates(rows, [values[f"site {site}"].observed for site in kinds], chosen)
    found = {}
    for site, kind in kinds.items():
        observed, replicated = values[f"site {site}"].observed, values[f"site {site}"].replicated
        alike = {name: column for name, column in covariates.items() if len(column) == len(observed)}
        if observed.ndim and len(observed) >= _FEWEST_ROWS and observed[0].size <= _MOST_NUMBERS:
            found[site] = misfits(observed, replicated, alike, kind)
    if e.statistics:
        own = [values[f"user's {name}"].misfits(name) for name in e.statistics]
        found[USERS] = [misfit for several in own for misfit in several]
    return found


def _chosen(n: int) -> Array:
    """Numbers of the rows that are looked at: all, or blocks of neighbours spread over them."""
    if n <= _MOST_ROWS:
        return np.arange(n)
    starts = np.linspace(0, n - _MOST_ROWS // _BLOCKS, _BLOCKS).astype(int)
    return (starts[:, None] + np.arange(_MOST_ROWS // _BLOCKS)).ravel()


def _rows_of(site: str, chosen: Array) -> Statistic:
    def rows(values: Any) -> Any:
        value = values[site] if isinstance(values, dict) else values
        return value[chosen] if value.ndim and len(value) > chosen.max() else value

    return rows


def _kinds_of_data(e: Examination, rows: Batch) -> dict[str, Kind | None]:
    """`real`, `count` or `binary` for each observed site, None for others."""
    with evaluation_context(e.fitted, e.seed) as context:
        sites = observed_sites(poutine.trace(context.program.model).get_trace(rows).nodes.values())
    kinds: dict[str, Kind | None] = {}
    for name, site in sites.items():
        support = unwrap_independent(site["fn"]).support
        discrete = getattr(support, "is_discrete", False)
        binary = isinstance(support, type(constraints.boolean))
        numbers = isinstance(support, type(constraints.nonnegative_integer) | constraints.integer_interval)
        simplex = getattr(support, "event_dim", 0) > 0
        kinds[name] = "binary" if binary else "count" if numbers else None if discrete or simplex else "real"
        if site["value"][:1].numel() > _MOST_NUMBERS:
            kinds[name] = None
    return kinds


def _covariates(rows: Batch, observed: list[Array], chosen: Array) -> dict[str, Array]:
    """The columns that the model conditions on, one for each of their numbers."""
    found = {}
    for key, column in rows.columns.items():
        if not isinstance(column, Tensor) or column.dim() > 2 or column.is_complex():
            continue
        values = column.detach().cpu().double().numpy().reshape(len(column), -1)[chosen]
        if any(values.size == y.size and np.allclose(values.ravel(), y.ravel(), equal_nan=True) for y in observed):
            continue
        if values.shape[1] <= _MOST_COVARIATES:
            one = values.shape[1] == 1
            found.update({str(key) if one else f"{key}[{j}]": values[:, j] for j in range(values.shape[1])})
    return found


def _judge_misfit(assessment: Assessment, e: Examination, result: MisfitResult) -> None:
    """By the farthest statistics of all, of which there is one in a hundred right models."""
    critical, told = result.critical, set()
    looked = "" if result.rows == result.of else f"; {result.rows:,} of {result.of:,} rows, in {_BLOCKS} blocks"
    for site, statistics in result.statistics.items():
        worst = max(statistics, key=lambda s: abs(s.score))
        about = f"largest distance of a statistic of {site} from its replications, in their standard deviations"
        name = f"misfit_{site.replace(' ', '_')}"
        assessment.judge(name, abs(worst.score), math.nan, Bounds(critical), f"{about}: {worst.name}{looked}")
        far = [s for s in by_cause(statistics, critical) if abs(s.score) > critical and s.name not in told]
        for statistic in far[:3]:
            told.add(statistic.name)
            assessment.find("misfit", "caution", f"{site}: {statistic.message}", Remedies(e).see_samples)


def _leave_one_out(e: Examination) -> ELPDData:
    return loo(e.fitted, e.rows, min(_LOO_DRAWS, e.budget.shared_draws), seed=e.seed)


def _judge_leave_one_out(assessment: Assessment, e: Examination, result: ELPDData) -> None:
    unreliable = ~(result.pareto_k.values <= result.good_k)
    about = "expected log predictive density by leave-one-out (elpd_loo), nats"
    assessment.report("elpd_loo", result.elpd, result.se, about)
    about = "effective number of parameters (p_loo)"
    assessment.report("p_loo", result.p, math.nan, about)
    khat = f"a leave-one-out Pareto k-hat above {result.good_k:.2f}"
    assessment.report("loo_high_khat_share", float(unreliable.mean()), math.nan, f"share of {e.noun} with {khat}")
    if unreliable.any() and (cause := assessment.fault_of_guide()):
        count = f"{unreliable.sum()} of {len(unreliable)} {e.noun}"
        message = f"leave-one-out cannot be read, {count} have {khat}, because {cause}"
        assessment.find("leave-one-out", None, message, Remedies(e).flexible_guide)
    elif unreliable.any():
        message = f"{unreliable.sum()} of {len(unreliable)} {e.noun} have {khat}: they influence the posterior strongly"
        assessment.find("influential", None, message, Remedies(e).list_influential)


MISFIT = Check("misfit", "fit", ("samples", "posterior"), ("shared", "exact"), _misfit, _judge_misfit)
LEAVE_ONE_OUT = Check("leave_one_out", "fit", ("posterior",), ("shared",), _leave_one_out, _judge_leave_one_out)
