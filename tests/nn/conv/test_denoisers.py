"""Denoisers: shapes, the effect of time and label, and sizes that do not halve evenly."""

import dataclasses
import json
from collections.abc import Callable

import pytest
import torch
from torch import nn

from pyrogen.nn import DenseDenoiser, UNet
from pyrogen.nn.conv.denoisers import time_features

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "dense": lambda: DenseDenoiser((1, 4, 5), hidden=(7, 6), labels=3, width=8),
    "unet": lambda: UNet((2, 5, 7), channels=(4, 8), blocks=2, labels=3, heads=2, width=8),
    "unet_without_attention": lambda: UNet((2, 5, 7), channels=(4,), labels=3, heads=0, width=8),
}


@pytest.fixture(params=NETWORKS.values(), ids=NETWORKS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    network = request.param()
    with torch.no_grad():  # the U-Net starts at 0
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


@pytest.mark.parametrize("lead", [(), (3,), (2, 1, 3)])
def test_any_batch_dimensions_give_what_a_loop_gives_and_time_and_label_broadcast(
    network: nn.Module, lead: tuple[int, ...]
) -> None:
    x, time, label = torch.randn(*lead, *network.event_shape), torch.rand(lead[-1:]), torch.rand(*lead[-1:], 3)
    out = network(x, time, label)
    assert out.shape == x.shape
    rows = x.reshape(-1, *network.event_shape)
    times, labels = time.expand(lead).reshape(-1), label.expand(*lead, 3).reshape(-1, 3)
    looped = torch.stack([network(*row) for row in zip(rows, times, labels, strict=True)])
    torch.testing.assert_close(out, looped.reshape(out.shape), rtol=1e-4, atol=1e-5)


def test_outputs_depend_on_time_and_label_and_no_label_acts_as_zeros(network: nn.Module) -> None:
    x, label = torch.randn(4, *network.event_shape), torch.eye(3)[[0, 1, 2, 0]]
    out = network(x, torch.full((4,), 0.3), label)
    assert not torch.allclose(out, network(x, torch.full((4,), 0.31), label))
    assert not torch.allclose(out, network(x, torch.full((4,), 0.3), label.roll(1, 0)))
    assert torch.equal(network(x, torch.full((4,), 0.3)), network(x, torch.full((4,), 0.3), torch.zeros(4, 3)))


def test_every_parameter_has_a_gradient_and_fields_rebuild_the_network(network: nn.Module) -> None:
    x, time, label = torch.randn(4, *network.event_shape), torch.rand(4), torch.rand(4, 3)
    network(x, time, label).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    fields = {f.name: getattr(network, f.name) for f in dataclasses.fields(network)}
    again = type(network)(**json.loads(json.dumps(fields)))
    again.load_state_dict(network.state_dict())
    assert torch.equal(network(x, time, label), again(x, time, label))


@pytest.mark.parametrize("channels", [(4,), (4, 8), (4, 8, 8)])
@pytest.mark.parametrize("size", [(8, 8), (28, 28), (32, 32), (7, 9), (5, 1)])
def test_the_unet_takes_images_of_any_size_and_starts_at_zero(size: tuple[int, int], channels: tuple[int, ...]) -> None:
    image = (3, *size)
    out = UNet(image, channels, heads=2, width=8)(torch.randn(2, *image), torch.rand(2))
    assert out.shape == (2, *image)
    assert (out == 0).all()


def test_runs_on_meta_and_in_double(network: nn.Module) -> None:
    x = torch.randn(4, *network.event_shape).double()
    assert network.double()(x, torch.rand(4).double()).dtype == torch.float64
    assert network.to("meta")(x.to("meta"), torch.rand(4).double().to("meta")).device.type == "meta"


def test_time_features_of_different_times_differ() -> None:
    features = time_features(torch.linspace(0, 1, 1001), 32)
    assert features.shape == (1001, 32)
    assert torch.cdist(features, features).fill_diagonal_(9).min() > 0.1


def test_arguments_and_inputs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^UNet is for images of shape .*got \(5,\): use DenseDenoiser$"):
        UNet(5)
    with pytest.raises(ValueError, match=r"^UNet needs channels and blocks, got channels=\(4,\) and blocks=0$"):
        UNet((1, 4, 4), (4,), blocks=0)
    with pytest.raises(ValueError, match=r"^heads must divide width, got heads=4 and width=6$"):
        UNet((1, 4, 4), (4, 6))
    for network in (DenseDenoiser((1, 4, 4)), UNet((1, 4, 4), (4,))):
        name = type(network).__name__
        with pytest.raises(ValueError, match=rf"^{name} takes tensors of shape \(..., 1, 4, 4\), got \(2, 3\)$"):
            network(torch.zeros(2, 3), torch.zeros(2))
        with pytest.raises(ValueError, match=rf"^{name} takes labels of 0 numbers, got 3: set labels=3$"):
            network(torch.zeros(2, 1, 4, 4), torch.zeros(2), torch.zeros(2, 3))
