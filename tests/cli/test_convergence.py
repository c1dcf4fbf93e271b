"""Whether a run's history shows that it has not converged, or has diverged."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyrogen.cli.convergence import check_divergence, describe_convergence

UNIT = {"x": torch.linspace(-1, 1, 20)[:, None]}


def history(elbo, lr=1e-2):
    return [{"epoch": k + 1, "step": 100 * (k + 1), "train_elbo": float(v), "lr": lr} for k, v in enumerate(elbo)]


@given(slope=st.floats(0.05, 10), epochs=st.integers(8, 40))
def test_an_elbo_that_still_rises_has_not_converged(slope, epochs):
    line = describe_convergence(history(slope * torch.arange(epochs)), None, UNIT)
    assert line.startswith("not converged: the training ELBO still rose by")
    assert f"--epochs {2 * epochs} " in line


@given(seed=st.integers(0, 10**6))
def test_an_elbo_that_falls_or_stays_is_not_said_to_rise(seed):
    noise = 0.01 * torch.randn(40, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert describe_convergence(history(noise - 0.1 * torch.arange(40)), None, UNIT) is None
    assert describe_convergence(history([-3.0] * 40), None, UNIT) is None
    assert describe_convergence(history(torch.arange(40)), 3, UNIT) is None  # validation data chose earlier weights


@pytest.mark.parametrize("spread", [1e2, 1e3, 1e6])
def test_data_that_are_wider_than_the_steps_reach_are_named(spread):
    line = describe_convergence(history([-30.0] * 5), None, {"x": spread * torch.randn(50, 3)})
    assert "column 'x' has standard deviations up to" in line
    assert "standardize it" in line


@pytest.mark.parametrize(("begin", "end"), [(-40.0, -1e6), (-40.0, -100.0), (5.0, -60.0), (-0.6, -2177.0)])
def test_an_end_far_below_the_beginning_is_refused(begin, end):
    with pytest.raises(ValueError, match=r"the run has diverged: .* lower the rate, such as --lr 0.001"):
        check_divergence(history([2 * end, end], 1000.0), UNIT, lambda: begin)


@pytest.mark.parametrize("end", [-41.0, -39.0, 3.0])
def test_other_ends_are_no_divergence(end):
    check_divergence(history([-50.0, end], 1000.0), UNIT, lambda: -40.0)
    check_divergence(history([-1e9, -1e8], 1e-3), UNIT, lambda: pytest.fail("a rate that is not high is not checked"))


@pytest.mark.parametrize("name", ["critic_loss", "generator_loss"])
def test_networks_whose_losses_explode_have_diverged(name):
    with pytest.raises(ValueError, match=f"the run has diverged: {name} is 1e"):
        check_divergence([{"epoch": 1, "step": 9, name: 1e20}], UNIT, lambda: 0.0)
