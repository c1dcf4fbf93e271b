"""`fit`: what it takes, what it keeps, and what it leaves as it was."""

import itertools
import math
import random
from types import SimpleNamespace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceGraph_ELBO
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from pyrogen import Story, fit
from pyrogen.data import Columns, DynamicBinarization
from pyrogen.distributions import Gaussian
from pyrogen.inference import TemperedELBO, adam, constant_with_warmup, cosine, held_out_elbo, log_likelihood
from pyrogen.models import PPCA, VAE
from tests.helpers.statistics import assert_within
from tests.helpers.stories import Location, Mixture, Topics


def counts(n=60):
    return torch.poisson(torch.full((n, 10), 2.0))


def test_the_callers_world_is_as_it_was():
    story = Topics()
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    fit(story, counts_fixed(), epochs=2, precision="float64")
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all()  # noqa: NPY002
    assert states[2] == random.getstate()
    assert torch.get_default_dtype() is torch.float32


def counts_fixed():
    return torch.ones(8, 10)


@pytest.mark.parametrize(
    "data",
    [
        lambda x: x,
        lambda x: x.numpy().astype(np.float64),
        lambda x: (x,),
        lambda x: {"x": x, "unused": torch.arange(len(x))},
        lambda x: TensorDataset(x),
        lambda x: DataLoader(TensorDataset(x), batch_size=60, generator=torch.Generator()),
        lambda x: DataLoader([{"x": row} for row in x], batch_size=60, generator=torch.Generator()),
        lambda x: Rows(x),
    ],
    ids=["tensor", "array", "tuple", "columns", "TensorDataset", "loader", "loader of dicts", "Dataset"],
)
def test_every_kind_of_data_trains_to_the_same(data):
    x = counts()
    loaded = isinstance(data(x), DataLoader)
    runs = []
    for columns in ({"x": x}, data(x)):
        torch.manual_seed(3)
        # One batch holds all rows where the orders of a loader and of fit could differ.
        runs.append(fit(Topics(), columns, epochs=3, batch_size=60 if loaded else 20))
    assert runs[1].history[-1]["step"] == (3 if loaded else 9)
    for one, other in zip(*(run.history for run in runs), strict=True):
        assert one["train_elbo"] == pytest.approx(other["train_elbo"], rel=1e-6)


class Rows(Dataset):
    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return {"x": self.x[i]}


def test_the_last_batch_of_another_size_weighs_by_its_rows():
    """Without learning, the figures of an epoch are means over the data, not over batches."""

    def model(x, n):
        with pyro.plate("data", n):
            pyro.sample("x", dist.Normal(pyro.param("loc", torch.tensor(0.0)), 10.0), obs=x)

    x = torch.arange(50.0)
    log_prob = dist.Normal(0.0, 10.0).log_prob(x)
    assert abs((log_prob[:32].mean() + log_prob[32:].mean()) / 2 - log_prob.mean()) > 0.1
    run = fit((model, lambda x, n: None), x, validation=x, epochs=2, batch_size=32, optimizer=adam(0.0))
    assert [record["step"] for record in run.history] == [2, 4]
    for record in run.history:
        assert record["train_elbo"] == pytest.approx(float(log_prob.mean()), rel=1e-6)
        assert record["validation_elbo"] == pytest.approx(float(log_prob.mean()), rel=1e-6)


def test_steps_in_place_of_epochs():
    run = fit(Topics(), counts(60), steps=7, batch_size=20)
    assert [record["step"] for record in run.history] == [3, 6, 7]


def test_default_batch_is_everything_where_a_latent_is_shared():
    run = fit(Location(), torch.randn(500), epochs=2)
    assert run.history[-1]["step"] == 2
    run = fit(Topics(), counts(500), epochs=2)
    assert run.history[-1]["step"] == 8


def test_validation_keeps_the_best_weights_and_patience_stops():
    x = torch.randn(24, 5)
    torch.manual_seed(0)
    story = VAE((5,), 3, likelihood=Gaussian(), hidden=(64,))
    run = fit(story, x[:12], validation=x[12:], epochs=400, optimizer=adam(1e-2), patience=10)
    best = max(run.history, key=lambda record: record["validation_elbo"])
    assert run.best_epoch == best["epoch"]
    assert len(run.history) == run.best_epoch + 10 < 400
    # The weights in place are the best epoch's: measured again, they give its figure.
    again = fit(story, x[:12], validation=x[12:], steps=1, optimizer=adam(0.0))
    assert again.history[0]["validation_elbo"] == pytest.approx(best["validation_elbo"], rel=1e-6)


