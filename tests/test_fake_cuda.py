"""Device correctness without a device: what runs on the host runs on a fake CUDA device, with the same results."""

import dataclasses
import math
import re
from contextlib import nullcontext
from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from torch import nn

from pyrogen import Story, diagnostics, fit, inference, load, plots
from pyrogen.adversarial import Hinge, NonSaturating, Wasserstein
from pyrogen.catalog import CATALOG
from pyrogen.data import Columns, Dequantization, DynamicBinarization
from pyrogen.distributions import Bernoulli, DiagonalNormal, Gaussian
from pyrogen.inference import ImportanceWeightedELBO, TemperedELBO, cosine
from pyrogen.inference.training import defaults
from pyrogen.models import VAE
from tests.helpers.fake_cuda import CudaTensor, fake_cuda

ROWS = 8
DEVICES = ("cpu", "cuda")


def trained(name, device, tmp_path=None, **options):
    """A small run of a story, of a few steps where it takes any, and some of its data."""
    torch.manual_seed(5)
    story, data = CATALOG[name].tiny()
    if "steps" not in story.unsupported:
        options = {"steps": 3, "compile": False, "optimizer": partial(torch.optim.SGD, lr=1e-3), **options}
        if "svi" in story.unsupported:
            options = {"objective": Hinge(), **options}
    return fit(story, data, device=device, out=tmp_path, **options), {key: c[:ROWS] for key, c in data.items()}


def given(run, data):
    """Columns that samples are conditioned on."""
    return {key: data[key][:4] for key in run.story.signatures()[0].columns if key != "x" and key in data}


def half(data):
    return torch.arange(data["x"][0].numel()).reshape(data["x"].shape[1:]) % 2 == 0


def sixfold(data):
    return {key: torch.cat([column] * 6) for key, column in data.items()}


def figures(run, data):
    diagnosis = diagnostics.diagnose(run, data, training=data, budget="quick")
    plots.diagnostic_figures(diagnosis)
    return diagnosis


OPERATIONS = {
    "training": lambda run, data: ([r.get("train_elbo", 0.0) for r in run.history], run.story.state_dict()),
    "sample": lambda run, data: run.story.sample(4, **given(run, data)),
    "log_likelihood": lambda run, data: inference.log_likelihood(run, data, 5, seed=1),
    "log_weights": lambda run, data: inference.log_weights(run, data, 5, seed=1),
    "held_out_elbo": lambda run, data: inference.held_out_elbo(run, data, 3, seed=1),
    "encode": lambda run, data: inference.encode(run, data).mean,
    "codes": lambda run, data: inference.codes(run, data),
    "decode": lambda run, data: inference.decode(run, inference.codes(run, data)).mean,
    "reconstruct": lambda run, data: inference.reconstruct(run, data),
    "impute": lambda run, data: inference.impute(run, data, half(data), chains=2, steps=3, seed=1),
    "classify": lambda run, data: inference.classify(run, data, classes=2, num_samples=3, seed=1),
    "active_units": lambda run, data: inference.active_units(run, data),
    "posterior": lambda run, data: dict(inference.posterior(run, data, 3, seed=1)),
    "prior": lambda run, data: dict(inference.prior(run, data, 3, seed=1)),
    "posterior_predictive": lambda run, data: dict(inference.posterior_predictive(run, data, 3, seed=1)),
    "prior_predictive": lambda run, data: dict(inference.prior_predictive(run, data, 3, seed=1)),
    "to_datatree": lambda run, data: diagnostics.to_datatree(run, data, num_samples=3),
    "decompose": lambda run, data: diagnostics.decompose(run, data, 3),
    "elbo_surgery": lambda run, data: diagnostics.elbo_surgery(run, data, rows=ROWS),
    "gradient_noise": lambda run, data: diagnostics.gradient_noise(run, data, 20),
    "inference_gaps": lambda run, data: diagnostics.inference_gaps(run, data, rows=4, steps=2, num_samples=5),
    "datum_moments": lambda run, data: diagnostics.datum_moments(run, data, 20),
    "outlier_scores": lambda run, data: diagnostics.outlier_scores(run, data, data, 5),
    "sample_quality": lambda run, data: diagnostics.sample_quality(
        run, {k: torch.cat([c] * 6) for k, c in data.items()}
    ),
    "training_curve": lambda run, data: bool(plots.training_curve(run).axes),
    "reconstructions": lambda run, data: plots.reconstructions(run.story, data["x"]),
    "sample_neighbours": lambda run, data: plots.sample_neighbours(run.story.sample(4, **given(run, data)), data["x"]),
}

