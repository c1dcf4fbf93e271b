"""zuko's flows: equal to zuko's own, invertible, normalized, with gradients, in priors, posteriors and stories."""

import json
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from pyro.contrib.zuko import ZukoToPyro
from pyro.distributions import transforms as pyro_transforms
from torch import Tensor
from torch.autograd.functional import jacobian

from pyrogen import Story, fit, load
from pyrogen.distributions import FlowPosterior, FlowPrior, Gaussian, Logit, NormalizingFlow, VampPrior, ZukoFlow
from pyrogen.distributions.flows.wrappers import TransformModule
from pyrogen.distributions.flows.zuko import import_zuko
from pyrogen.inference import log_likelihood, log_weights
from pyrogen.models import VAE, ConditionalFlow, Flow

zuko = import_zuko()

SMALL: dict[str, Any] = {"transforms": 2, "hidden_features": [16]}
CONFIGS: dict[str, ZukoFlow] = {
    **{name: ZukoFlow(name, SMALL) for name in ("BPF", "MAF", "NICE", "NSF", "RealNVP", "SOSPF")},
    **{name: ZukoFlow(name, SMALL | {"signal": 4, "network": {"hidden_features": [8]}}) for name in ("NAF", "UNAF")},
    "GF": ZukoFlow("GF", {"transforms": 2, "components": 4}),
    "CNF": ZukoFlow("CNF", {"hidden_features": [8]}),
    "couplings": ZukoFlow("NSF", SMALL | {"passes": 2}),
    "inverse": ZukoFlow("MAF", SMALL, inverse=True),
}


def made(config: ZukoFlow, shape: Any = 3, context: int = 0) -> NormalizingFlow:
    torch.manual_seed(0)
    flow = NormalizingFlow(shape, config, context=context)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.mul_(1.2)
    return flow


@pytest.mark.parametrize("name", CONFIGS)
def test_inverse_and_log_determinant(name: str) -> None:
    """In float64, to the tolerance of zuko's bisections and of its integration of differential equations."""
    flow, c = made(CONFIGS[name], context=2).double(), torch.randn(5, 2, dtype=torch.float64)
    x = torch.randn(5, 3, dtype=torch.float64)
    transform = flow(c).transforms[0]
    z = transform.inv(x)
    log_det = transform.log_abs_det_jacobian(z, x)
    torch.testing.assert_close(flow(c).transforms[0](z), x, rtol=0, atol=1e-4)
    derivative = torch.stack([jacobian(flow(row).transforms[0].inv, each) for row, each in zip(c, x, strict=True)])
    tolerance = 1e-3 if name == "CNF" else 1e-5
    torch.testing.assert_close(log_det, -torch.linalg.slogdet(derivative)[1], rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in ("couplings", "inverse")])
def test_the_density_is_that_of_pyros_bridge(name: str) -> None:
    """At the same weights, with and without a context."""
    arguments = dict(CONFIGS[name].arguments)
    for context in (0, 2):
        flow = made(CONFIGS[name], context=context)
        theirs = getattr(zuko.flows, name)(3, context, **arguments)
        theirs.transform.load_state_dict(flow.parts[0].parts[-1].transform.state_dict())
        c, x = torch.randn(7, 2) if context else None, torch.randn(7, 3)
        torch.testing.assert_close(flow(c).log_prob(x), ZukoToPyro(theirs(c)).log_prob(x), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("name", ["MAF", "NSF", "RealNVP"])
@pytest.mark.parametrize("size", [1, 2])
def test_the_density_integrates_to_one(name: str, size: int) -> None:
    step = 0.001 if size == 1 else 0.05
    ends = torch.arange(-12, 12, step)
    grid = ends[:, None] if size == 1 else torch.cartesian_prod(ends, ends)
    with torch.no_grad():
        mass = made(CONFIGS[name], size)().log_prob(grid).exp().sum() * step**size
    assert abs(mass - 1) < 2e-3


@pytest.mark.parametrize("name", ["NSF", "inverse", "RealNVP", "NAF"])
def test_a_posterior_has_gradients_through_its_draws(name: str) -> None:
    """Of every parameter and every output of the network; the density of a draw is that of the same value anew."""
    torch.manual_seed(0)
    family = FlowPosterior(3, CONFIGS[name], context=4)
    outputs = torch.randn(5, 10, requires_grad=True)
    q = family(outputs, (3,)).expand((2, 5))
    z = q.rsample()
    assert z.shape == (2, 5, 3)
    torch.testing.assert_close(q.log_prob(z.clone()), q.log_prob(z), rtol=0, atol=1e-3)
    (q.log_prob(z) + z.square().sum(-1)).sum().backward()
    assert (outputs.grad != 0).any(0).all()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in family.parameters())
    assert family.point(family(outputs, (3,))).shape == (5, 3)


def test_under_autocast_the_density_keeps_its_precision() -> None:
    flow, x = made(CONFIGS["NSF"]), torch.randn(50, 3)
    exact = flow().log_prob(x)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(flow().log_prob(x), exact)


