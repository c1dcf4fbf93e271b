"""NaN in data: passed where the model handles it, refused where it does not."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pyro.infer.autoguide import AutoNormal

from pyrogen import fit
from pyrogen.distributions import Gaussian
from pyrogen.inference import adam, cosine, log_likelihood, posterior
from pyrogen.models import PPCA, VAE

NAN = float("nan")


def nan_masked(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 10.0))
    with pyro.plate("rows", len(y)):
        pyro.sample("y", dist.NanMaskedNormal(mu, 1.0), obs=y)


def masked(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 10.0))
    seen = ~y.isnan()
    with pyro.plate("rows", len(y)), pyro.poutine.mask(mask=seen):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y.nan_to_num())


def masked_distribution(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 10.0))
    with pyro.plate("rows", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0).mask(~y.isnan()), obs=y.nan_to_num())


def unmasked(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 10.0))
    with pyro.plate("rows", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


@pytest.mark.parametrize("model", [nan_masked, masked, masked_distribution])
@given(st.sets(st.integers(0, 9), max_size=7))
def test_what_the_model_handles_passes(model, missing):
    y = torch.arange(10.0)
    seen = torch.tensor([i not in missing for i in range(10)])
    with_gaps = torch.where(seen, y, NAN)
    pyro.set_rng_seed(0)
    run = fit((model, AutoNormal(model)), with_gaps, steps=2, seed=1, progress=False)
    pyro.clear_param_store()
    pyro.set_rng_seed(1)
    svi = pyro.infer.SVI(model, AutoNormal(model), pyro.optim.Adam({"lr": 1e-3}), pyro.infer.Trace_ELBO())
    stock = [-svi.step(with_gaps) / 10 for _ in range(2)]
    pyro.clear_param_store()
    assert [record["train_elbo"] for record in run.history] == pytest.approx(stock, rel=1e-5)


@pytest.mark.parametrize("model", [nan_masked, masked, masked_distribution])
def test_the_posterior_is_of_the_rows_that_are_there(model, seed):
    y = torch.tensor([1.0, NAN, 3.0, NAN, 5.0] * 6)
    options = {"steps": 1500, "optimizer": adam(0.05), "schedule": cosine(1500), "progress": False}
    run = fit((model, AutoNormal(model)), y, seed=seed, **options)
    draws = posterior(run, y, 2000, seed=seed)["mu"]
    assert abs(float(draws.mean()) - 3.0) < 0.05
    assert abs(float(draws.std()) * 18**0.5 - 1) < 0.15


@pytest.mark.parametrize("value", [NAN, float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "program",
    [lambda: (unmasked, AutoNormal(unmasked)), lambda: PPCA(2, 1), lambda: VAE((2,), 1, likelihood=Gaussian())],
    ids=["pair", "PPCA", "VAE"],
)
def test_what_the_model_does_not_handle_is_refused(program, value):
    made = program()
    x = torch.zeros(20, 2) if not isinstance(made, tuple) else torch.zeros(20)
    x[3] = value
    with pytest.raises(ValueError, match=r"NaN or infinite values in 1 of 20 rows, first in row 3"):
        fit(made, x, steps=1, progress=False)
    with pytest.raises(ValueError, match=r"validation: column .* has NaN or infinite values"):
        fit(program(), torch.zeros_like(x), validation=x, steps=1, progress=False)


def test_predictions_refuse_what_the_model_does_not_handle():
    x = torch.randn(20, 2)
    run = fit(PPCA(2, 1), x, epochs=1, progress=False)
    x[0, 0] = NAN
    for predict in (posterior, log_likelihood):
        with pytest.raises(ValueError, match="NaN or infinite values in 1 of 20 rows"):
            predict(run, x, 5)
