"""Bad input gets one readable line before the first step."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO
from pyro.infer.autoguide import AutoDelta, AutoNormal
from torch import nn
from torch.utils.data import DataLoader

from pyrogen import Story, fit
from pyrogen.diagnostics import to_datatree
from pyrogen.inference import TensorBoard, adam, cosine
from pyrogen.models import PPCA, VAE
from tests.helpers.stories import Location, Topics, schools, schools_model


def refused(message, story, data, error=ValueError, **options):
    """The error's one line; nothing moved, and Pyro's store is empty."""
    before = {n: p.detach().clone() for n, p in story.named_parameters()} if isinstance(story, nn.Module) else {}
    with pytest.raises(error, match=message) as caught:
        fit(story, data, **{"steps": 2, **options})
    assert "\n" not in str(caught.value)
    for name, value in before.items():
        assert torch.equal(dict(story.named_parameters())[name], value)
    assert len(pyro.get_param_store()) == 0


def images(n=10, size=4):
    return (torch.rand(n, 1, size, size) < 0.5).float()


def vae():
    return VAE((1, 4, 4), 2, hidden=(8,))


def test_a_missing_column_lists_what_there_is():
    refused(r"VAE.* asks for 'x', .*columns: images, y", vae(), {"images": images(), "y": torch.arange(10)})


def test_columns_of_different_lengths():
    refused(r"'y'.*9|9.*'y'", vae(), {"x": images(10), "y": torch.arange(9)})


@pytest.mark.parametrize("data", [torch.zeros(0, 1, 4, 4), {}, {"x": torch.zeros(0, 1, 4, 4)}])
def test_empty_data(data):
    refused(r"no rows|no columns|empty", vae(), data)


def test_values_that_are_not_finite_name_column_rows_and_the_first():
    x = images()
    x[3, 0, 1, 1], x[7, 0, 0, 0] = math.nan, math.inf
    refused(r"column 'x' has NaN or infinite values in 2 of 10 rows, first in row 3", vae(), {"x": x})


def test_grey_values_under_a_bernoulli_likelihood():
    refused(r"binarize=", vae(), {"x": torch.rand(10, 1, 4, 4)})
    story = Plain(dist.Bernoulli(0.5))
    refused(
        r"site 'x': Bernoulli has support \{0, 1\}, but the data lie in .*first bad value 0\.\d+\): pass binarize=",
        story,
        torch.rand(10),
    )


class Plain(Story):
    """x ~ one distribution, shifted by a parameter."""

    def __init__(self, distribution):
        super().__init__()
        self.distribution, self.shift = distribution, nn.Parameter(torch.zeros(()))

    def model(self, x, n):
        with pyro.plate("data", n):
            pyro.sample("y", dist.Normal(self.shift, 1.0), obs=torch.zeros(()))
            pyro.sample("x", self.distribution, obs=x)

    def guide(self, x):
        pass


def test_values_that_a_distribution_cannot_give():
    refused(
        r"site 'x': Poisson has support .*\[-2, 1\] \(first bad value -2\): use a likelihood",
        Plain(dist.Poisson(1.0)),
        torch.tensor([1.0, -2.0]),
    )
    refused(r"site 'x': Exponential has support", Plain(dist.Exponential(1.0)), torch.tensor([1.0, -2.0]))


def test_an_event_shape_the_story_cannot_decode():
    refused(r"VAE.*\(n, 1, 4, 4\).*\(10, 1, 5, 5\)", vae(), {"x": images(size=5)})
    refused(r"PPCA.*got \(10, 3\)", PPCA(4, 2), {"x": torch.randn(10, 3)})
    refused(r"Topics cannot take these columns \(x \(10, 7\) float32\)", Topics(10), {"x": torch.ones(10, 7)})


def test_model_and_guide_that_disagree():
    def model(x, n):
        with pyro.plate("data", n):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + pyro.param("b", torch.tensor(0.0)), 1.0), obs=x)

    def other(x, n):
        with pyro.plate("data", n):
            pyro.sample("u", dist.Normal(pyro.param("m", torch.tensor(0.0)), 1.0))

    refused(r"the model draws 'z' and the guide does not \(guide: u\)", (model, other), torch.randn(5))

    def both(x, n):
        with pyro.plate("data", n):
            pyro.sample("z", dist.Normal(pyro.param("m", torch.tensor(0.0)), 1.0))
            pyro.sample("u", dist.Normal(0.0, 1.0))

    refused(r"the guide draws 'u', which the model does not draw \(model: z\)", (model, both), torch.randn(5))


def test_a_model_that_observes_nothing():
    def model(x, n):
        with pyro.plate("data", n):
            pyro.sample("x", dist.Normal(pyro.param("b", torch.tensor(0.0)), 1.0))

    refused(r"the model draws 'x' and the guide does not|observes no site", (model, lambda x: None), torch.randn(5))


def test_a_parameter_without_a_gradient():
    story = Topics()
    story.unused = nn.Linear(2, 2)
    story.spare = nn.Parameter(torch.zeros(3))
    refused(r"parameter 'spare' receives no gradient .*\(3 of 7 do not\).*freeze=", story, torch.ones(5, 10))
    fit(story, torch.ones(5, 10), steps=1, freeze=["unused", "spare"])


def test_nothing_to_train():
    def model(x, n):
        with pyro.plate("data", n):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    refused("has no parameter to train", (model, lambda x: None), torch.randn(5))
    refused(r"leaves no parameter to train", Topics(), torch.ones(5, 10), freeze=["model", "guide"])
    refused(
        r"freeze: 'decodr' names no submodule or parameter; did you mean 'decoder'",
        Topics(),
        torch.ones(5, 10),
        freeze=["decodr"],
    )


def test_a_device_that_is_not_there():
    refused(r"device 'cuda:93' is not there|device 'cuda:93'", Topics(), torch.ones(5, 10), device="cuda:93")
    refused(r"device is 'gpu': expected auto, cpu, cuda or cuda:1", Topics(), torch.ones(5, 10), device="gpu")


def test_options_that_make_no_sense():
    x = torch.ones(5, 10)
    refused("pass epochs or steps, not both", Topics(), x, epochs=2)
    refused("steps must be a whole number of at least 1, got 0", Topics(), x, steps=0)
    refused("batch_size must be a whole number", Topics(), x, batch_size=1.5)
    refused("patience needs validation data", Topics(), x, patience=3)
    refused("ema must lie between 0 and 1", Topics(), x, ema=1.0)
    refused("clip_norm must be a finite number above 0", Topics(), x, clip_norm=-1)
    refused("clip_norm must be a finite number above 0", Topics(), x, clip_norm=math.inf)
    refused("resume needs the folder", Topics(), x, resume=True)
    refused("compile must be", Topics(), x, compile="yes")
    refused("precision 'half' is unknown, expected one of float32, bfloat16, float64", Topics(), x, precision="half")
    refused("arguments may not be called 'n'", Topics(), x, arguments={"n": 3})
    with pytest.raises(ValueError, match="0 <= warmup < steps"):
        cosine(10, warmup=10)


def test_data_of_another_kind():
    refused("data is a str, expected a tensor", Topics(), "digits", error=TypeError)
    refused("column 'x' is a list, and no array of numbers of equal rows", Topics(), {"x": ["a", "b"]}, error=TypeError)
    refused("gave no batch", Topics(), DataLoader(torch.ones(3, 10), batch_size=8, drop_last=True))


class TestTooNarrow:
    """A latent shared by all data, under batches that the plate does not scale: silently wrong in Pyro."""

    x = torch.randn(10_000, generator=torch.Generator().manual_seed(4)) + 1.0

    def test_an_unscaled_plate_is_refused_with_the_remedy(self):
        remedy = r"'mu' is shared by all data, and batches hold 128 of 10000 rows.*total, subsample=index"
        refused(remedy, Location(subsampled=False), self.x, batch_size=128)

        def model(x):
            mu = pyro.sample("mu", dist.Normal(0.0, 10.0))
            with pyro.plate("data", len(x)):
                pyro.sample("x", dist.Normal(mu, 1.0), obs=x)

        refused(remedy, (model, AutoNormal(model)), self.x, batch_size=128)
        loader = DataLoader(self.x, batch_size=128)
        refused(remedy.replace("subsample=index", "subsample_size=n"), (model, AutoNormal(model)), loader)

    def test_the_remedy_gives_the_right_width(self):
        """Conjugate: the posterior's sd is (10000 + 1/100)^-1/2 = .0100."""
        run = fit(
            Location(),
            self.x,
            batch_size=128,
            steps=4000,
            optimizer=adam(0.05, betas=(0.9, 0.99)),
            schedule=cosine(4000),
        )
        loc, scale = run.story.guide._get_loc_and_scale("mu")
        assert abs(float(scale.detach()) / 0.01 - 1) < 0.1
        assert abs(float(loc.detach()) - float(self.x.mean())) < 0.01

    def test_the_whole_data_set_in_each_step_is_the_other_remedy(self):
        run = fit(
            Location(subsampled=False),
            self.x[:2000],
            steps=2000,
            optimizer=adam(0.05, betas=(0.9, 0.99)),
            schedule=cosine(2000),
        )
        scale = run.story.guide._get_loc_and_scale("mu")[1]
        assert abs(float(scale.detach()) / 2000**-0.5 - 1) < 0.1

    def test_an_autoguide_over_rows_in_batches_is_refused(self):
        class PerRow(Story):
            def __init__(self):
                super().__init__()
                self.guide = AutoDelta(self.model)

            def model(self, x, n):
                with pyro.plate("data", n):
                    z = pyro.sample("z", dist.Normal(0.0, 1.0))
                    pyro.sample("x", dist.Normal(z, 1.0), obs=x)

        refused("AutoDelta would keep its values by their place in the batch", PerRow(), self.x[:1000], batch_size=100)