def test_losses_are_per_datum_however_the_plate_is_written(seed):
    """STORY_NOTES: 1.52 nats for a conjugate mean, by the data plate's rule."""

    def subsampled(x, total, index):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("data", total, subsample=index):
            pyro.sample("x", dist.Normal(mu, 1.0), obs=x)

    def foreign(x, index):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", 400, subsample=index):
            pyro.sample("x", dist.Normal(mu, 1.0), obs=x)

    def scaled(x, n, total):
        with pyro.poutine.scale(scale=n / total):
            mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("data", n):
            pyro.sample("x", dist.Normal(mu, 1.0), obs=x)

    def guide(n, total, shrink=False):
        loc = pyro.param("loc", torch.tensor(0.0))
        scale = pyro.param("scale", torch.tensor(0.1), constraint=dist.constraints.positive)
        pyro.sample("mu", dist.Normal(loc, scale))

    def scaled_guide(n, total):
        with pyro.poutine.scale(scale=n / total):
            guide(n, total)

    x = torch.randn(400) + 0.3
    x = x - x.mean() + 0.3
    precision = 401.0
    mean = x.sum() / precision
    exact = torch.distributions.MultivariateNormal(torch.zeros(400), torch.eye(400) + 1).log_prob(x) / 400
    finals = []
    for model, q in ((subsampled, guide), (foreign, guide), (scaled, scaled_guide)):
        run = fit(
            (model, q), {"x": x}, steps=1500, batch_size=100, optimizer=adam(0.01), schedule=cosine(1500), seed=seed
        )
        finals.append(torch.tensor([record["train_elbo"] for record in run.history[-50:]]).mean())
        store = run.story.trainable()
        assert abs(float(store["loc"].detach()) - float(mean)) < 0.01
        assert abs(float(store["scale"].detach().exp()) - precision**-0.5) < 0.005
    assert_within(torch.stack(finals), exact, 0.0012)


def test_a_clipped_step_is_as_long_as_the_schedule_says_and_the_record_holds_its_rate():
    """The norm of the gradient of the loss per datum is at most `clip_norm`: of SGD's step, the rate times that."""

    def flat(story):
        return torch.cat([p.detach().flatten() for p in story.parameters()])

    def moves(schedule, **options):
        story, path = Topics(), []
        path.append(flat(story))
        options |= {"optimizer": lambda named: torch.optim.SGD(named, lr=0.1 / 60), "clip_norm": 1e-2}
        run = fit(
            story, counts(), epochs=4, schedule=schedule, callbacks=[lambda *_: path.append(flat(story))], **options
        )
        return run, [float((b - a).norm()) for a, b in itertools.pairwise(path)]

    factors = [0.5 * (1 + math.cos(math.pi * t / 4)) for t in range(5)]
    run, lengths = moves(cosine(4))
    assert lengths == pytest.approx([1e-3 * factor for factor in factors[:4]], rel=1e-3)
    assert [60 * record["lr"] for record in run.history] == pytest.approx([0.1 * f for f in factors[1:]], abs=1e-9)
    run, lengths = moves(constant_with_warmup(3))
    assert lengths == pytest.approx([1e-3 * factor for factor in (0.25, 0.5, 0.75, 1.0)], rel=1e-3)
    assert [600 * record["lr"] for record in run.history] == pytest.approx([0.5, 0.75, 1.0, 1.0])


def test_the_record_of_an_epoch():
    run = fit(Topics(), counts(), epochs=3, batch_size=20, validation=counts(20))
    assert [(record["epoch"], record["step"], record["lr"]) for record in run.history] == [
        (1, 3, 1e-3),
        (2, 6, 1e-3),
        (3, 9, 1e-3),
    ]
    for record in run.history:
        assert record.keys() == {"epoch", "step", "train_elbo", "validation_elbo", "seconds", "lr"}
        assert record["seconds"] > 0
        assert record["train_elbo"] < 0
        assert record["validation_elbo"] < 0
    unvalidated = fit(Topics(), counts(), epochs=1).history[0]
    assert unvalidated.keys() == {"epoch", "step", "train_elbo", "seconds", "lr"}


def test_clipping_leaves_small_gradients_as_they_are():
    x, plain, clipped = counts(), Topics(), Topics()
    clipped.load_state_dict(plain.state_dict())
    for story, options in ((plain, {}), (clipped, {"clip_norm": 1e6})):
        fit(story, x, steps=2, **options)
    for name, value in plain.state_dict().items():
        assert torch.allclose(value, clipped.state_dict()[name], rtol=0, atol=1e-7), name


