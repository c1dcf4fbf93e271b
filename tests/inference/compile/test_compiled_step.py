"""Compiled steps compute what eager ones do, report why steps stay eager, and are checked as they run."""

import json
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
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
from torch.utils.data import DataLoader, TensorDataset

from pyrogen import Story, fit, load
from pyrogen.catalog import CATALOG
from pyrogen.data import Columns
from pyrogen.inference import ImportanceWeightedELBO, TemperedELBO, adam, cosine
from pyrogen.inference.compile import compiled_step, dispatch
from pyrogen.inference.compile.fused_step import FusedStep
from pyrogen.models import VAE
from tests.helpers.stories import Location, Mixture, Topics, coin_guide, coin_model, schools, schools_model


@pytest.fixture(autouse=True)
def cheap(monkeypatch, request):
    """Compile without generating code, unless a test is marked `inductor`."""
    if "inductor" not in request.keywords:
        monkeypatch.setattr(compiled_step, "COMPILER", lambda graph, inputs, *_: graph)


def counts(rows=60):
    return torch.poisson(torch.full((rows, 10), 2.0), generator=torch.Generator().manual_seed(3))


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


def run(make, data, compile, **options):
    torch.manual_seed(4)
    given = {"batch_size": 20, "steps": 12, "optimizer": adam(0.01), **options}
    if "objective" in given:
        given["objective"] = given["objective"]()
    return fit(make(), data(), compile=compile, **given)


def agree(one, other, tolerance=1e-5):
    for mine, theirs in zip(one.history, other.history, strict=True):
        assert math.isclose(mine["train_elbo"], theirs["train_elbo"], rel_tol=tolerance), mine["epoch"]
    first, second = one.story.trainable(), other.story.trainable()
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.allclose(value, second[name], rtol=1e-4, atol=1e-4), name


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


class Reads(Topics):
    """Reads a tensor's value in Python."""

    def model(self, x, n):
        if self.decoder.weight.sum() > -1e6:
            return super().model(x, n)
        return None


class Masks(Topics):
    """Boolean indexing."""

    def model(self, x, n):
        pyro.factor("positive", -1e-3 * self.decoder.weight[self.decoder.weight > 0].sum())
        return super().model(x, n)


class Loops(Topics):
    """A sequential plate over rows."""

    def model(self, x, n):
        for row in pyro.plate("penalties", 3, subsample_size=2):
            pyro.factor(f"penalty_{int(row)}", -1e-3 * self.decoder.weight.square().sum())
        return super().model(x, n)


class Counts(Topics):
    """A scale that a Python counter turns."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def model(self, x, n):
        self.calls += 1
        with pyro.poutine.scale(scale=1.0 + self.calls / 100):
            return super().model(x, n)


class Turns(Topics):
    """Another scale from the 6th call on."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def model(self, x, n):
        self.calls += 1
        with pyro.poutine.scale(scale=1.0 if self.calls < 6 else 2.0):
            return super().model(x, n)


class Numpy(Topics):
    """Noise of numpy's, which a graph would repeat."""

    def model(self, x, n):
        pyro.factor("noise", np.random.standard_normal() * self.decoder.weight.sum())  # noqa: NPY002
        return super().model(x, n)


class Leaves(Topics):
    """A tensor's values go through numpy."""

    def guide(self, x, n):
        return super().guide(torch.from_numpy(np.minimum(x.numpy(), 5.0)), n)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Numpy, "numpy's or Python's random numbers"),
        (Leaves, "values out of torch"),
        (Reads, "reads the value of a tensor"),
        (Masks, "boolean indexing"),
        (Loops, "reads the value of a tensor"),
        (lambda: Topics(), "TraceGraph_ELBO has no differentiable loss"),
    ],
    ids=["numpy", "leaves", "item", "mask", "loop", "objective"],
)
def test_what_cannot_be_traced_trains_eagerly_with_one_warning(make, reason, monkeypatch):
    monkeypatch.setattr("pyrogen.inference.training.defaults.MIN_STEPS_TO_COMPILE", 1)
    options = {"objective": TraceGraph_ELBO} if "TraceGraph" in reason else {}
    with pytest.warns(UserWarning, match=reason) as caught:
        fast = run(make, counts, "auto", **options)
    assert fast.mode == "eager"
    assert reason in fast.mode_reason
    assert len([w for w in caught if "not compiled" in str(w.message)]) == 1
    agree(fast, run(make, counts, False, **options), 1e-12)
    with pytest.raises(ValueError, match=f"compile=True.*{reason}"):
        run(make, counts, True, **options)


