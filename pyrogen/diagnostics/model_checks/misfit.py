"""Statistics of data and of their residuals that tell in which way a model does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

from pyrogen.diagnostics.core.estimates import Array
from pyrogen.diagnostics.model_checks.misfit_statistics import DataSets, Kind
from pyrogen.diagnostics.model_checks.residual_dependence import dependence_statistics
from pyrogen.diagnostics.model_checks.residual_shape import ORDER, SHAPES

FALSE_ALARM = 0.01
"""Probability that any statistic of a right model is called far."""

_CAUSES = ("autocorrelation", "dispersion of positive counts", "share", "spread", "clusters", "skewness")
_RANK = dict.fromkeys(("curvature", "trend", "interaction"), 0) | {name: i + 1 for i, name in enumerate(_CAUSES)}
"""Kinds of statistics whose distance brings others with it; those come after them."""


@dataclass(frozen=True)
class Misfit:
    """One statistic of the data among those of replicated data sets.

    Args:
        name: of the statistic, such as `skewness` or `trend along x`.
        observed: of the data.
        expected: mean over replicated data sets.
        score: distance in standard deviations over replicated data sets, on the scale on which these are about normal;
            only upwards where only larger values are bad.
        message: what it says of the model, in words.
    """

    name: str
    observed: float
    expected: float
    score: float
    message: str

    @property
    def kind(self) -> str:
        """The statistic without the covariate that it is along."""
        return self.name.split(" along ")[0].split(" of ")[0]

    def __str__(self) -> str:
        return f"{self.name}: {self.observed:.3g}, expected {self.expected:.3g} (z = {self.score:.1f})"


def misfits(
    observed: Array, replicated: Array, covariates: Mapping[str, Array] | None = None, kind: Kind = "real"
) -> list[Misfit]:
    """Compare data with replicated data sets by statistics that suit their kind, and by their residuals.

    Residuals are $r_i = (y_i - m_i) / s_i$ with mean and standard deviation over replications of datum i; those of each
    replicated data set are made alike. They are compared in shape, along each covariate and along the fitted value
    (mean and spread), and in the order of the rows.

    Args:
        observed: (N, ...) the data.
        replicated: (S, N, ...) replicated data sets.
        covariates: columns (N,) that the model conditions on, by name; none by default.
        kind: "real" (the default), "count" or "binary".

    Returns:
        All statistics: those farther than chance explains first, causes before what they bring with them.

    References:
        Gelman, Meng, Stern 1996, Statistica Sinica 6(4); Gabry et al. 2019, JRSS A 182(2), arXiv:1709.01449.
    """
    sets = DataSets(observed, replicated, kind)
    statistics = [ORDER, *SHAPES[kind], *dependence_statistics(sets, covariates or {})]
    found = [Misfit(statistic.name, *statistic.compare(sets)) for statistic in statistics]
    return by_cause(found, critical_score(len(found)))


def by_cause(statistics: list[Misfit], far: float) -> list[Misfit]:
    """Statistics sorted: those that are far first, causes before what they bring with them.

    Args:
        statistics: in any order.
        far: the score beyond which chance is no explanation.

    Returns:
        The same statistics, sorted.
    """
    return sorted(
        statistics, key=lambda m: (abs(m.score) <= far, _RANK.get(m.name, _RANK.get(m.kind, len(_RANK))), -abs(m.score))
    )


def critical_score(statistics: int) -> float:
    """The score that the largest of several statistics exceeds by chance in one diagnosis of a hundred.

    Args:
        statistics: their number.

    Returns:
        The normal quantile at level .01 over their number, two-sided.
    """
    return NormalDist().inv_cdf(1 - FALSE_ALARM / (2 * max(1, statistics)))