def test_averaged_weights_are_the_average():
    """With decay d the new value weighs 1 - min(d, (1 + t)/(10 + t)) at step t."""
    x, path = counts(), []
    plain, averaged = Topics(), Topics()
    averaged.load_state_dict(plain.state_dict())
    average = plain.decoder.bias.detach().clone()
    fit(plain, x, steps=5, callbacks=[lambda run, _: path.append(run.story.decoder.bias.detach().clone())])
    for t, value in enumerate(path, start=1):
        average = average.lerp(value, 1 - min(0.5, (1 + t) / (10 + t)))
    fit(averaged, x, steps=5, ema=0.5)
    assert torch.allclose(averaged.decoder.bias, average, atol=1e-7)
    assert not torch.allclose(averaged.decoder.bias, plain.decoder.bias)


@pytest.mark.parametrize("frozen", [["decoder"], ["model"], "decoder", ["decoder.weight", "decoder.bias"]])
def test_frozen_parameters_stay(frozen):
    story = Topics()
    before = {name: p.detach().clone() for name, p in story.named_parameters()}
    fit(story, counts(), steps=3, freeze=frozen)
    same = {name for name, p in story.named_parameters() if torch.equal(p, before[name])}
    assert same == {"decoder.weight", "decoder.bias"}


def test_a_callback_ends_the_run_and_works_inside_the_storys_store():
    names = []

    def look(run, record):
        names.append(sorted(pyro.get_param_store().keys()))
        return record["epoch"] == 2

    run = fit(Topics(), counts(), epochs=50, callbacks=[look])
    assert len(run.history) == 2
    assert "decoder$$$weight" in names[0]


def test_arguments_as_constants_and_callables_of_the_step():
    seen = []

    def model(x, n, temperature, step):
        seen.append((temperature, step))
        with pyro.plate("data", n):
            pyro.sample("x", dist.Normal(pyro.param("loc", torch.tensor(0.0)), 1.0), obs=x)

    fit((model, lambda x: None), torch.randn(10), steps=4, arguments={"temperature": 0.5, "step": lambda step: step})
    assert {t for t, _ in seen} == {0.5}
    assert {s for _, s in seen} == {0, 1, 2, 3}


def test_dynamic_binarization_draws_every_batch_anew():
    grey = Columns({"x": torch.full((40, 1, 4, 4), 0.5)}, transform=DynamicBinarization())
    seen = []

    class Watching(VAE):
        def model(self, x, n):
            seen.append(x.clone())
            return super().model(x, n)

    fit(Watching((1, 4, 4), 2, hidden=(8,)), grey, epochs=3, batch_size=40)
    assert set(torch.stack(seen[-3:]).unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(seen[-1], seen[-2])


def test_precisions():
    x = (torch.rand(64, 1, 8, 8) < 0.4).float()
    double = fit(VAE((1, 8, 8), 2, hidden=(32,)), x, epochs=3, precision="float64")
    assert double.story.encoder.layers[-1].weight.dtype is torch.float64
    torch.manual_seed(1)
    full = fit(VAE((1, 8, 8), 2, hidden=(32,)), x, epochs=20)
    torch.manual_seed(1)
    half = fit(VAE((1, 8, 8), 2, hidden=(32,)), x, epochs=20, precision="bfloat16")
    assert half.history[-1]["train_elbo"] == pytest.approx(full.history[-1]["train_elbo"], rel=0.01)
    assert half.history[-1]["train_elbo"] != full.history[-1]["train_elbo"]
    with pytest.raises(ValueError, match="pass precision='float64'"):
        fit(PPCA(4, 1).double(), torch.randn(10, 4), steps=1)


def test_any_optimizer_from_named_parameters():
    names = []

    def sgd(named):
        named = list(named)
        names.extend(name for name, _ in named)
        return torch.optim.SGD(named, lr=1e-4)

    fit(Topics(), counts(), steps=2, optimizer=sgd)
    assert names == ["decoder.weight", "decoder.bias", "encoder.weight", "encoder.bias"]


def test_lazy_modules():
    class Lazy(Topics):
        def __init__(self):
            super().__init__()
            self.encoder = nn.LazyLinear(6)

    run = fit(Lazy(), counts(), epochs=2)
    assert run.story.encoder.weight.shape == (6, 10)


def test_parameters_that_come_later_join():
    class Growing(Story):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def model(self, x, n):
            self.calls += 1
            loc = pyro.param("loc", torch.tensor(0.0))
            if self.calls > 4:
                loc = loc + pyro.param("late", torch.tensor(0.0))
            with pyro.plate("data", n):
                pyro.sample("x", dist.Normal(loc, 1.0), obs=x)

        def guide(self, x):
            pass

    run = fit(Growing(), torch.randn(10) + 3, steps=50, optimizer=adam(0.05))
    assert float(run.story.trainable()["late"].detach()) > 0.2


def test_prepare_sees_the_training_columns_once_and_without_steps_is_the_whole_fit(tmp_path):
    class Mean(Story):
        unsupported = {"steps": "its mean is known in closed form"}

        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(()))

        def prepare(self, data):
            self.mean.copy_(data["x"].mean())

        def model(self, x, n):
            with pyro.plate("data", n):
                return pyro.sample("x", dist.Normal(self.mean, 1.0), obs=x)

        def guide(self, x):
            pass

    x = torch.randn(50) + 2
    run = fit(Mean(), x, out=tmp_path / "run")
    assert torch.allclose(run.story.mean, x.mean())
    assert run.history == []
    assert (tmp_path / "run" / "weights.safetensors").exists()
    again = fit(Mean(), x, out=tmp_path / "run", resume=True)
    assert torch.equal(again.story.mean, run.story.mean)


