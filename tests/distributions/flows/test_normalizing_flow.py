"""Normalizing flows: repeated values in data, bases on other devices, transforms of Pyro's that do not fit."""

import copy

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import transforms as pyro_transforms
from pyro.distributions.transforms import AffineTransform, ExpTransform
from torch import Tensor

from pyrogen import fit
from pyrogen.data import load
from pyrogen.distributions import Affine, Coupling, Logit
from pyrogen.inference import log_likelihood
from pyrogen.models import ConditionalFlow, Flow


@pytest.mark.parametrize(
    "base",
    [
        None,
        dist.Uniform(-50.0, 50.0),
        dist.MultivariateNormal(torch.zeros(2), torch.eye(2)),
        dist.TransformedDistribution(
            dist.Normal(torch.zeros(2), 1.0).to_event(1), [AffineTransform(torch.ones(2), 2).inv]
        ),
        dist.MixtureSameFamily(dist.Categorical(torch.ones(2, 3)), dist.Normal(torch.zeros(2, 3), 1.0)),
    ],
    ids=["standard", "uniform", "multivariate", "transformed", "mixture"],
)
def test_the_base_follows_the_story(base: dist.TorchDistribution | None) -> None:
    """To another dtype and device, where data are moved too. The base that was passed is not changed."""
    layers = Coupling(Affine(), 1, (4,))
    story, x = Flow(2, layers, base), torch.randn(5, 2)
    double = Flow(2, layers, base)
    double.log_prob(x)  # cached tensors move too
    double.double().load_state_dict(story.state_dict())
    assert double.sample(3).dtype == torch.float64
    torch.testing.assert_close(double.log_prob(x.double()), story.log_prob(x).double())
    conditional = ConditionalFlow(2, 3, transforms=layers, base=base)
    with pyro.validation_enabled(False):
        assert story.to("meta").log_prob(x).device.type == "meta"
        assert conditional.to("meta").flow(conditional.label.eye[0]).sample((3,)).device.type == "meta"
    if base is not None:
        assert base.sample().device.type == "cpu"
        assert base.sample().dtype == torch.float32
    assert not [name for name in story.state_dict() if "base" in name]


def test_a_flow_without_parameters_knows_its_device() -> None:
    story = Flow((), [ExpTransform().inv, AffineTransform(0.0, -1.0)], base=dist.Uniform(0.0, 1.0)).to("meta")
    with pyro.validation_enabled(False):
        assert story.log_prob(torch.ones(3)).device.type == "meta"


@pytest.mark.parametrize("turned", [False, True], ids=["as_made", "inverse"])
def test_pyros_transforms_that_do_not_fit_are_refused(turned: bool) -> None:
    """When the story is built; running averages of a transform are not updated by the check."""
    for shape, transform in ((3, pyro_transforms.affine_coupling(4, [8])), (3, pyro_transforms.permute(2))):
        with pytest.raises(ValueError, match=r"(AffineCoupling|Permute)(\.inv)? .*events of shape \(3,\)") as caught:
            Flow(shape, transform.inv if turned else transform)
        assert "\n" not in str(caught.value)
    planar = pyro_transforms.conditional_planar(2, 3, [8])
    for transform, build in (
        (pyro_transforms.planar(2), lambda layers: Flow(2, layers)),
        (planar, lambda layers: ConditionalFlow(2, classes=3, transforms=[layers])),
    ):
        if turned:
            build(transform.inv)
        else:
            with pytest.raises(ValueError, match=r"Planar has no inverse at values .* use \w*Planar\.inv"):
                build(transform)
    counting = pyro_transforms.batchnorm(2)
    Flow(2, counting.inv if turned else counting)
    assert counting.training
    assert torch.equal(counting.moving_mean, torch.zeros(2))


