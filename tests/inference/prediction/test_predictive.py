"""Draws by site name: at new covariates, with the response left out; detached from parameters."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro.infer import SVI, Predictive, Trace_ELBO, config_enumerate
from pyro.infer.autoguide import AutoDelta, AutoLaplaceApproximation, AutoNormal
from torch import nn

from pyrogen import Story, fit
from pyrogen.diagnostics import loo, to_datatree
from pyrogen.inference import (
    codes,
    decode,
    encode,
    held_out_elbo,
    log_weights,
    posterior,
    posterior_predictive,
    prior,
    prior_predictive,
    reconstruct,
)

X = torch.linspace(-2, 2, 30)
DATA = {"x": X, "y": 2 * X}
NEW = torch.linspace(-1, 1, 5)


def default(x, y=None):
    w = pyro.sample("w", dist.Normal(0.0, 5.0))
    with pyro.plate("rows", len(x)):
        pyro.sample("y", dist.Normal(w * x, 0.5), obs=y)


def required(x, y):
    default(x, y)


def needs_response(x, y):
    w = pyro.sample("w", dist.Normal(0.0, 5.0))
    with pyro.plate("rows", len(y)):
        pyro.sample("y", dist.Normal(w * x, 0.5), obs=y)


@config_enumerate
def discrete(x, y=None):
    w = pyro.sample("w", dist.Normal(0.0, 5.0))
    with pyro.plate("rows", len(x)):
        pyro.sample("y", dist.Bernoulli(logits=w * x), obs=None if y is None else (y > 0).float())


def several(x, y=None, v=None):
    w = pyro.sample("w", dist.Normal(0.0, 5.0))
    with pyro.plate("rows", len(x)):
        pyro.sample("y", dist.Normal(w * x, 0.5), obs=y)
        pyro.sample("v", dist.Normal(torch.stack([w * x, x], -1), 0.5).to_event(1), obs=v)


def fitted(model, data=DATA, guide=AutoNormal, steps=3):
    return fit((model, guide(model)), data, steps=steps, progress=False)


@pytest.mark.parametrize("model", [default, required, discrete])
@pytest.mark.parametrize(
    "new", [{"x": NEW}, {"x": NEW, "y": None}, NEW, (NEW,), (NEW, None)], ids=["dict", "None", "bare", "tuple", "pair"]
)
@pytest.mark.parametrize("training", [DATA, tuple(DATA.values())], ids=["named", "unnamed"])
def test_a_response_that_is_left_out_is_drawn(model, new, training):
    run = fitted(model, training)
    for draws in (posterior_predictive(run, new, 4), prior_predictive(run, new, 4)):
        assert {name: tuple(value.shape) for name, value in draws.items()} == {"y": (4, 5)}
    for latents in (posterior(run, new, 4), prior(run, new, 4)):
        assert list(latents) == ["w"]


@pytest.mark.parametrize("model", [default, required])
def test_predictions_are_those_of_stock_pyro(model):
    guide = AutoNormal(model)
    run = fit((model, guide), DATA, steps=3, progress=False)
    with run.story.param_store_scope(), torch.no_grad():
        torch.manual_seed(3)
        stock = Predictive(model, guide=guide, num_samples=2000)(NEW, None)["y"]
    ours = posterior_predictive(run, {"x": NEW}, 2000, seed=5)["y"]
    error = (stock.var(0) / 1000).sqrt()
    assert ((ours.mean(0) - stock.mean(0)).abs() < 4.3 * error).all()
    assert torch.allclose(ours.std(0), stock.std(0), rtol=0.15)


@given(st.integers(1, 9), st.sampled_from([("y",), ("v",), ("y", "v")]))
@settings(max_examples=12, deadline=None)
def test_any_of_several_responses_may_be_left_out(n, left_out):
    run = fitted(several, {**DATA, "v": torch.randn(30, 2)}, steps=1)
    new = {"x": torch.randn(n), "y": torch.randn(n), "v": torch.randn(n, 2)}
    new = {name: column for name, column in new.items() if name not in left_out}
    draws = posterior_predictive(run, new, 2)
    assert {name: tuple(value.shape) for name, value in draws.items()} == {"y": (2, n), "v": (2, n, 2)}
    tree = to_datatree(run, new, 2)
    assert {"posterior", "posterior_predictive", "prior", "prior_predictive"} <= set(tree.children)
    assert not {"log_likelihood", "sample_stats", "importance"} & set(tree.children)
    given = set(tree["observed_data"].data_vars) if "observed_data" in tree.children else set()
    assert given == {"y", "v"} - set(left_out)


def test_a_pair_that_stock_trained_draws_its_response():
    pyro.clear_param_store()
    for model in (required, discrete):
        guide = AutoNormal(model)
        SVI(model, guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO()).step(X, 2 * X)
        assert posterior_predictive((model, guide), {"x": NEW}, 3)["y"].shape == (3, 5)
        assert list(posterior((model, guide), {"x": NEW}, 3)) == ["w"]
    pyro.clear_param_store()


class Amortized(Story):
    """A latent of each row, whose guide sees the covariate, or the response."""

    def __init__(self, sees):
        super().__init__()
        self.sees, self.net = sees, nn.Linear(1, 2)

    def model(self, x, y, n):
        with pyro.plate("rows", n):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(z * x, 1.0), obs=y)

    def guide(self, x, y, n):
        mean, log_scale = self.net({"x": x, "y": y}[self.sees].unsqueeze(-1)).unbind(-1)
        with pyro.plate("rows", n):
            pyro.sample("z", dist.Normal(mean, log_scale.exp()))


def test_codes_of_rows_whose_response_is_left_out():
    run = fit(Amortized("x"), DATA, steps=1, progress=False)
    assert encode(run, {"x": NEW}).batch_shape == (5,)
    assert codes(run, {"x": NEW}).shape == (5,)
    assert reconstruct(run, {"x": NEW}).shape == (5,)
    assert posterior(run, {"x": NEW}, 2)["z"].shape == (2, 5)
    full = {"x": NEW, "y": 7 * NEW}
    assert torch.equal(codes(run, {"x": NEW}), codes(run, full))


@pytest.mark.parametrize("ask", [posterior_predictive, prior_predictive, prior, to_datatree])
def test_a_model_that_needs_the_response_says_so(ask):
    with pytest.raises(ValueError, match=r"cannot draw without column 'y' .*accept y=None") as caught:
        ask(fitted(needs_response), {"x": NEW}, 2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ask", [posterior, posterior_predictive, encode, codes, to_datatree])
def test_a_guide_that_needs_the_response_says_so(ask):
    with pytest.raises(ValueError, match=r"Amortized cannot draw without column 'y'"):
        ask(fit(Amortized("y"), DATA, steps=1, progress=False), {"x": NEW})


@pytest.mark.parametrize("ask", [log_weights, loo, held_out_elbo])
@pytest.mark.parametrize("model", [default, discrete])
def test_a_density_is_refused_where_the_response_is_left_out(ask, model):
    with pytest.raises(ValueError, match=r"site 'y'|draws 'y'|observes no|site 'w' sits outside"):
        ask(fitted(model), {"x": NEW})


def test_an_enumerated_response_that_is_left_out_has_no_density():
    def model(x, y=None):
        with pyro.plate("data", len(x)):
            logit = pyro.param("w", torch.tensor(1.0)) * x
            pyro.sample("y", dist.Bernoulli(logits=logit), obs=y, infer={"enumerate": "parallel"})

    run = fit((model, lambda x, y=None: None), {"x": X, "y": (X > 0).float()}, steps=1, progress=False)
    with pytest.raises(ValueError, match="the model observes no data here"):
        log_weights(run, {"x": NEW}, 2)


def test_a_typing_error_is_no_response():
    with pytest.raises(ValueError, match=r"asks for 'x', and the data has no such column \(columns: X"):
        posterior_predictive(fitted(default), {"X": NEW}, 2)
    with pytest.raises(ValueError, match="every column is None"):
        posterior_predictive(fitted(default), {"x": None}, 2)


@pytest.mark.parametrize("ask", [posterior, posterior_predictive, to_datatree])
def test_latents_of_the_training_rows_are_not_those_of_new_rows(ask):
    def model(x, y=None):
        with pyro.plate("rows", len(x)):
            e = pyro.sample("e", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(x + e, 0.5), obs=y)

    with pytest.raises(ValueError, match=r"the guide draws 'e' for its own 30 rows, got 5 rows: pass the rows"):
        ask(fitted(model), {"x": NEW}, 2)


@pytest.mark.parametrize("guide", [AutoDelta, AutoLaplaceApproximation])
def test_draws_do_not_reach_parameters(guide):
    run = fitted(default, guide=guide)
    for ask in (posterior, prior, posterior_predictive, prior_predictive):
        assert not any(value.requires_grad for value in ask(run, DATA, 2).values())


def test_what_is_computed_from_parameters_alone_comes_detached():
    class Rows(Story):
        """Parameters as they are in guide and model."""

        def __init__(self):
            super().__init__()
            self.loc, self.scale, self.noise = (nn.Parameter(torch.ones(30, 3)) for _ in range(3))

        def model(self, x, n):
            with pyro.plate("data", n):
                z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
                pyro.sample("x", dist.Delta(self.noise, event_dim=1).mask(False), obs=x)
                pyro.sample("y", dist.Normal(z, self.noise).to_event(1), obs=x)

        def guide(self, x, n):
            with pyro.plate("data", n):
                pyro.sample("z", dist.Normal(self.loc, self.scale).to_event(1))

    story, x = Rows(), torch.randn(30, 3)
    code = encode(story, x)
    tensors = [code.mean, code.stddev, code.log_prob(x), codes(story, x), *reconstruct(story, x).values()]
    fit(story, x, steps=1, progress=False)
    tensors += [*story.sample(30).values(), *decode(story, x).values()]
    assert not any(tensor.requires_grad for tensor in tensors)
    assert story.loc.requires_grad


def test_the_gaussian_of_a_laplace_approximation_is_drawn_from():
    """Conjugate: w given 30 rows is N(m, s^2), 1/s^2 = 1/25 + sum x^2 / 0.25."""
    guide = AutoLaplaceApproximation(default)
    fit((default, guide), DATA, steps=600, optimizer=lambda p: torch.optim.Adam(p, lr=0.05), progress=False)
    draws = posterior((default, guide.laplace_approximation(X, 2 * X)), DATA, 4000, seed=0)["w"]
    pyro.clear_param_store()
    precision = 1 / 25 + float(X.square().sum()) / 0.25
    assert not draws.requires_grad
    assert abs(float(draws.std()) * precision**0.5 - 1) < 0.05
    assert abs(float(draws.mean()) - 2) < 0.01


def test_sites_that_come_and_go_are_one_line():
    def program(x):
        if torch.rand(()) < 0.5:
            pyro.sample("sometimes", dist.Normal(0.0, 1.0))

    for number in range(3):
        with pytest.raises(ValueError, match="site 'sometimes' is not the same in every draw"):
            posterior((program, program), X, 30, seed=number)
