"""Bandwidths against SciPy's rules and against a search by hand."""

import numpy as np
import pytest
import torch
from scipy.stats import gaussian_kde
from torch import Tensor

from pyrogen.distributions import LeaveOneOutBandwidth, Scott, Silverman, bandwidths, squared_distances


def points(rows: int = 60, features: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(rows, features, generator=generator, dtype=torch.float64)
    return x + 4 * (x[:, :1] > 0.5)


def left_out(x: Tensor, bandwidth: float) -> float:
    """The mean log density of each point under the estimate from the others, by hand."""
    total = 0.0
    for i in range(len(x)):
        others = torch.cat([x[:i], x[i + 1 :]])
        kernel = torch.distributions.Normal(others, bandwidth).log_prob(x[i]).sum(1)
        total += float(kernel.logsumexp(0)) - np.log(len(others))
    return total / len(x)


def test_rules_are_scipys_factors_times_the_spread() -> None:
    x = points()
    spread = float(x.var(0, correction=0).mean().sqrt())
    for rule, name in ((Scott(), "scott"), (Silverman(), "silverman")):
        np.testing.assert_allclose(rule(x), spread * gaussian_kde(x.numpy().T, bw_method=name).factor, rtol=1e-12)


@pytest.mark.parametrize("features", [1, 2, 10])
def test_leave_one_out_is_where_the_likelihood_of_points_left_out_is_largest(features: int) -> None:
    x = points(features=features)
    best = LeaveOneOutBandwidth()(x)
    reached = left_out(x, best)
    for factor in (0.5, 0.9, 0.99, 1.01, 1.1, 2.0):
        assert left_out(x, best * factor) < reached
    slope = (left_out(x, best * 1.001) - left_out(x, best / 1.001)) / 0.002
    assert abs(slope) < 1e-4


def test_leave_one_out_has_the_units_of_the_data() -> None:
    x = points()
    np.testing.assert_allclose(LeaveOneOutBandwidth()(1000 * x + 5), 1000 * LeaveOneOutBandwidth()(x), rtol=1e-6)


def test_leave_one_out_of_a_third_of_the_points_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    x = points(rows=600)
    every = LeaveOneOutBandwidth()(x)
    monkeypatch.setattr(bandwidths, "MAX_DISTANCES", 600 * 200)
    third = LeaveOneOutBandwidth()(x)
    assert third != every
    assert left_out(x, every) - 0.02 < left_out(x, third) <= left_out(x, every)


def test_leave_one_out_accepts_some_copies_and_refuses_data_of_copies_alone() -> None:
    x = points()
    x[:10] = x[0]
    assert LeaveOneOutBandwidth()(x) > 0.01
    with pytest.raises(ValueError, match=r"exact copy.*\(dequantize\) the data, or pass the bandwidth"):
        LeaveOneOutBandwidth()(torch.cat([x, x]))
    with pytest.raises(ValueError, match="at least 2 points"):
        LeaveOneOutBandwidth()(x[:1])


def test_squared_distances_far_from_the_origin() -> None:
    x = torch.randn(100, 3)
    exact = (x[:, None].double() - x[None].double()).square().sum(-1)
    far = squared_distances(x.double() + 1e6, x.double() + 1e6)
    torch.testing.assert_close(far, exact, rtol=0, atol=1e-6)
    torch.testing.assert_close(squared_distances(x, x).double(), exact, rtol=1e-5, atol=1e-6)
