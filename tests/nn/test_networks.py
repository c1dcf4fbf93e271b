"""What holds for every encoder and decoder: batch dimensions, fields, gradients, devices and types."""

import copy
import dataclasses
import json
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pyrogen.nn import (
    ConvDecoder,
    ConvEncoder,
    ConvNetwork,
    Dense,
    Generator,
    GridDecoder,
    GridEncoder,
    RecurrentEncoder,
    TileDecoder,
    TileEncoder,
    TransformerEncoder,
)

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "dense": lambda: Dense((1, 4, 5), (2, 3), hidden=(7, 6)),
    "linear": lambda: Dense(20, 3, hidden=()),
    "scalar": lambda: Dense((), (), hidden=(4,)),
    "conv_encoder": lambda: ConvEncoder((2, 7, 9), 3, channels=(4, 5)),
    "conv_decoder": lambda: ConvDecoder(3, (2, 7, 9), channels=(5, 4)),
    "residual_encoder": lambda: ConvEncoder((2, 7, 9), 3, channels=(4, 5), blocks=2),
    "residual_decoder": lambda: ConvDecoder(3, (2, 7, 9), channels=(5, 4), blocks=1),
    "recurrent": lambda: RecurrentEncoder((2, 4, 6), (3, 2), width=5, layers=2),
    "recurrent_sequence": lambda: RecurrentEncoder((7,), 3, width=5),
    "transformer": lambda: TransformerEncoder((2, 4, 6), (3, 2), width=8, heads=2, patch=2),
    "transformer_sequence": lambda: TransformerEncoder((7, 3), 3, width=8, heads=4, layers=1),
    "conv_network": lambda: ConvNetwork((2, 7, 9), (3, 7, 9), width=4),
    "generator": lambda: Generator((3, 2), (1, 8, 7), (8,), (6, 4), 1),
    "grid_encoder": lambda: GridEncoder((2, 7, 9), 3, channels=(4, 5), blocks=1),
    "grid_decoder": lambda: GridDecoder(3, (2, 7, 9), channels=(5, 4), blocks=1),
    "tile_encoder": lambda: TileEncoder((2, 4, 6), 3, tile=2, hidden=(8,)),
    "tile_decoder": lambda: TileDecoder(3, (2, 4, 6), tile=2, hidden=(8,)),
}


@pytest.fixture(params=NETWORKS.values(), ids=NETWORKS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    return request.param()


def shapes(network: nn.Module) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Event shapes of the input and of the output."""
    grid = (*network.grid, network.features) if hasattr(network, "grid") else ()
    inputs = getattr(network, "in_shape", None) or getattr(network, "event_shape", grid)
    return inputs, getattr(network, "out_shape", grid)


def event(network: nn.Module, *lead: int) -> Tensor:
    return torch.randn((*lead, *shapes(network)[0]))


@pytest.mark.parametrize("lead", [(), (1,), (4,), (2, 4), (3, 2, 4), (0,), (2, 0)])
def test_any_batch_dimensions_give_what_a_loop_gives(network: nn.Module, lead: tuple[int, ...]) -> None:
    x = event(network, *lead)
    out = network(x)
    assert out.shape == (*lead, *shapes(network)[1])
    rows = x.reshape(math.prod(lead), *shapes(network)[0])
    looped = torch.stack([network(row) for row in rows]) if len(rows) else out.new_zeros(out.shape)
    torch.testing.assert_close(out, looped.reshape(out.shape))


def test_fields_survive_json_and_rebuild_the_network(network: nn.Module) -> None:
    fields = {f.name: getattr(network, f.name) for f in dataclasses.fields(network)}
    again = type(network)(**json.loads(json.dumps(fields)))
    assert fields == {f.name: getattr(again, f.name) for f in dataclasses.fields(again)}
    again.load_state_dict(network.state_dict())
    x = event(network, 4)
    assert torch.equal(network(x), again(x))
    assert torch.equal(network(x), copy.deepcopy(network)(x))


def test_every_parameter_has_a_gradient_and_is_contiguous(network: nn.Module) -> None:
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


def test_networks_with_the_same_fields_are_not_equal(network: nn.Module) -> None:
    assert network != type(network)(**{f.name: getattr(network, f.name) for f in dataclasses.fields(network)})
    assert network in {network}


def test_refuses_another_event_shape(network: nn.Module) -> None:
    if shapes(network)[0]:
        with pytest.raises(ValueError, match=rf"{type(network).__name__} takes tensors of shape .*got \(4, 2, 2, 2\)"):
            network(torch.zeros(4, 2, 2, 2))
