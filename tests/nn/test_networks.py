"""What every network keeps, and what the dense and the convolutional ones compute."""

import copy
import dataclasses
import json
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pyrogen.nn import ConvDecoder, ConvEncoder, Dense

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "dense": lambda: Dense((1, 4, 5), (2, 3), hidden=(7, 6)),
    "linear": lambda: Dense(20, 3, hidden=()),
    "scalar": lambda: Dense((), (), hidden=(4,)),
    "conv_encoder": lambda: ConvEncoder((2, 7, 9), 3, channels=(4, 5)),
    "conv_decoder": lambda: ConvDecoder(3, (2, 7, 9), channels=(5, 4)),
}


@pytest.fixture(params=NETWORKS.values(), ids=NETWORKS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    return request.param()


def shapes(network: nn.Module) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return getattr(network, "in_shape", None) or getattr(network, "event_shape", ()), network.out_shape


def event(network: nn.Module, *lead: int) -> Tensor:
    return torch.randn((*lead, *shapes(network)[0]))


@pytest.mark.parametrize("lead", [(), (1,), (4,), (2, 4), (3, 2, 4), (0,), (2, 0)])
def test_leading_dimensions_fold(network: nn.Module, lead: tuple[int, ...]) -> None:
    x = event(network, *lead)
    out = network(x)
    assert out.shape == (*lead, *shapes(network)[1])
    rows = x.reshape(math.prod(lead), *shapes(network)[0])
    looped = torch.stack([network(row) for row in rows]) if len(rows) else out.new_zeros(out.shape)
    torch.testing.assert_close(out, looped.reshape(out.shape))


def test_is_rebuilt_from_its_fields_through_json(network: nn.Module) -> None:
    fields = {f.name: getattr(network, f.name) for f in dataclasses.fields(network)}
    again = type(network)(**json.loads(json.dumps(fields)))
    assert fields == {f.name: getattr(again, f.name) for f in dataclasses.fields(again)}
    again.load_state_dict(network.state_dict())
    x = event(network, 4)
    assert torch.equal(network(x), again(x))
    assert torch.equal(network(x), copy.deepcopy(network)(x))


def test_every_parameter_learns_and_is_contiguous(network: nn.Module) -> None:
    network(event(network, 4)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.is_contiguous(), name
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_runs_on_meta_and_in_double(network: nn.Module) -> None:
    assert network.double()(event(network, 4).double()).dtype == torch.float64
    out = network.to("meta")(event(network, 2, 4).double().to("meta"))
    assert out.device.type == "meta"
    assert out.shape == (2, 4, *shapes(network)[1])


def test_two_equal_networks_are_two(network: nn.Module) -> None:
    assert network != type(network)(**{f.name: getattr(network, f.name) for f in dataclasses.fields(network)})
    assert network in {network}


def test_refuses_another_event_shape(network: nn.Module) -> None:
    if shapes(network)[0]:
        with pytest.raises(ValueError, match=rf"{type(network).__name__} takes tensors of shape .*got \(4, 2, 2, 2\)"):
            network(torch.zeros(4, 2, 2, 2))


def test_dense_is_affine_maps_with_silu_between() -> None:
    network = Dense((2, 2), 3, hidden=(5,))
    x = torch.randn(4, 2, 2)
    first, last = network.layers[0], network.layers[2]
    h = x.flatten(1) @ first.weight.T + first.bias
    torch.testing.assert_close(network(x), h * torch.sigmoid(h) @ last.weight.T + last.bias)


def test_dense_without_hidden_layers_is_linear() -> None:
    assert [type(layer) for layer in Dense(4, 3, hidden=()).layers] == [nn.Linear]


@pytest.mark.parametrize("width", [1, 3, 7, 8, 28, 32])
@pytest.mark.parametrize("height", [1, 5, 7, 8, 28, 32])
@pytest.mark.parametrize("channels", [(4,), (4, 6), (2, 3, 4, 5)])
def test_conv_sizes(height: int, width: int, channels: tuple[int, ...]) -> None:
    image = (3, height, width)
    assert ConvEncoder(image, (2, 5), channels)(torch.zeros(2, *image)).shape == (2, 2, 5)
    assert ConvDecoder(5, image, channels[::-1])(torch.zeros(2, 5)).shape == (2, *image)


@pytest.mark.parametrize("size", [7, 8, 28, 32])
def test_conv_encoder_sees_every_pixel_and_decoder_reaches_every_pixel(size: int) -> None:
    image = torch.randn(1, size, size, requires_grad=True)
    ConvEncoder((1, size, size), 1, (4, 4))(image).backward()
    assert image.grad is not None
    assert (image.grad != 0).all()
    decoder = ConvDecoder(1, (1, size, size), (4, 4))
    assert (decoder(torch.ones(1)) != decoder(-torch.ones(1))).all()


def test_conv_networks_refuse_what_is_no_image() -> None:
    with pytest.raises(ValueError, match=r"ConvEncoder is for images .*got \(64,\): use Dense"):
        ConvEncoder(64, 2)
    with pytest.raises(ValueError, match=r"ConvDecoder is for images .*got \(8, 8\)"):
        ConvDecoder(2, (8, 8))
    with pytest.raises(ValueError, match="needs at least one convolution"):
        ConvEncoder((1, 8, 8), 2, channels=())