NOT_RUN = {
    ("classifier", what): "Pyro marks where tensors come from by a subclass of its own, of plain tensors"
    for what in ("sample", "sample_quality", "sample_neighbours", "diagnose")
}
"""What takes more than an appearance of a device, and why."""

OFTEN = ["bayesian_ppca", "conditional_vae", "diffusion", "flow", "gan", "mixture", "pixelcnn", "vae", "vq_vae"]
DIAGNOSED = ["conditional_vae", "gan", "ppca", "vae"]
"""In the default suite; the others where slow tests run."""


def slow_but(names):
    return [name if name in names else pytest.param(name, marks=pytest.mark.slow) for name in sorted(CATALOG)]


def numbers(result, path=""):
    """Every number of a result by its path, but what is measured in seconds."""
    if isinstance(result, torch.Tensor):
        assert isinstance(result, CudaTensor) or result.device.type == "cpu"
        return {path: result.detach().cpu().double().numpy()}
    if isinstance(result, (bool, int, float, np.ndarray, np.generic)):
        return {path: np.asarray(result, dtype=float)} if np.asarray(result).dtype.kind in "biuf" else {}
    if dataclasses.is_dataclass(result):
        fields = [field.name for field in dataclasses.fields(result)]
        return numbers({name: getattr(result, name) for name in fields}, path)
    if hasattr(result, "to_dict") and hasattr(result, "children"):  # an ArviZ tree
        return numbers({name: dict(group.data_vars) for name, group in result.children.items()}, path)
    if hasattr(result, "values") and isinstance(getattr(result, "values", None), np.ndarray):
        return numbers(result.values, path)
    if isinstance(result, dict):
        items = result.items()
    elif isinstance(result, (list, tuple)):
        items = enumerate(result)
    else:
        return {}
    return {k: v for key, each in items if "seconds" not in str(key) for k, v in numbers(each, f"{path}/{key}").items()}


def outcome(call):
    """The numbers of a result, or the line that refuses."""
    try:
        return numbers(call())
    except Exception as error:  # whatever it is, it must be the same on both devices
        return f"{type(error).__name__}: {error}"


def same(found, expected, what):
    if isinstance(expected, str) or isinstance(found, str):
        assert found == expected, what
        return
    assert found.keys() == expected.keys(), what
    for path, value in expected.items():
        np.testing.assert_allclose(found[path], value, rtol=1e-5, atol=1e-6, err_msg=f"{what}: {path}")


@pytest.mark.parametrize("name", slow_but(OFTEN))
def test_everything_is_the_same_on_the_device(name):
    """Numbers, or the same refusal, of training, likelihoods, predictions, diagnostics and pictures."""
    compare(name, OPERATIONS)


@pytest.mark.parametrize("name", slow_but(DIAGNOSED))
def test_a_diagnosis_is_the_same_on_the_device(name):
    compare(name, {"diagnose": figures})


def compare(name, operations):
    found = {}
    for device in DEVICES:
        with fake_cuda() if device == "cuda" else nullcontext():
            run, data = trained(name, device)
            for tensor in (*run.story.parameters(), *run.story.buffers()):
                assert tensor.device.type == device
            for what, operation in operations.items():
                torch.manual_seed(7)
                found[device, what] = outcome(lambda operation=operation, run=run, data=data: operation(run, data))
    for what in (each for each in operations if (name, each) not in NOT_RUN):
        same(found["cuda", what], found["cpu", what], what)


def test_most_operations_are_refused_by_few():
    """So that "the same refusal" does not hide that an operation is never run."""
    answers = dict.fromkeys(OPERATIONS, 0)
    for name in ("vae", "conditional_vae", "pixelcnn", "gan"):
        run, data = trained(name, "cpu")
        for what, operation in OPERATIONS.items():
            answers[what] += not isinstance(outcome(lambda op=operation, run=run, data=data: op(run, data)), str)
    assert min(answers.values()) > 0, answers


@pytest.mark.parametrize("name", ["vae", "ppca", "mixture", "pixelcnn"])
def test_traced_steps_are_the_same_on_the_device(name, monkeypatch):
    monkeypatch.setattr(defaults, "MIN_STEPS_TO_TRACE", 1)
    with fake_cuda():
        runs = [trained(name, device, compile="auto", steps=5)[0] for device in DEVICES]
    assert [run.mode for run in runs] == ["traced", "traced"]
    one, other = (OPERATIONS["training"](run, None) for run in runs)
    same(numbers(other), numbers(one), name)


