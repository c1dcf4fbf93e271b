"""Generators and critics: shapes, the projection of the label, spectral normalization."""

import pytest
import torch
from torch import nn

from pyrogen.nn import Critic, Generator

IMAGES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (2, 5, 7)]
KINDS = {"dense": {}, "conv": {"channels": (4, 6)}, "residual": {"channels": (4, 6), "blocks": 1}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", IMAGES, ids=str)
def test_images_of_any_size_are_generated_and_scored(shape, kind):
    options = KINDS[kind]
    generator = Generator(3, shape, (8,), options.get("channels", ())[::-1], options.get("blocks", 0))
    critic = Critic(shape, (8,), **options)
    x = generator(torch.randn(4, 2, 3))
    assert x.shape == (4, 2, *shape)
    assert critic(x).shape == (4, 2)
    assert critic.features(x).shape == (4, 2, 8)
    assert torch.allclose(critic(x)[1], critic(x[1]), atol=1e-6)


def test_scalars_are_generated_and_scored():
    assert Generator((2, 2), ())(torch.randn(5, 2, 2)).shape == (5,)
    assert Critic(())(torch.randn(5)).shape == (5,)


def test_every_parameter_has_a_gradient():
    generator, critic = Generator(3, (1, 8, 8), (8,), (6, 4), 1), Critic((1, 8, 8), (8,), (4, 6), 1, labels=2)
    critic(generator(torch.randn(5, 3)), torch.eye(2)[[0, 1, 0, 1, 0]]).sum().backward()
    for module in (generator, critic):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


def test_the_label_is_projected_on_the_features():
    critic = Critic(2, (5,), labels=3)
    x, y = torch.randn(4, 2), torch.randn(4, 3)
    f = critic.features(x)
    expected = f @ critic.score.weight[0] + critic.score.bias + torch.einsum("nk,fk,nf->n", y, critic.label.weight, f)
    assert torch.allclose(critic(x, y), expected, atol=1e-6)
    assert torch.equal(critic(x, torch.zeros(4, 3)), critic.score(f).squeeze(-1))


@pytest.mark.parametrize("options", [{}, {"channels": (4,), "blocks": 1}], ids=["dense", "residual"])
def test_spectral_normalization_bounds_every_layer(options):
    critic = Critic((1, 6, 6), (8,), labels=2, spectral=True, **options)
    x, y = torch.randn(3, 1, 6, 6), torch.eye(2)[[0, 1, 0]]
    for _ in range(100):
        critic(x, y)
    critic.eval()
    layers = [m for m in critic.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert len(layers) == (3 if not options else 6)
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1.0, abs=1e-3)


def test_activations_of_generator_and_critic_below_zero():
    """ReLU leaves nothing below 0, LeakyReLU a fifth."""
    generator, critic = Generator(1, 1, (1,)), Critic(1, (1,))
    for first, last in ((generator.layers[0], generator.layers[2]), (critic.layers[1], critic.score)):
        for layer in (first, last):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
    x = torch.tensor([[-5.0], [5.0]])
    assert generator(x).flatten().tolist() == [0.0, 5.0]
    assert critic(x).tolist() == [-1.0, 5.0]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Critic(2, ()), "at least one dense layer"),
        (lambda: Critic(2, channels=(4,)), r"Critic with channels is for images .* got \(2,\): leave channels out"),
        (lambda: Generator(2, 2, channels=(4,)), r"Generator with channels is for images"),
        (lambda: Critic(2)(torch.zeros(3, 4)), r"Critic takes tensors of shape \(..., 2\), got \(3, 4\)"),
        (lambda: Generator(2, 3)(torch.zeros(3, 4)), r"Generator takes tensors of shape"),
        (lambda: Critic(2, labels=3)(torch.zeros(3, 2)), "labels of 3 numbers, got 0"),
        (lambda: Critic(2)(torch.zeros(3, 2), torch.zeros(3, 5)), "labels of 0 numbers, got 5: set labels=5"),
    ],
)
def test_arguments_and_inputs_that_do_not_fit_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