def test_a_story_is_initialized_at_the_mean_and_scale_of_the_data(tmp_path: Path) -> None:
    """Far from the interval on which splines differ from the identity; saved without pickle, and loaded."""
    x = 1000 + 50 * torch.randn(300, 2) @ torch.tensor([[1.0, 0.8], [0.0, 0.6]])
    run = fit(Flow(2, CONFIGS["NSF"]), x, steps=20, compile=False, out=tmp_path)
    gaussian = torch.distributions.MultivariateNormal(x.mean(0), x.T.cov()).log_prob(x).mean()
    assert run.story.log_prob(x).mean() > gaussian - 0.5
    again = load(tmp_path).story
    assert torch.equal(again.log_prob(x), run.story.log_prob(x))
    assert again.sample(4).shape == (4, 2)
    assert "opaque" not in (tmp_path / "config.json").read_text()


def test_a_prior_and_a_posterior_are_saved_and_loaded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.randn(32, 6)
    prior, posterior = FlowPrior(2, CONFIGS["NSF"]), FlowPosterior(2, CONFIGS["inverse"], context=4)
    story = VAE(6, 2, likelihood=Gaussian(), prior=prior, posterior=posterior, hidden=(8,))
    before = log_likelihood(story, x, num_samples=5, seed=1).value.mean()
    run = fit(story, x, steps=10, compile=False, out=tmp_path)
    again = load(tmp_path).story
    loaded = log_likelihood(again, x, num_samples=5, seed=1).value
    assert torch.equal(loaded, log_likelihood(run, x, num_samples=5, seed=1).value)
    assert loaded.mean() > before
    described = json.loads((tmp_path / "config.json").read_text())["story"]["arguments"]["posterior"]
    assert described["arguments"]["transforms"] == {
        "class": "pyrogen.distributions.ZukoFlow",
        "arguments": {"name": "MAF", "arguments": {"dict": SMALL}, "inverse": True},
    }


def test_other_arguments_are_accepted_and_need_the_story_to_load(tmp_path: Path) -> None:
    config = ZukoFlow("MAF", SMALL | {"activation": torch.nn.ELU})
    run = fit(Flow(2, config), torch.randn(40, 2), steps=2, compile=False, out=tmp_path)
    with pytest.raises(ValueError, match=r"load\(dir, into=story\)"):
        load(tmp_path)
    x = torch.randn(5, 2)
    assert torch.equal(load(tmp_path, into=Flow(2, config)).story.log_prob(x), run.story.log_prob(x))


def test_a_conditional_story_and_images_of_grey_levels() -> None:
    story = ConditionalFlow((1, 2, 2), 3, transforms=[CONFIGS["MAF"], Logit()])
    x, y = torch.rand(40, 1, 2, 2), torch.arange(40) % 3
    fit(story, {"x": x, "y": y}, steps=3, compile=False)
    assert not torch.equal(story.log_prob(x, 0), story.log_prob(x, 1))
    assert story.sample(5, y=2).shape == (5, 1, 2, 2)


def test_sequential_densities_are_declared() -> None:
    declared = [name for name, config in CONFIGS.items() if config.sequential_log_prob]
    assert declared == ["inverse"]
    with pytest.raises(ValueError, match="FlowPosterior computes it one latent at a time"):
        VampPrior(6, 4).check((3,), FlowPosterior(3, CONFIGS["inverse"]))


class Bridged(Story):
    """A story of the user's own, with Pyro's bridge in model and guide."""

    def __init__(self) -> None:
        super().__init__()
        self.prior, self.encoder = zuko.flows.NSF(2, transforms=1), zuko.flows.MAF(2, 3, transforms=1)

    def model(self, x: Tensor | None, n: int) -> Tensor:
        with pyro.plate("data", n):
            z = pyro.sample("z", ZukoToPyro(self.prior()))
            mean = torch.cat([z, z[..., :1]], -1)
            return pyro.sample("x", pyro.distributions.Normal(mean, 0.3).to_event(1), obs=x)

    def guide(self, x: Tensor, n: int) -> None:
        with pyro.plate("data", n):
            pyro.sample("z", ZukoToPyro(self.encoder(x)))


def test_pyros_bridge_in_a_story_of_the_users() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 3)
    run = fit(Bridged(), x, steps=5, compile=False)
    assert run.story.sample(5).shape == (5, 3)
    assert log_weights(run, x, 4).shape == (4, 64)


def test_inverses_of_pyros_transforms_are_recognized_although_zuko_renames_their_class() -> None:
    inverse = pyro_transforms.affine_coupling(3, [8]).inv
    assert type(inverse).__name__ == "Inverse"
    module = TransformModule(inverse, (3,))
    assert len(module.submodules) == 1
    with pytest.raises(ValueError, match=r"AffineCoupling\.inv cannot map events of shape \(1,\)"):
        TransformModule(inverse, (1,)).check_invertible(None)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ZukoFlow("Glow"), "name is one of BPF, CNF, .*, got 'Glow'"),
        (lambda: ZukoFlow("NCSF"), "got 'NCSF'"),
        (lambda: FlowPrior(3, ZukoFlow("MAF", {"features": 3})), r"zuko\.flows\.MAF does not take .* 'features'"),
        (lambda: FlowPrior(3, ZukoFlow("MAF", {"layers": 3})), r"zuko\.flows\.MAF does not take .* 'layers'"),
    ],
)
def test_invalid_arguments_are_refused(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