def test_a_loss_that_turns_non_finite_names_step_and_site(tmp_path):
    class Breaking(Topics):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def model(self, x, n):
            self.calls += 1
            bad = math.nan if self.training and self.calls > 30 else 1.0
            with pyro.plate("data", n):
                z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
                return pyro.sample(
                    "x", dist.Poisson(self.decoder(z * bad).exp(), validate_args=False).to_event(1), obs=x
                )

    story = Breaking()
    with pytest.raises(FloatingPointError, match=r"the loss is nan at step \d+: .*model site 'x'"):
        fit(story, torch.ones(50, 10), epochs=100, batch_size=25, out=tmp_path / "run")
    assert all(torch.isfinite(p).all() for p in story.parameters())


def test_a_program_that_fails_keeps_pyros_own_words_and_the_store():
    def model(x, n):
        pyro.param("left", torch.tensor(1.0))
        with pyro.plate("data", n):
            pyro.sample("x", dist.Normal(0.0, -1.0), obs=x)

    with pytest.raises(ValueError, match="scale"):
        fit((model, lambda x: None), torch.randn(5), steps=2)
    assert len(pyro.get_param_store()) == 0


def test_prepare_needs_columns():
    refused("pass columns instead of a DataLoader", PPCA(3, 1), DataLoader([{"x": row} for row in torch.randn(9, 3)]))


