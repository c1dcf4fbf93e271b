"""Layers of flows: inverses, log-determinants against autograd, initialization from data, and validation."""

import copy

import pytest
import torch
from pyro.distributions.transforms import ConditionalAffineCoupling
from torch import Tensor, nn
from torch.autograd.functional import jacobian

from pyrogen.distributions import (
    Affine,
    Autoregressive,
    Bijection,
    BijectionConfig,
    Coupling,
    Logit,
    MultiScale,
    Spline,
)
from pyrogen.distributions.flows.layers import Actnorm

LAYERS: dict[str, tuple[tuple[int, ...], BijectionConfig]] = {
    "affine_coupling": ((5,), Coupling(Affine(), 3, (16,))),
    "spline_coupling": ((5,), Coupling(Spline(), 3, (16,))),
    "affine_autoregressive": ((4,), Autoregressive(Affine(), 3, (16,))),
    "spline_autoregressive": ((4,), Autoregressive(Spline(), 3, (16,))),
    "inverse_autoregressive": ((4,), Autoregressive(Affine(), 2, (16,), inverse=True)),
    "two": ((2,), Coupling(steps=3, hidden=(8,))),
    "one": ((1,), Autoregressive(Spline(), 2, (8,))),
    "one_number": ((), Coupling(steps=2, hidden=(8,))),
    "flattened": ((2, 1, 3), Coupling(steps=2, hidden=(8,))),
    "multiscale_affine": ((1, 8, 8), MultiScale(Affine(), 3, 2, width=8)),
    "multiscale_spline": ((3, 4, 4), MultiScale(Spline(5), 3, 1, width=8)),
    "multiscale_wide": ((1, 6, 10), MultiScale(Affine(), 3, 1, width=8)),
    "logit": ((1, 2, 2), Logit(0.05)),
}
BIG = {"mnist": (1, 28, 28), "cifar": (3, 32, 32)}


def perturbed(config: BijectionConfig, event_shape: tuple[int, ...], context: int = 0) -> Bijection:
    """The layers away from the identity that they start from; convolutions, which sum over more, by less."""
    bijection = config.build(event_shape, context)
    with torch.no_grad():
        for parameter in bijection.parameters():
            parameter.add_(torch.randn_like(parameter) * (0.05 if parameter.dim() == 4 else 0.1))
    return bijection


