"""Objectives and densities that stock SVI trains: TorchScript, no value by design, no data; Pyro's own settings."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import (
    SVI,
    JitTrace_ELBO,
    JitTraceGraph_ELBO,
    JitTraceMeanField_ELBO,
    Trace_ELBO,
    TraceTailAdaptive_ELBO,
)
from pyro.infer.autoguide import AutoIAFNormal, AutoMultivariateNormal, AutoNormal, AutoNormalMessenger
from pyro.nn import PyroModule, PyroParam

from pyrogen import fit, load
from pyrogen.inference import adam, cosine, posterior
from pyrogen.models import PPCA

X = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
Y = X @ torch.tensor([1.0, -1.0, 2.0])
EXACT = torch.linalg.solve(X.T @ X * 4 + torch.eye(3), X.T @ Y * 4)
WIDTH = torch.linalg.inv(X.T @ X * 4 + torch.eye(3)).diagonal().sqrt()


def model(x, y):
    b = pyro.sample("b", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal((x * b.unsqueeze(-2)).sum(-1) if b.dim() > 1 else x @ b, 0.5), obs=y)


def batched(x, y, total, index):
    b = pyro.sample("b", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    with pyro.plate("data", total, subsample=index):
        pyro.sample("y", dist.Normal(x @ b, 0.5), obs=y)


@pytest.mark.filterwarnings("ignore:.*:torch.jit.TracerWarning", "ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize(
    "objective", [JitTrace_ELBO, JitTraceGraph_ELBO, pytest.param(JitTraceMeanField_ELBO, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("batch_size", [60, 25])
def test_torchscript_objectives(objective, batch_size):
    program = model if batch_size == 60 else batched
    steps = 900 if batch_size == 60 else 1500
    run = fit(
        (program, AutoMultivariateNormal(program)),
        {"x": X, "y": Y},
        steps=steps,
        batch_size=batch_size,
        objective=objective(),
        optimizer=adam(0.05),
        schedule=cosine(steps),
        progress=False,
    )
    draws = posterior(run, {"x": X, "y": Y}, 2000, seed=0)["b"]
    assert float(((draws.mean(0) - EXACT) / WIDTH).abs().max()) < 0.4
    assert float((draws.std(0) / WIDTH - 1).abs().max()) < 0.25
    assert "TorchScript" in run.mode_reason


@pytest.mark.parametrize("particles", [2, 20])
def test_an_objective_without_a_value(tmp_path, particles):
    def tail_adaptive():
        return TraceTailAdaptive_ELBO(num_particles=particles, vectorize_particles=True)

    pyro.clear_param_store()
    pyro.set_rng_seed(1)
    guide = AutoNormal(model)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), tail_adaptive())
    for _ in range(5):
        svi.step(X, Y)
    stock = guide.locs.b.detach().clone()
    pyro.clear_param_store()
    mine = AutoNormal(model)
    options = {"objective": tail_adaptive(), "optimizer": adam(0.01), "seed": 1, "compile": False, "progress": False}
    run = fit((model, mine), {"x": X, "y": Y}, steps=5, out=tmp_path / "run", **options)
    assert torch.allclose(mine.locs.b.detach(), stock, atol=1e-5)
    assert "train_elbo" not in run.history[-1]
    assert len(load(tmp_path / "run", into=(model, AutoNormal(model))).history) == 5


def funnel():
    scale = pyro.sample("log_scale", dist.Normal(0.0, 1.0))
    return pyro.sample("z", dist.Normal(scale, 0.5))


@pytest.mark.parametrize("data", [None, {}, torch.zeros(1)], ids=["None", "empty", "a row"])
@pytest.mark.parametrize("make", [AutoMultivariateNormal, AutoIAFNormal])
def test_a_density_without_data(data, make):
    pyro.clear_param_store()
    pyro.set_rng_seed(2)
    svi = SVI(funnel, make(funnel), pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())
    stock = [-svi.step() for _ in range(3)]
    pyro.clear_param_store()
    run = fit((funnel, make(funnel)), data, steps=3, seed=2, compile=False, progress=False)
    assert [record["train_elbo"] for record in run.history] == pytest.approx(stock, rel=1e-4, abs=1e-5)
    assert posterior(run, data, 7)["z"].shape == (7,)
    with pytest.raises(ValueError, match="observes no data"):
        run.story.sample(2)


@pytest.mark.parametrize("data", [None, {}])
def test_a_program_that_takes_data_needs_them(data):
    with pytest.raises((TypeError, ValueError), match="expected"):
        fit((model, AutoNormal(model)), data, steps=1)


class Regression(PyroModule):
    def __init__(self):
        super().__init__()
        self.noise = PyroParam(torch.tensor(1.0), constraint=dist.constraints.positive)

    def forward(self, x, y):
        b = pyro.sample("b", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Normal(x @ b, self.noise), obs=y)


@pytest.fixture
def module_local_params():
    pyro.settings.set(module_local_params=True)
    yield
    pyro.settings.set(module_local_params=False)


@pytest.mark.usefixtures("module_local_params")
@pytest.mark.parametrize("program", [lambda: model, Regression], ids=["function", "module"])
@pytest.mark.parametrize("make", [AutoNormal, AutoNormalMessenger])
def test_module_local_params(tmp_path, program, make):
    one = program()
    pyro.set_rng_seed(2)
    svi = SVI(one, make(one), pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())
    stock = [-svi.step(X, Y) / 60 for _ in range(3)]
    other = program()
    run = fit((other, make(other)), {"x": X, "y": Y}, steps=3, seed=2, compile=False, progress=False)
    assert [record["train_elbo"] for record in run.history] == pytest.approx(stock, rel=1e-5)
    run.save(tmp_path / "run")
    third = program()
    back = load(tmp_path / "run", into=(third, make(third)))
    mine, theirs = (posterior(r, {"x": X, "y": Y}, 5, seed=0)["b"] for r in (run, back))
    assert torch.equal(mine, theirs)


@pytest.mark.usefixtures("module_local_params")
def test_a_story_and_its_run_folder_are_the_same_under_module_local_params(tmp_path):
    def densities(out):
        torch.manual_seed(0)
        story = PPCA(3, 1)
        fit(story, X, steps=4, batch_size=16, out=out, progress=False)
        fit(PPCA(3, 1), X, steps=8, batch_size=16, out=out, resume=True, progress=False)
        return load(out).story.log_prob(X)

    local = densities(tmp_path / "local")
    pyro.settings.set(module_local_params=False)
    assert torch.equal(densities(tmp_path / "plain"), local)
    assert torch.equal(load(tmp_path / "local").story.log_prob(X), local)