def test_tensorboard_writes_every_figure(tmp_path):
    run = fit(Topics(), torch.ones(20, 10), epochs=2, callbacks=[TensorBoard(tmp_path / "board")])
    assert len(run.history) == 2
    assert list((tmp_path / "board").iterdir())


def test_schools_without_the_reserved_names():
    assert fit((schools_model, AutoNormal(schools_model)), schools(), steps=2).history[0]["step"] == 1


def test_labels_out_of_range_and_other_first_errors_take_one_line():
    class Table(Story):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(3, 1)

        def model(self, x, y, n):
            with pyro.plate("data", n):
                pyro.sample("x", dist.Normal(self.table(y).squeeze(-1), 1.0), obs=x)

        def guide(self, x):
            pass

    wrong = {"x": torch.zeros(4), "y": torch.tensor([0, 1, 7, 2])}
    refused(r"Table cannot take these columns .*y \(4,\) int64 in 0 to 7\): index", Table(), wrong)
    refused(r"Table cannot take these columns", Table(), {"x": torch.zeros(4), "y": torch.rand(4)})


def test_validation_is_checked_at_the_door():
    x = images(20)
    refused(r"validation: .*'x'", vae(), {"x": x}, validation={"y": torch.arange(3)})
    refused(r"validation: .*(5, 16|\(5, 16\))", vae(), x, validation=torch.zeros(5, 16))
    refused(r"validation: .*binarize=", vae(), x, validation=torch.rand(5, 1, 4, 4))
    refused(
        r"validation batches hold 5 of 20 rows", Location(subsampled=False), torch.randn(20), validation=torch.randn(5)
    )


def test_types_of_options():
    x = torch.ones(5, 10)
    bad = {
        "optimizer is a PyroOptim": {"optimizer": pyro.optim.Adam({"lr": 0.1})},
        "optimizer is a Adam": {"optimizer": torch.optim.Adam([torch.zeros(1, requires_grad=True)])},
        "LBFGS evaluates the loss several times": {"optimizer": lambda named: torch.optim.LBFGS([p for _, p in named])},
        "objective is .*expected an instance": {"objective": Trace_ELBO},
        "objective is 'elbo'": {"objective": "elbo"},
        "seed must be a whole number": {"seed": None},
        "clip_norm must be a number": {"clip_norm": "a"},
        r"callbacks\[0\] must be callable": {"callbacks": [3]},
        "schedule must be callable": {"schedule": 3},
        "out must be a path": {"out": 3},
    }
    for message, options in bad.items():
        refused(message, Topics(), x, error=(TypeError, ValueError), **options)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau
    refused("ReduceLROnPlateau needs a metric", Topics(), x, schedule=plateau)


def test_unused_columns_are_not_looked_at():
    x = torch.ones(6, 10)
    run = fit(Topics(), {"x": x, "notes": ["a"] * 6, "nan": torch.full((6,), math.nan)}, steps=1)
    assert list(run.story.training_spec.columns) == ["x"]