def test_repr_says_what_was_reached():
    assert repr(fit(Mixture(), torch.randn(20), epochs=2)).startswith("Fit(Mixture, epochs=2, train_elbo=-")


def test_a_story_fitted_in_float64_is_used_in_float64():
    run = fit(Topics(), counts(), validation=counts(20), epochs=1, precision="float64")
    assert run.story.sample(3).dtype is torch.float64
    assert log_likelihood(run, counts(20), 3).value.dtype is torch.float64
    assert held_out_elbo(run, counts(20), 2)[0] < 0


def test_old_gradients_do_not_enter_the_first_step():
    moved = []
    for stale in (False, True):
        torch.manual_seed(1)
        story = Topics()
        if stale:
            for parameter in story.parameters():
                parameter.grad = torch.full_like(parameter, 1e3)
        fit(story, torch.ones(5, 10), steps=1, objective=TraceGraph_ELBO())
        moved.append(story.decoder.bias.detach().clone())
    assert torch.equal(*moved)


def test_weights_of_another_memory_layout_train():
    class Conv(Story):
        def __init__(self):
            super().__init__()
            self.net = nn.Conv2d(2, 2, 3, padding=1).to(memory_format=torch.channels_last)

        def model(self, x, n):
            with pyro.plate("data", n):
                pyro.sample("x", dist.Normal(self.net(torch.ones_like(x)), 1.0).to_event(3), obs=x)

        def guide(self, x):
            pass

    story = Conv()
    before = story.net.weight.detach().clone()
    fit(story, torch.randn(4, 2, 5, 5), steps=2)
    assert not torch.equal(story.net.weight, before)


def test_a_validation_figure_that_is_not_a_number_is_not_the_best():
    def model(x, n, calls=[]):  # noqa: B006 - counts its calls
        with pyro.plate("data", n):
            pyro.sample("x", dist.Normal(pyro.param("loc", torch.tensor(0.0)), 1.0), obs=x)

    elbos = iter([float("nan"), -3.0, -2.0])

    class Scripted(TemperedELBO):
        """The validation ELBO is what the test says."""

        def evaluation(self):
            return SimpleNamespace(loss=lambda *_: -2 * next(elbos))

    run = fit((model, lambda x: None), torch.ones(4), validation=torch.ones(2), epochs=3, objective=Scripted())
    assert [record["validation_elbo"] for record in run.history[1:]] == [-3.0, -2.0]
    assert run.best_epoch == 3


def test_networks_in_lists_give_full_precision_under_autocast():
    dtypes = []

    class Listed(Topics):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(3, 10)])
            self.decoder.in_features = 3

        def model(self, x, n):
            with pyro.plate("data", n):
                z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
                rate = self.layers[0](z) + self.decoder(z)
                dtypes.append(rate.dtype)
                return pyro.sample("x", dist.Poisson(rate.exp()).to_event(1), obs=x)

    fit(Listed(), counts(), steps=2, precision="bfloat16")
    assert set(dtypes) == {torch.float32}
