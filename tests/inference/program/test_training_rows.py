"""A guide with latents of its training rows is refused others, as many as they may be; an amortized one takes any."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro.infer.autoguide import (
    AutoDelta,
    AutoDiagonalNormal,
    AutoMultivariateNormal,
    AutoNormal,
    AutoNormalMessenger,
    AutoStructured,
)

from pyrogen import Story, fit, load
from pyrogen.diagnostics import diagnose, to_datatree
from pyrogen.inference import encode, held_out_elbo, log_likelihood, log_weights, posterior, posterior_predictive
from pyrogen.models import PPCA

N = 12


def levels(c, x=None):
    with pyro.plate("data", len(c)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z + c, 1.0), obs=x)


def by_row(c, x=None):
    with pyro.plate("data", len(c)):
        pyro.sample("z", dist.Normal(pyro.param("loc", lambda: torch.randn(len(c))), 0.3))


def amortized(c, x=None):
    slope = pyro.param("slope", torch.tensor(0.1))
    with pyro.plate("data", len(c)):
        pyro.sample("z", dist.Normal(slope * c, 0.3))


class ByIndex(Story):
    """Parameters of rows that are chosen by their numbers, in batches."""

    def model(self, x, total, index):
        with pyro.plate("data", total, subsample=index):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(self, x, total, index):
        loc = pyro.param("loc", lambda: torch.randn(total))
        with pyro.plate("data", total, subsample=index):
            pyro.sample("z", dist.Normal(loc[index], 0.3))


OWN = [AutoNormal, AutoMultivariateNormal, AutoDiagonalNormal, AutoDelta, AutoNormalMessenger, AutoStructured, None]
USES = {
    "posterior": lambda run, data: posterior(run, data, 3),
    "posterior_predictive": lambda run, data: posterior_predictive(run, data, 3),
    "encode": encode,
    "log_weights": lambda run, data: log_weights(run, data, 3),
    "log_likelihood": lambda run, data: log_likelihood(run, data, 3),
    "held_out_elbo": lambda run, data: held_out_elbo(run, data, 2),
    "to_datatree": lambda run, data: to_datatree(run, data, num_samples=3),
    "diagnose": lambda run, data: diagnose(run, data, budget="quick"),
}


def data(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {"c": torch.randn(N, generator=generator), "x": torch.randn(N, generator=generator)}


def fitted(guide, rows=None, **options):
    pair = (levels, by_row if guide is None else guide(levels))
    return fit(pair, data() if rows is None else rows, steps=3, progress=False, **options)


@pytest.mark.parametrize("guide", OWN)
def test_other_rows_are_refused(guide):
    run = fitted(guide)
    with pytest.raises(
        ValueError, match=r"the guide draws 'z' for each of the 12 rows that it was trained on, and colum"
    ):
        posterior(run, {**data(), "x": data(1)["x"]}, 3)
    assert posterior(run, data(), 3)["z"].shape == (3, N)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("changed", ["c", "x"])
def test_wherever_they_are_used(use, changed):
    run = fitted(AutoNormal)
    USES[use](run, data())
    with pytest.raises(ValueError, match=f"column '{changed}' is not theirs|'{changed}' is another"):
        USES[use](run, {**data(), changed: data(1)[changed]})


def test_after_loading_as_well(tmp_path):
    fitted(None, out=tmp_path / "run")
    run = load(tmp_path / "run", into=(levels, by_row))
    assert posterior(run, data(), 3)["z"].shape == (3, N)
    with pytest.raises(ValueError, match="column 'x' is not theirs"):
        posterior(run, {**data(), "x": data(1)["x"]}, 3)


def test_a_response_may_be_left_out_and_covariates_may_not_change():
    run = fitted(AutoNormal)
    assert posterior_predictive(run, {"c": data()["c"]}, 3)["x"].shape == (3, N)
    with pytest.raises(ValueError, match="column 'c' is not theirs"):
        posterior_predictive(run, {"c": data(1)["c"]}, 3)


@given(st.integers(1, 50))
@settings(deadline=None, max_examples=5)
def test_an_amortized_guide_takes_any_rows(seed):
    run = fit((levels, amortized), data(), steps=3, progress=False)
    ppca = fit(PPCA(3, 2), {"x": torch.randn(N, 3)}, steps=3, progress=False)
    for use in USES.values():
        use(run, data(seed))
        use(ppca, {"x": torch.randn(N, 3)})


def test_rows_by_number_in_batches():
    x = {"x": data()["x"]}
    run = fit(ByIndex(), x, steps=4, batch_size=4, progress=False)
    assert posterior(run, x, 3)["z"].shape == (3, N)
    held_out_elbo(run, x, 2, batch_size=4)
    with pytest.raises(ValueError, match="column 'x' is not theirs"):
        posterior(run, {"x": data(1)["x"]}, 3)


def shared(x):
    loc = pyro.sample("loc", dist.Normal(0.0, 5.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(loc, 1.0), obs=x)


def test_the_posterior_of_shared_latents_is_judged_on_the_training_data():
    run = fit((shared, AutoNormal(shared)), {"x": data()["x"]}, steps=3, progress=False)
    diagnose(run, {"x": data()["x"]}, budget="quick")
    found = diagnose(run, {"x": data(1)["x"]}, budget="quick")
    said = "whose posterior is given the training data, and column 'x' is another"
    assert any(said in reason for reason in found.skipped.values())
    assert found.verdict_on("guide") != "believe"


@pytest.mark.parametrize("guide", [AutoNormal, AutoMultivariateNormal, None])
def test_a_guide_of_training_rows_is_not_validated_on_others(guide):
    with pytest.raises(ValueError, match="draws 'z' for each training row, whatever the data are"):
        fitted(guide, validation=data(1))


@pytest.mark.parametrize("held_out", [N, 5])
def test_nor_is_one_that_chooses_them_by_number(held_out):
    with pytest.raises(ValueError, match="draws 'z' for each training row, whatever the data are"):
        fit(ByIndex(), {"x": data()["x"]}, epochs=2, batch_size=4, validation={"x": data(1)["x"][:held_out]})


def test_an_amortized_guide_is_validated():
    run = fit((levels, amortized), data(), epochs=3, validation=data(1), progress=False)
    assert all("validation_elbo" in record for record in run.history)
    fit(PPCA(3, 2), {"x": torch.randn(N, 3)}, epochs=2, validation={"x": torch.randn(5, 3)}, progress=False)
