"""Compiled steps compute what eager ones do."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO
from pyro.infer.autoguide import (
    AutoDelta,
    AutoDiagonalNormal,
    AutoIAFNormal,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
)
from pyro.nn import PyroModule, PyroParam, PyroSample
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.data import DataLoader, TensorDataset

from pyrogen import Story, fit
from pyrogen.catalog import CATALOG
from pyrogen.data import Columns
from pyrogen.inference import ImportanceWeightedELBO, TemperedELBO, adam, cosine
from pyrogen.inference.compile import compiled_step
from pyrogen.models import VAE
from tests.helpers.compiled_runs import agree, counts, run
from tests.helpers.stories import Location, Mixture, Topics, coin_guide, coin_model, schools, schools_model


def flips():
    return (torch.arange(60) % 3 == 0).float()


class Switches(Story):
    """x is a sum of hidden switches: no reparameterization."""

    def __init__(self):
        super().__init__()
        self.weight, self.encoder = nn.Parameter(torch.tensor([1.0, 2.0])), nn.Linear(1, 2)

    def model(self, x, n):
        with pyro.plate("data", n):
            z = pyro.sample("z", dist.Bernoulli(torch.full((2,), 0.4)).to_event(1))
            return pyro.sample("x", dist.Normal(z @ self.weight, 0.5), obs=x)

    def guide(self, x, n):
        with pyro.plate("data", n):
            pyro.sample("z", dist.Bernoulli(logits=self.encoder(x[:, None])).to_event(1))


class Normed(Topics):
    """Batch norm and dropout in the encoder."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(10, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 6)
        )


class Bayesian(Story):
    """A regression with a prior on its weights and a constrained scale."""

    def __init__(self):
        super().__init__()
        self.linear = PyroModule[nn.Linear](10, 1)
        self.linear.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, 10]).to_event(2))
        self.linear.bias = PyroSample(dist.Normal(0.0, 1.0).expand([1]).to_event(1))
        self.scale = PyroParam(torch.tensor(1.0), constraint=dist.constraints.positive)
        self.guide = AutoNormal(self.model)

    def model(self, x, total, index):
        mean = self.linear(x).squeeze(-1)
        with pyro.plate("data", total, subsample=index):
            return pyro.sample("y", dist.Normal(mean, self.scale), obs=x.sum(-1))


class Warmed(Topics):
    """A further argument that changes from step to step, as a tensor."""

    def model(self, x, n, weight):
        with pyro.plate("data", n):
            with pyro.poutine.scale(scale=weight):
                z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            return pyro.sample("x", dist.Poisson(self.decoder(z).exp()).to_event(1), obs=x)


def weight_at(step):
    return torch.tensor(0.1 + step / 20)


def auto(kind):
    return lambda: (schools_model, kind(schools_model))


def loader():
    return DataLoader(TensorDataset(counts()), batch_size=20)


def flipped(columns):
    return {"x": torch.bernoulli(columns["x"] / 12)}


def pixels():
    return (torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(1)) < 0.5).float()


PROGRAMS = {
    "story": (Topics, counts, {}),
    "mean_field": (Topics, counts, {"objective": TraceMeanField_ELBO}),
    "particles": (Topics, counts, {"objective": lambda: Trace_ELBO(num_particles=3)}),
    "vectorized": (
        Topics,
        counts,
        {"objective": lambda: Trace_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1)},
    ),
    "tempered": (Topics, counts, {"objective": lambda: TemperedELBO(beta=2.0, warmup=3.0)}),
    "free_bits": (Topics, counts, {"objective": lambda: TemperedELBO(free_bits=0.2, base=TraceMeanField_ELBO())}),
    "iwae": (Topics, counts, {"objective": lambda: ImportanceWeightedELBO(4)}),
    "enumerated": (Mixture, lambda: torch.linspace(-2, 2, 60), {}),
    "reinforce": (Switches, lambda: torch.linspace(0, 3, 60), {}),
    "subsampled": (Location, lambda: torch.linspace(-1, 1, 60), {"batch_size": 20}),
    "bayesian": (Bayesian, counts, {"batch_size": 20}),
    "batch_norm_and_dropout": (Normed, counts, {}),
    "changing_argument": (Warmed, counts, {"arguments": {"weight": weight_at}}),
    "pair_with_constraints": (lambda: (coin_model, coin_guide), flips, {"batch_size": 60}),
    "vae": (lambda: VAE((1, 4, 4), 2, hidden=(16,)), pixels, {}),
    "loader": (Topics, loader, {}),
    "fresh_binarization": (lambda: VAE((10,), 2, hidden=(16,)), lambda: Columns({"x": counts()}, flipped), {}),
    **{
        kind.__name__: (auto(kind), schools, {})
        for kind in (
            AutoNormal,
            AutoDiagonalNormal,
            AutoMultivariateNormal,
            AutoLowRankMultivariateNormal,
            AutoIAFNormal,
            AutoDelta,
        )
    },
}