def test_without_a_cpp_compiler_steps_are_eager(monkeypatch):
    monkeypatch.setattr("pyrogen.inference.training.defaults.MIN_STEPS_TO_COMPILE", 1)

    def refused(*_, **__):
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(compiled_step, "COMPILER", refused)
    with pytest.warns(UserWarning, match="no C\\+\\+ compiler here"):
        fast = run(Topics, counts, "auto")
    agree(fast, run(Topics, counts, False), 1e-12)


def test_a_program_that_reads_changing_python_state_is_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"the compiled step differs from the eager one: .*Python state"):
        run(Counts, counts, True)
    with pytest.raises(
        RuntimeError, match=r"at step \d+ the compiled step differs from the eager one: the loss is .*compile=False"
    ):
        run(Turns, counts, True, steps=100)


def test_a_short_run_is_not_compiled():
    short = run(Topics, counts, "auto")
    assert (short.mode, "less than 20,000 steps" in short.mode_reason) == ("eager", True)


def test_a_second_size_of_batch_is_compiled_after_some_eager_steps(monkeypatch):
    monkeypatch.setattr(dispatch, "RECOMPILE_AFTER", 2)
    sizes = []
    compile_step = dispatch.compile_step
    monkeypatch.setattr(
        dispatch, "compile_step", lambda step, batch: sizes.append(batch.n) or compile_step(step, batch)
    )
    eager, fast = (run(Topics, lambda: counts(50), compile, steps=None, epochs=5) for compile in (False, True))
    assert sizes == [20, 10]
    agree(fast, eager)


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


def step_by_step(fit, record):
    """A callback is called after every epoch, so that the steps of whole data are taken one at a time."""


def count_steps_per_call(monkeypatch):
    """How many steps each call of `FusedStep.run_steps` took, filled in as it is called."""
    numbers, run_steps = [], FusedStep.run_steps

    def counted(self, batch, max_steps):
        losses = run_steps(self, batch, max_steps)
        numbers.append(len(losses))
        return losses

    monkeypatch.setattr(FusedStep, "run_steps", counted)
    monkeypatch.setattr("pyrogen.inference.compile.fused_step.MAX_SECONDS_PER_CALL", 600.0)
    return numbers