@pytest.mark.parametrize("context", [0, 3])
@pytest.mark.parametrize("name", LAYERS)
def test_inverse(name: str, context: int) -> None:
    """To 1e-5 in float32, in both directions, by a transform that has no cached value."""
    shape, config = LAYERS[name]
    bijection = perturbed(config, shape, context)
    c = torch.randn(200, context) if context else None
    z = torch.randn(200, *bijection.base_shape)
    x = bijection(c)(z)
    assert x.shape == (200, *shape)
    torch.testing.assert_close(bijection(c).inv(x), z, rtol=0, atol=1e-5)
    torch.testing.assert_close(bijection(c)(bijection(c).inv(x)), x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("elementwise", [Affine(), Spline()], ids=["affine", "spline"])
@pytest.mark.parametrize("shape", BIG.values(), ids=BIG)
def test_inverse_of_whole_images(shape: tuple[int, ...], elementwise: object) -> None:
    """After initialization from the data, as in training."""
    config = MultiScale(elementwise, 3, 2, width=8)
    bijection = config.build(shape)
    x = torch.rand(6, *shape)
    bijection.prepare(x, None)
    with torch.no_grad():
        for parameter in bijection.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    z = bijection().inv(x)
    torch.testing.assert_close(bijection()(z), x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_under_autocast_the_networks_alone_are_in_bfloat16(name: str) -> None:
    shape, config = LAYERS[name]
    bijection = perturbed(config, shape)
    reference = copy.deepcopy(bijection)
    for part in reference.modules():
        if isinstance(part, Bijection) and hasattr(part, "network"):
            part.network.forward = torch.autocast("cpu", torch.bfloat16)(part.network.forward)
    z = torch.randn(200, *bijection.base_shape)
    with torch.autocast("cpu", torch.bfloat16):
        there, back = bijection(), bijection()
        x = there(z)
        again, log_det = back.inv(x), there.log_abs_det_jacobian(z, x)
        log_back = back.log_abs_det_jacobian(again, x)
    exact, exact_back = reference(), reference()
    torch.testing.assert_close(x, exact(z), rtol=0, atol=1e-5)
    torch.testing.assert_close(log_det, exact.log_abs_det_jacobian(z, exact(z)), rtol=0, atol=1e-4)
    torch.testing.assert_close(again, exact_back.inv(x), rtol=0, atol=1e-5)
    torch.testing.assert_close(log_back, exact_back.log_abs_det_jacobian(exact_back.inv(x), x), rtol=0, atol=1e-4)
    # A network in bfloat16 jumps where its input, off by 1e-7 on the way back, is rounded to another number: rarely.
    assert ((again - z).abs().reshape(200, -1).amax(1) < 1e-4).sum() >= 190


@pytest.mark.parametrize("context", [0, 3])
@pytest.mark.parametrize("name", [name for name in LAYERS if name != "multiscale_wide"])
def test_log_determinant_is_that_of_the_jacobian(name: str, context: int) -> None:
    shape, config = LAYERS[name]
    bijection = perturbed(config, shape, context).double()
    c = torch.randn(context, dtype=torch.float64) if context else None
    z = torch.randn(bijection.base_shape, dtype=torch.float64)
    size = max(1, z.numel())
    x = bijection(c)(z)
    by_hand = torch.linalg.slogdet(jacobian(lambda z: bijection(c)(z), z, vectorize=True).reshape(size, size))
    there, back = bijection(c), bijection(c)
    torch.testing.assert_close(there.log_abs_det_jacobian(z, there(z)), by_hand[1], rtol=0, atol=1e-9)
    torch.testing.assert_close(back.log_abs_det_jacobian(back.inv(x), x), by_hand[1], rtol=0, atol=1e-9)
    torch.testing.assert_close(bijection(c).log_abs_det_jacobian(z, x), by_hand[1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", LAYERS)
def test_leading_dimensions_and_contexts_broadcast(name: str) -> None:
    shape, config = LAYERS[name]
    bijection, c = perturbed(config, shape, 3), torch.randn(4, 3)
    z = torch.randn(2, 4, *bijection.base_shape)
    x = bijection(c)(z)
    for row in range(4):
        alone = bijection(c[row])
        torch.testing.assert_close(alone(z[:, row]), x[:, row])
    one_for_all = bijection(c)
    x = one_for_all(z[0, 0])
    assert x.shape == (4, *shape)
    assert one_for_all.log_abs_det_jacobian(z[0, 0], x).shape == (4,)


@pytest.mark.parametrize("elementwise", [Affine(), Spline(), Spline(bins=3, bound=1.0)], ids=str)
def test_elementwise_maps_are_the_identity_at_zero_and_increase(elementwise: object) -> None:
    x = torch.linspace(-6, 6, 2001, dtype=torch.float64)
    zero = torch.zeros(len(x), elementwise.num_parameters, dtype=torch.float64)
    z, log_slope = elementwise(x, zero)
    torch.testing.assert_close(z, x)
    torch.testing.assert_close(log_slope, torch.zeros_like(x), rtol=0, atol=1e-12)
    raw = 2 * torch.randn(elementwise.num_parameters, dtype=torch.float64).expand(len(x), -1)
    x.requires_grad_()
    z, log_slope = elementwise(x, raw)
    assert (z.diff() > 0).all()
    (slope,) = torch.autograd.grad(z.sum(), x)
    torch.testing.assert_close(log_slope, slope.log(), rtol=0, atol=1e-9)
    back, log_back = elementwise.inverse(z, raw)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-9)
    torch.testing.assert_close(log_back, -log_slope, rtol=0, atol=1e-7)


def test_spline_bends_inside_and_has_finite_gradients_everywhere() -> None:
    x = torch.tensor([-1e6, -4.0, -1.5, 0.0, 4.0, 4.01, 1e6], requires_grad=True)
    raw = torch.randn(7, 23, requires_grad=True)
    for direction in (Spline(), Spline().inverse):
        z, log_slope = direction(x, raw)
        assert torch.equal(z[[0, -1]], x[[0, -1]])
        assert (z[2:4] - x[2:4]).abs().min() > 1e-3
        for gradient in torch.autograd.grad(z.sum() + log_slope.sum(), [x, raw]):
            assert gradient.isfinite().all()


def test_one_layer_is_pyros_coupling() -> None:
    """With a limit that is never reached both are y_b = exp(s) x_b + m, in opposite directions."""
    layer = Coupling(Affine(limit=1e6), steps=1, hidden=(8,)).build((5,), 3)
    network = layer.parts[-1].network
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)

    def hypernet(x: Tensor, context: Tensor) -> tuple[Tensor, ...]:
        return network(torch.cat([x, context], -1)).unbind(-1)

    x, c = torch.randn(7, 5), torch.randn(7, 3)
    theirs = ConditionalAffineCoupling(2, hypernet).condition(c)
    ours = layer(c)
    torch.testing.assert_close(ours.inv(x), theirs(x))
    torch.testing.assert_close(ours.log_abs_det_jacobian(ours.inv(x), x), -theirs.log_abs_det_jacobian(x, theirs(x)))


def test_element_i_of_an_autoregressive_layer_depends_on_those_before_it_alone() -> None:
    bijection = perturbed(Autoregressive(Affine(), 1, (16,)), (4,)).double()
    derivative = jacobian(lambda x: bijection().inv(x), torch.randn(4, dtype=torch.float64))
    assert torch.equal(derivative.triu(1), torch.zeros(4, 4, dtype=torch.float64))
    assert (derivative.tril() != 0).sum() == 10


def test_layers_are_initialized_from_the_data() -> None:
    x = 3 + 2 * torch.randn(500, 2, 8, 8) * torch.rand(2, 1, 1)
    bijection = MultiScale(steps=2, width=8).build((2, 8, 8))
    z = bijection.prepare(x, None)
    assert z.shape == (500, 128)
    torch.testing.assert_close(bijection().inv(x), z)
    # Channels have variance 1 before their last rotation, which keeps it; pixels of one channel share a mean of 0.
    torch.testing.assert_close(z[:, 64:].square().mean(), torch.tensor(1.0), rtol=0.02, atol=0)
    assert z[:, 64:].mean().abs() < 0.01
    flat = Coupling(steps=2, hidden=(8,)).build((3,))
    z = flat.prepare(torch.tensor([5.0, -1.0, 100.0]) + torch.randn(500, 3) * torch.tensor([1e-2, 1.0, 30.0]), None)
    torch.testing.assert_close(z.mean(0), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(z.std(0, correction=0), torch.ones(3), rtol=1e-3, atol=0)


@pytest.mark.parametrize("constant", [0.0, 0.1, 5.0, -1e6])
def test_the_rounding_errors_of_a_constant_feature_are_not_amplified(constant: float) -> None:
    """By one layer or by several; a feature of small variance is scaled as usual."""
    x = torch.stack([torch.full((999,), constant), 7 + 1e-4 * torch.randn(999)], 1)
    actnorm = Actnorm((2,))
    z = actnorm.prepare(x, None)
    assert actnorm.log_scale[0] == 0
    torch.testing.assert_close(z.std(0, correction=0), torch.tensor([0.0, 1.0]), rtol=1e-3, atol=0)
    flow = Coupling(steps=4, hidden=(8,)).build((2,))
    flow.prepare(x, None)
    scales = [layer.log_scale.exp() for layer in flow.parts if isinstance(layer, Actnorm)]
    assert len(scales) == 4
    torch.testing.assert_close(torch.stack(scales).prod(0).min(), torch.tensor(1.0))


def test_invalid_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"MultiScale is for images .* even height and width, got \(1, 7, 8\): use"):
        MultiScale().build((1, 7, 8))
    with pytest.raises(ValueError, match="MultiScale needs a scale and a step, got scales=0"):
        MultiScale(scales=0)
    for make in (Coupling, Autoregressive):
        with pytest.raises(ValueError, match=f"{make.__name__} needs at least one step, got steps=0"):
            make(steps=0)
    with pytest.raises(ValueError, match=r"Autoregressive needs at least one hidden width, got hidden=\(\)"):
        Autoregressive(hidden=())
    with pytest.raises(ValueError, match="Spline needs at least 2 bins"):
        Spline(bins=1)
    with pytest.raises(ValueError, match="Affine needs a positive limit"):
        Affine(limit=0)
    with pytest.raises(ValueError, match=r"alpha between 0 and 0\.5, got alpha=0\.5"):
        Logit(0.5)
    with pytest.raises(ValueError, match=r"Logit is for data in \[0, 1\], but 'x' has 1 values outside \(first: 1.5\)"):
        Logit().check(torch.tensor([0.0, 1.5, 1.0]))