OPTIMIZERS = {
    "clipped_and_averaged": {"clip_norm": 0.1, "ema": 0.9, "schedule": cosine(12, warmup=3)},
    "decayed": {"optimizer": lambda named: torch.optim.AdamW(named, lr=0.01, weight_decay=0.1, fused=True)},
    "penalized": {"optimizer": adam(0.01, weight_decay=0.1)},
    "amsgrad": {"optimizer": adam(0.01, amsgrad=True)},
    "sgd": {"optimizer": lambda named: torch.optim.SGD(named, lr=1e-4, momentum=0.9)},
    "frozen": {"freeze": ["decoder"]},
    "one_cycle": {"schedule": lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, 20)},
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_compiled_steps_compute_what_eager_ones_do(name):
    make, data, options = PROGRAMS[name]
    eager, fast = (run(make, data, compile, **options) for compile in (False, True))
    assert (eager.mode, fast.mode) == ("eager", "compiled")
    agree(fast, eager)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_compiled_steps_compute_what_eager_ones_do_under_each_optimizer(name):
    eager, fast = (run(Topics, counts, compile, **OPTIMIZERS[name]) for compile in (False, True))
    assert fast.mode == "compiled"
    agree(fast, eager)


@pytest.mark.parametrize("name", ["story", "enumerated", "vae"])
@pytest.mark.parametrize("max_flat", [0, 50_000])
@pytest.mark.inductor
def test_through_the_real_compiler(name, max_flat, monkeypatch):
    monkeypatch.setattr("pyrogen.inference.optim.optimizer.MAX_FLAT_PARAMETERS", max_flat)
    make, data, options = PROGRAMS[name]
    agree(*(run(make, data, compile, **options) for compile in (True, False)))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("conditional_vae", "mixture") else pytest.mark.slow)
        for name, entry in CATALOG.items()
        if "steps" not in entry.tiny()[0].unsupported
    ],
)
@pytest.mark.inductor
def test_the_catalog_through_the_real_compiler(name):
    runs = []
    for compile in (True, False):
        torch.manual_seed(5)
        story, data = CATALOG[name].tiny()
        runs.append(fit(story, data, steps=6, compile=compile))
    assert runs[0].mode == "compiled"
    agree(*runs)


def test_double_and_half_precision():
    for precision, tolerance in (("float64", 1e-12), ("bfloat16", 1e-2)):
        eager, fast = (run(Topics, counts, compile, precision=precision) for compile in (False, True))
        assert fast.mode == "compiled"
        agree(fast, eager, tolerance)


def test_a_loss_that_is_not_finite_names_the_site_and_changes_no_parameter():
    class Breaks(Topics):
        def model(self, x, n, bad):
            with pyro.plate("data", n):
                z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
                return pyro.sample(
                    "x", dist.Poisson(self.decoder(z).exp() + bad, validate_args=False).to_event(1), obs=x
                )

    stories = []
    for compile in (False, True):
        story = Breaks()
        stories.append(story)
        bad = lambda step: torch.tensor(math.nan if step == 5 else 0.0)  # noqa: E731
        with pytest.raises(FloatingPointError, match="site 'x'"):
            run(lambda story=story: story, counts, compile, arguments={"bad": bad})
    for parameter in stories[1].parameters():
        assert torch.isfinite(parameter).all()


@pytest.mark.parametrize("max_flat", [0, 50_000])
def test_resumed_compiled_runs_are_equal_to_the_bit(max_flat, monkeypatch, tmp_path):
    monkeypatch.setattr("pyrogen.inference.optim.optimizer.MAX_FLAT_PARAMETERS", max_flat)
    options = {"ema": 0.9, "schedule": cosine(30), "clip_norm": 1.0, "steps": None}
    whole = run(Normed, lambda: counts(50), True, epochs=6, out=tmp_path / "whole", **options)
    run(Normed, lambda: counts(50), True, epochs=2, out=tmp_path / "parts", **options)
    parts = run(Normed, lambda: counts(50), True, epochs=6, out=tmp_path / "parts", resume=True, **options)
    assert parts.mode == "compiled"
    for mine, theirs in zip(parts.history, whole.history, strict=True):
        assert {**mine, "seconds": 0} == {**theirs, "seconds": 0}
    for name, value in whole.story.state_dict().items():
        assert torch.equal(value, parts.story.state_dict()[name]), name


def test_the_enumerated_expectation_is_pyros():
    """An enumerated guide, whose costs are weighted by probabilities that may be 0."""

    class Guided(Mixture):
        def __init__(self):
            super().__init__()
            self.choice = nn.Parameter(torch.zeros(60, 2))

        def guide(self, x, n, index):
            with pyro.plate("data", n):
                pyro.sample("k", dist.Categorical(logits=self.choice[index]), infer={"enumerate": "parallel"})

    options = {"objective": TraceEnum_ELBO}
    fast, eager = (run(Guided, lambda: torch.linspace(-2, 2, 60), c, **options) for c in (True, False))
    assert fast.mode == "compiled"
    agree(fast, eager)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_cuda_graphs_of_inductor_are_used_on_cuda_alone(device, monkeypatch):
    """On fake tensors, which need no device."""
    seen, iterations = [], []

    def compile(module, inputs, options):
        seen.append(options)
        return module

    monkeypatch.setattr("torch._inductor.compile", compile)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: iterations.append(1))
    with FakeTensorMode():
        x = torch.ones(3, device=device)
        call = compiled_step.inductor(make_fx(lambda x: [x + 1])(x), [x])
        call(x)
    assert [each.get("triton.cudagraphs", False) for each in seen] == [device == "cuda"]
    assert len(iterations) == (device == "cuda")