def test_a_program_without_gradients():
    class Still(Topics):
        @torch.no_grad()
        def model(self, x, n):
            return super().model(x, n)

        @torch.no_grad()
        def guide(self, x, n):
            return super().guide(x, n)

    refused("receives no gradient", Still(), torch.ones(5, 10))


def test_a_model_of_factors_alone():
    class Factors(Story):
        def __init__(self):
            super().__init__()
            self.loc = nn.Parameter(torch.zeros(()))

        def model(self, x, n):
            with pyro.plate("data", n):
                pyro.factor("fit", -((x - self.loc) ** 2))

        def guide(self, x):
            pass

    assert len(fit(Factors(), torch.ones(5), steps=2).history) == 2


RATES, NOUGHT = torch.tensor([1.0, 3.0]), torch.tensor(0.0)
ZEROS_AND_MORE = torch.where(torch.arange(20) % 3 == 0, 0.0, torch.linspace(0.1, 0.9, 20))
WIDER = {
    "masked mixture": lambda k, r, x: dist.MaskedMixture(x == 0, dist.Gamma(RATES[k], r), dist.Delta(NOUGHT)),
    "masked intervals": lambda k, r, x: dist.MaskedMixture(
        x < 0.5, dist.Uniform(torch.tensor(0.4), RATES[k] + r), dist.Uniform(-RATES[k], torch.tensor(0.5))
    ),
    "zero-inflated": lambda k, r, x: dist.ZeroInflatedPoisson(rate=RATES[k] * r, gate=torch.tensor(0.5)),
    "mixture": lambda k, r, x: dist.MixtureSameFamily(
        dist.Categorical(torch.ones(2)), dist.Normal(RATES[k].unsqueeze(-1) * torch.ones(2), r)
    ),
    "interval": lambda k, r, x: dist.Uniform(-RATES[k] * r, RATES[k]),
    "transformed": lambda k, r, x: dist.TransformedDistribution(
        dist.Uniform(-RATES[k] * r, RATES[k]), [dist.transforms.AffineTransform(0.0, 2.0)]
    ),
}


@pytest.mark.parametrize("name", WIDER)
def test_values_under_a_distribution_with_more_dimensions_than_they(name):
    """The batch shape of an enumerated latent comes before the rows; losses are stock Pyro's."""
    x = torch.arange(20.0) % 4 if name == "zero-inflated" else ZEROS_AND_MORE

    def model(x):
        r = pyro.param("r", torch.tensor(1.0), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(torch.ones(2) / 2), infer={"enumerate": "parallel"})
            pyro.sample("x", WIDER[name](k, r, x), obs=x)

    run = fit((model, lambda x: None), {"x": x}, steps=2, progress=False)
    svi = SVI(model, lambda x: None, pyro.optim.Adam({"lr": 1e-3}), TraceEnum_ELBO(max_plate_nesting=1))
    stock = [-svi.step(x) / 20 for _ in range(2)]
    pyro.clear_param_store()
    assert [record["train_elbo"] for record in run.history] == pytest.approx(stock, rel=1e-5)
    tree = to_datatree(run, {"x": x}, 2)
    assert tree["log_likelihood"]["x"].shape == (1, 2, 20)


def test_a_batch_shape_that_is_a_list():
    """As Pyro's plates give it to a distribution without parameters."""

    def model(x):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("gamma", dist.TruncatedPolyaGamma(torch.tensor(1.0)), obs=x + 0.1)
            pyro.sample("x", dist.Normal(m, 1.0), obs=x)

    run = fit((model, AutoNormal(model)), ZEROS_AND_MORE, steps=1, progress=False)
    tree = to_datatree(run, ZEROS_AND_MORE, 2, groups=["log_likelihood", "observed_data"])  # Pyro cannot draw it
    assert tree["observed_data"]["gamma"].shape == (20,)


def test_values_under_vectorized_particles():
    def model(x):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            uniform = dist.Uniform(m - 10, m + 10)
            pyro.sample("x", dist.MaskedMixture(x == 0, uniform, dist.Delta(torch.tensor(0.0))), obs=x)

    objective = Trace_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1)
    run = fit((model, AutoNormal(model)), ZEROS_AND_MORE, objective=objective, steps=2, progress=False)
    assert math.isfinite(run.history[-1]["train_elbo"])


def test_values_outside_of_a_wider_support_are_still_refused():
    def model(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(torch.ones(2) / 2), infer={"enumerate": "parallel"})
            rate = pyro.param("r", torch.tensor(1.0), constraint=dist.constraints.positive)
            pyro.sample("x", dist.Exponential(RATES[k] * rate), obs=x)

    pair, x = (model, lambda x: None), torch.tensor([1.0, -1.0])
    refused(r"site 'x': Exponential has support .*first bad value -1\)", pair, x)