def regression(features, response):
    weights = pyro.sample("weights", dist.Normal(features.new_zeros(3), 1.0).to_event(1))
    with pyro.plate("rows", len(features)):
        pyro.sample("response", dist.Normal(features @ weights, 1.0), obs=response)


@pytest.mark.parametrize("guide", [AutoNormal, AutoMultivariateNormal])
def test_pairs_of_functions_train_on_the_device(guide):
    torch.manual_seed(3)
    features = torch.randn(40, 3)
    data = {"features": features, "response": features.sum(-1)}
    losses = []
    for device in DEVICES:
        with fake_cuda() if device == "cuda" else nullcontext():
            run = fit((regression, guide(regression)), data, steps=5, device=device, seed=1, compile=False)
            draws = inference.posterior(run, data, 3, seed=1)
            assert draws["weights"].device.type == device
            losses.append(([r["train_elbo"] for r in run.history], dict(draws)))
    same(numbers(losses[1]), numbers(losses[0]), "pair")


OBJECTIVES = {
    "tempered": lambda: TemperedELBO(warmup=2),
    "weighted": lambda: ImportanceWeightedELBO(3),
    "stock": lambda: Trace_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1),
}
TRANSFORMS = {"binarized": DynamicBinarization(), "dequantized": Dequantization(4)}
RIVALS = {"hinge": Hinge, "non-saturating": NonSaturating, "wasserstein": Wasserstein}


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("name", ["vae", "ppca", "hierarchical_vae"])
def test_objectives_are_the_same_on_the_device(name, objective):
    trains_alike(name, lambda: {"objective": OBJECTIVES[objective]()})


@pytest.mark.parametrize("rivals", RIVALS)
@pytest.mark.parametrize("name", ["gan", "conditional_gan", "vae_gan"])
def test_adversarial_losses_are_the_same_on_the_device(name, rivals):
    trains_alike(name, lambda: {"objective": RIVALS[rivals]()})


def test_all_of_fits_options_are_the_same_on_the_device(tmp_path):
    """A schedule, an average of weights, clipping, validation, bfloat16 and checkpoints."""
    trains_alike("vae", lambda: {"schedule": cosine(6), "ema": 0.9, "clip_norm": 1.0, "steps": 6})


def trains_alike(name, options):
    found = []
    for device in DEVICES:
        with fake_cuda() if device == "cuda" else nullcontext():
            found.append(numbers(OPERATIONS["training"](trained(name, device, **options())[0], None)))
    same(found[1], found[0], name)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transforms_run_on_the_device(transform):
    losses = []
    for device in DEVICES:
        with fake_cuda() if device == "cuda" else nullcontext():
            torch.manual_seed(2)
            data = Columns({"x": torch.rand(40, 1, 4, 4)}, transform=TRANSFORMS[transform])
            story = VAE((1, 4, 4), 2, hidden=(4,), likelihood=Bernoulli() if transform == "binarized" else Gaussian())
            run = fit(story, data, steps=3, device=device, seed=2, compile=False)
            losses.append([r["train_elbo"] for r in run.history])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_runs_are_saved_loaded_and_resumed_on_the_device(tmp_path):
    for device in DEVICES:
        with fake_cuda() if device == "cuda" else nullcontext():
            whole, _ = trained("vae", device, tmp_path / f"whole {device}", steps=6)
            trained("vae", device, tmp_path / device, steps=3)
            torch.manual_seed(5)
            story, all_data = CATALOG["vae"].tiny()
            options = {"steps": 6, "compile": False, "optimizer": partial(torch.optim.SGD, lr=1e-3)}
            resumed = fit(story, all_data, device=device, out=tmp_path / device, resume=True, **options)
            assert next(resumed.story.parameters()).device.type == device
            same(numbers(resumed.story.state_dict()), numbers(whole.story.state_dict()), "resumed")
            loaded = load(tmp_path / device).story.to(device)
            same(numbers(loaded.state_dict()), numbers(whole.story.state_dict()), "loaded")
            assert loaded.device.type == device


def test_planes_of_codes_are_plotted_from_the_device():
    with fake_cuda():
        run, data = images_fit()
        assert plots.latent_planes({"run": run.story}, {**data, "y": torch.arange(40) % 3}).axes