CORNER = torch.rand(200, 1, 4, 4, generator=torch.Generator().manual_seed(4))
CORNER[:, 0, 0, 0] = 0.0
NOISE = torch.randn(2000, 12, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(
    ("x", "problem"),
    [
        (
            torch.randint(0, 9, (100, 4), generator=torch.Generator().manual_seed(0)) / 8,
            r"'x' is .* in \d+% of rows at",
        ),
        (
            torch.randint(0, 256, (150, 64), generator=torch.Generator().manual_seed(2)) / 255,
            "has only 256 distinct values",
        ),
        (NOISE.where(torch.arange(12) != 3, NOISE.gt(0).float()), r"'x' is . in 5\d% of rows at x\[:, 3\]"),
        (NOISE.where(torch.arange(12) != 7, 1.5), r"'x' is 1.5 in 100% of rows at x\[:, 7\]"),
        (NOISE.where((torch.arange(12) != 7) | (NOISE > -1.5), -1.5), r"'x' is -1.5 in \d% of rows at x\[:, 7\]"),
        (
            NOISE.mul(100).round().where(torch.arange(12) == 5, NOISE),
            r"'x' has only \d{3} distinct values in 1024 rows at x\[:, 5\]",
        ),
        ((torch.arange(5000.0) * 7 % 150), "'x' has only 150 distinct values in 1024 rows, and"),
        (CORNER, r"'x' is 0 in 100% of rows at x\[:, 0, 0, 0\]"),
    ],
    ids=["grey", "256_levels", "binary", "constant", "clipped", "rounded", "whole", "corner"],
)
def test_values_that_repeat_are_refused(x: Tensor, problem: str) -> None:
    """Also those of one feature among many; by either kind of flow, before the first step and any change."""
    flow = Flow(x.shape[1:], Coupling(steps=1, hidden=(4,)))
    conditional = ConditionalFlow(x.shape[1:], 2, transforms=Coupling(steps=1, hidden=(4,)))
    for story, data in ((flow, x), (conditional, {"x": x, "y": torch.arange(len(x)) % 2})):
        before = copy.deepcopy(story.state_dict())
        with pytest.raises(ValueError, match=f"{problem}.*a flow's density grows without bound.*dequantize") as caught:
            fit(story, data, steps=1)
        assert "\n" not in str(caught.value)
        assert all(torch.equal(before[name], value) for name, value in story.state_dict().items())


def test_values_that_rarely_repeat_are_accepted() -> None:
    story = Flow(12, Coupling(steps=1, hidden=(4,)))
    for x in (NOISE, NOISE[:5], NOISE[:5].repeat(3, 1), NOISE[:500].repeat(2, 1), (1000 * NOISE).round() / 1000):
        story.flow.prepare(x)


def test_grey_levels_are_accepted_with_noise_and_refused_without() -> None:
    """Noise drawn anew for each batch, as by `load`, and noise drawn in advance."""
    splits = load("digits")
    with pytest.raises(ValueError, match=r"'x' is 0 in 100% of rows at x\[:, 0, 0, 0\], .*dequantize"):
        fit(Flow((1, 8, 8)), splits.train, steps=1)
    noisy = splits.dequantized()
    layers = [Coupling(Affine(), 1, (4,)), Logit()]
    for data in (noisy.train, noisy.test):
        assert len(fit(Flow((1, 8, 8), layers), data, steps=1, compile=False).history) == 1


def test_the_density_is_defined_everywhere() -> None:
    """On a grid, at one point, and at whole numbers; only training data are checked for repeated values."""
    story = Flow(2, Coupling(Affine(), 1, (4,)))
    fit(story, {"x": NOISE[:, :2]}, validation={"x": torch.zeros(30, 2)}, steps=1, compile=False)
    ends = torch.linspace(-1, 1, 100)
    for x in (torch.cartesian_prod(ends, ends), torch.zeros(100, 2)):
        with torch.no_grad():
            torch.testing.assert_close(log_likelihood(story, x).value, story.log_prob(x))