def test_steps_on_whole_data_run_many_per_call_and_are_equal_to_the_bit(monkeypatch, tmp_path):
    options = {"batch_size": 60, "ema": 0.9, "clip_norm": 1.0, "steps": None}
    single = run(Topics, counts, True, epochs=400, callbacks=[step_by_step], **options)
    numbers = count_steps_per_call(monkeypatch)
    whole = run(Topics, counts, True, epochs=400, out=tmp_path / "whole", **options)
    assert max(numbers) == 100
    assert sum(numbers) > 380
    assert len(numbers) < 30
    run(Topics, counts, True, epochs=137, out=tmp_path / "parts", **options)
    parts = run(Topics, counts, True, epochs=400, out=tmp_path / "parts", resume=True, **options)
    records = [json.loads(line) for line in (tmp_path / "parts" / "history.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [*range(1, 401)]
    for other in (single, parts):
        for mine, theirs in zip(whole.history, other.history, strict=True):
            assert {**mine, "seconds": 0} == {**theirs, "seconds": 0}
        for name, value in whole.story.state_dict().items():
            assert torch.equal(value, other.story.state_dict()[name]), name


class Strays(Story):
    """The scale of x stops being a number once the parameter is past 0.3."""

    def __init__(self):
        super().__init__()
        self.middle = nn.Parameter(torch.zeros(()))

    def model(self, x, n):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("data", n):
            scale = (0.3 - self.middle.detach()).sqrt()
            pyro.sample("x", dist.Normal(self.middle + 0.1 * z, scale, validate_args=False), obs=x)

    def guide(self, x, n):
        pyro.sample("z", dist.Normal(0.0, 1.0))


def test_a_loss_that_is_not_finite_within_a_call_stops_at_its_step(monkeypatch, tmp_path):
    messages, stories, histories = [], [], []
    for how, callbacks in (("one", [step_by_step]), ("many", [])):
        numbers = count_steps_per_call(monkeypatch)
        stories.append(Strays())
        options = {"steps": 200, "callbacks": callbacks, "out": tmp_path / how}
        with pytest.raises(FloatingPointError, match="site 'x'") as caught:
            run(lambda: stories[-1], lambda: torch.full((20,), 5.0), True, **options)
        messages.append(str(caught.value))
        records = [json.loads(line) for line in (tmp_path / how / "history.jsonl").read_text().splitlines()]
        histories.append([{**record, "seconds": 0} for record in records])
    assert max(numbers) > 1
    assert messages[0] == messages[1]
    assert histories[0] == histories[1]
    assert torch.equal(stories[0].middle, stories[1].middle)


def test_a_call_of_slow_steps_ends_in_time(monkeypatch):
    numbers = count_steps_per_call(monkeypatch)
    monkeypatch.setattr("pyrogen.inference.compile.fused_step.MAX_SECONDS_PER_CALL", 1e-9)
    run(Topics, counts, True, batch_size=60, steps=None, epochs=40)
    assert set(numbers) <= {0, 1}
    assert sum(numbers) > 30


def untraceable(columns):
    """Fresh noise on the rows, by a transform that cannot be traced."""
    noisy = torch.poisson(columns["x"] + 0.5)
    return {"x": noisy if noisy.sum() >= 0 else noisy + 1}


def test_a_transform_that_cannot_be_traced_runs_before_the_compiled_step(tmp_path):
    make = lambda: Columns({"x": counts(50)}, untraceable)  # noqa: E731
    options = {"steps": None, "out": tmp_path / "whole"}
    whole = run(Topics, make, True, epochs=6, **options)
    assert whole.mode == "compiled"
    agree(whole, run(Topics, make, False, epochs=6, steps=None))
    run(Topics, make, True, epochs=2, **{**options, "out": tmp_path / "parts"})
    parts = run(Topics, make, True, epochs=6, resume=True, **{**options, "out": tmp_path / "parts"})
    for name, value in whole.story.state_dict().items():
        assert torch.equal(value, parts.story.state_dict()[name]), name


def test_parameters_whose_storage_a_callback_replaces_keep_training():
    def bound(fit, record):
        for parameter in fit.story.parameters():
            parameter.data = parameter.data.clamp(-0.3, 0.3)

    eager, fast = (run(Topics, counts, c, steps=None, epochs=6, callbacks=[bound]) for c in (False, True))
    assert fast.mode == "compiled"
    agree(fast, eager)


def test_a_resumed_run_keeps_its_mode(monkeypatch, tmp_path):
    run(Topics, counts, "auto", steps=None, epochs=1, out=tmp_path)
    monkeypatch.setattr("pyrogen.inference.training.defaults.MIN_STEPS_TO_COMPILE", 1)
    again = run(Topics, counts, "auto", steps=None, epochs=3, out=tmp_path, resume=True)
    assert again.mode == "eager"


def test_a_run_directory_holds_the_mode_of_its_steps(tmp_path):
    run(Topics, counts, True, out=tmp_path)
    assert load(tmp_path, into=Topics()).mode == "compiled"
    again = run(Topics, counts, True, out=tmp_path, resume=True)  # it is finished: no step is taken
    assert (again.mode, load(tmp_path, into=again.story).mode) == ("compiled", "compiled")


def test_parameters_own_their_storage_after_training():
    story = run(Topics, counts, True).story
    assert {p.untyped_storage().nbytes() for p in story.parameters()} == {
        p.numel() * p.element_size() for p in story.parameters()
    }


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


class Cancelling(Story):
    """Two terms whose gradients, of some 10^6, cancel but for 1: a last digit of them is a tenth of what is left."""

    def __init__(self, large):
        super().__init__()
        self.large, self.weight = large, nn.Parameter(torch.linspace(1, 2, 50))

    def model(self, x, n):
        up, down = (self.weight * 3.1) ** 2 * (self.large / 9.61), self.weight**2 * self.large
        with pyro.plate("data", n):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)
        pyro.factor("terms", (up - down + self.weight).sum())

    def guide(self, x, n):
        pass


@pytest.mark.parametrize(("large", "accepted"), [(1e6, True), (1.0, False)])
def test_rounding_is_distinguished_from_a_wrong_program(monkeypatch, large, accepted):
    monkeypatch.setattr("pyrogen.inference.optim.optimizer.MAX_FLAT_PARAMETERS", 0)

    def off(graph, inputs, *_):
        def call(*given):
            loss, *gradients = graph(*given)
            return [loss, *(gradient * 1.2 for gradient in gradients)]

        return call

    monkeypatch.setattr(compiled_step, "COMPILER", off)
    options = {"steps": 3, "optimizer": adam(1e-6), "progress": False}
    if accepted:
        assert fit(Cancelling(large), {"x": torch.zeros(20)}, compile=True, **options).mode == "compiled"
    else:
        with pytest.raises(ValueError, match="differs from the eager one: the gradient of 'weight'"):
            fit(Cancelling(large), {"x": torch.zeros(20)}, compile=True, **options)