class Points(Story):
    """A point with a latent, each part of which a mistake replaces by one with a tensor of the host."""

    def __init__(self, **parts):
        super().__init__()
        self.loc, self.scale = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))
        self.register_buffer("shift", torch.zeros(3))
        self.parts = parts

    def part(self, name, value):
        return self.parts[name]() if name in self.parts else value

    def prior(self):
        return dist.Normal(self.part("prior", torch.zeros_like(self.loc)), 1.0).to_event(1)

    def model(self, x, n, weight=1.0):
        with pyro.plate("data", n), pyro.poutine.scale(scale=weight):
            z = pyro.sample("z", self.prior())
            mean = z * self.loc + self.part("model", self.shift)
            pyro.sample("x", dist.Normal(mean, self.part("scale", torch.ones_like(self.loc))).to_event(1), obs=x)

    def guide(self, x, n):
        with pyro.plate("data", n):
            hidden = x @ self.part("encoder", torch.zeros_like(self.loc).diag())
            pyro.sample("z", dist.Normal(hidden, self.part("guide", self.scale.exp())).to_event(1))


def host(*shape):
    return lambda: torch.ones(shape, device="cpu")


class Shift(nn.Module):
    def forward(self, z):
        return z + torch.ones(z.shape[-1], device="cpu")


class HostPosterior(DiagonalNormal):
    def __call__(self, outputs, event_shape):
        return super().__call__(outputs + torch.ones(outputs.shape[-1], device="cpu"), event_shape)


class HostNoise:
    def __call__(self, batch):
        return {"x": batch["x"] + torch.rand(batch["x"].shape, device="cpu")}


class HostMomentum(torch.optim.SGD):
    """Its state is on the host."""

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                state.setdefault("sum", torch.zeros(parameter.shape, device="cpu")).add_(parameter.grad)
        super().step(closure)


class HostWeight(TemperedELBO):
    def differentiable_loss(self, *args, **kwargs):
        return (super().differentiable_loss(*args, **kwargs) * torch.ones(1, device="cpu")).sum()


def points_fit(parts=None, data=None, **options):
    data = {"x": torch.zeros(96, 3)} if data is None else data
    return fit(Points(**(parts or {})), data, steps=2, device="cuda", compile=False, **options)


def images_fit(**parts):
    data = {"x": (torch.rand(40, 1, 4, 4) < 0.5).float()}
    return fit(VAE((1, 4, 4), 2, hidden=(4,), **parts), data, steps=2, device="cuda", compile=False), data


def with_mistake_in_decoder(use):
    """A story that was well when it was trained, used after a mistake."""

    def call():
        run, data = images_fit()
        run.story.decoder = nn.Sequential(Shift(), run.story.decoder)
        return use(run, data)

    return call


def posterior_plot():
    """A plot that forgets to bring its draws to the host."""
    run, data = images_fit()
    draws = inference.posterior(run, data, 3)["z"]
    return np.asarray(draws)


MISTAKES = {
    "model": lambda: points_fit({"model": host(3)}),
    "guide": lambda: points_fit({"guide": lambda: torch.ones(3, device="cpu") * 2}),
    "prior": lambda: points_fit({"prior": host(3)}),
    "likelihood": lambda: points_fit({"scale": host(3)}),
    "encoder": lambda: points_fit({"encoder": host(3, 3)}),
    "posterior": lambda: images_fit(posterior=HostPosterior()),
    "transform": lambda: points_fit(data=Columns({"x": torch.zeros(96, 3)}, transform=HostNoise())),
    "optimizer's state": lambda: points_fit(optimizer=partial(HostMomentum, lr=0.1)),
    "schedule": lambda: points_fit(arguments={"weight": lambda step: torch.ones(1, device="cpu")}),
    "objective": lambda: points_fit(objective=HostWeight()),
    "impute": with_mistake_in_decoder(lambda run, data: inference.impute(run, data, half(data), chains=2, steps=2)),
    "decode": with_mistake_in_decoder(lambda run, data: inference.decode(run, inference.codes(run, data))),
    "likelihood of data": with_mistake_in_decoder(lambda run, data: inference.log_likelihood(run, data, 5)),
    "diagnostic": with_mistake_in_decoder(lambda run, data: diagnostics.importance_weights(run, data)),
    "plot": posterior_plot,
}


@pytest.mark.parametrize("where", MISTAKES)
def test_a_planted_mistake_is_caught(where):
    with fake_cuda(), pytest.raises(Exception, match=r"(?i)device|cuda|cpu|host") as caught:
        MISTAKES[where]()
    assert re.search("same device|cuda:0|is on cpu", str(caught.value)), caught.value


def test_without_a_mistake_nothing_is_caught():
    with fake_cuda():
        run, data = images_fit()
        assert inference.reconstruct(run, data).shape == data["x"].shape
        assert math.isfinite(points_fit().history[-1]["train_elbo"])
