"""What every network keeps, and what the dense and the convolutional ones compute."""

import copy
import dataclasses
import json
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pyrogen.nn import (
    AttentionBlock,
    ConvDecoder,
    ConvEncoder,
    Dense,
    GaussianNoise,
    MaskingNoise,
    RecurrentEncoder,
    Tokens,
    TransformerEncoder,
)
from tests.helpers.statistics import assert_within

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


def test_a_residual_block_adds_to_what_it_is_given() -> None:
    network = ConvEncoder((1, 8, 8), 2, (3,), blocks=1)
    plain = ConvEncoder((1, 8, 8), 2, (3,))
    plain.layers[0].load_state_dict(network.layers[0].state_dict())
    plain.layers[-1].load_state_dict(network.layers[-1].state_dict())
    x = torch.randn(4, 1, 8, 8)
    assert not torch.allclose(network(x), plain(x))
    with torch.no_grad():
        for parameter in network.layers[1].layers[-1].parameters():
            parameter.zero_()
    torch.testing.assert_close(network(x), plain(x))


def test_tokens_are_rows_patches_and_steps() -> None:
    image = torch.arange(48.0).reshape(1, 2, 4, 6)
    assert torch.equal(Tokens((2, 4, 6))(image)[0, 1], image[0, :, 1].flatten())
    patches = Tokens((2, 4, 6), (2, 3))
    assert (patches.length, patches.features) == (4, 12)
    assert torch.equal(patches(image)[0, 3], image[0, :, 2:, 3:].flatten())
    assert Tokens(7)(torch.zeros(2, 3, 7)).shape == (6, 7, 1)
    assert torch.equal(Tokens((4, 6))(image[0]), image[0])


def test_a_recurrent_network_ends_with_the_last_token() -> None:
    network, x = RecurrentEncoder((5, 2), 3), torch.randn(5, 2)
    states, _ = network.gru(x)
    torch.testing.assert_close(network(x), network.last(states[-1]))


def test_attention_by_hand() -> None:
    block, tokens = AttentionBlock(6, heads=2), torch.randn(3, 5, 6)
    normal = block.norms[0](tokens)
    query, key, value = (part.reshape(3, 5, 2, 3) for part in block.look(normal).chunk(3, -1))
    weights = torch.einsum("bqhd,bkhd->bhqk", query, key).div(math.sqrt(3)).softmax(-1)
    middle = tokens + block.tell(torch.einsum("bhqk,bkhd->bqhd", weights, value).reshape(3, 5, 6))
    torch.testing.assert_close(block(tokens), middle + block.dense(block.norms[1](middle)))


def test_causal_attention_sees_nothing_that_comes_later() -> None:
    block, tokens = AttentionBlock(6, heads=2, causal=True), torch.randn(1, 5, 6)
    later = tokens.clone()
    later[:, 3:] += 1
    torch.testing.assert_close(block(tokens)[:, :3], block(later)[:, :3])
    assert not torch.allclose(block(tokens)[:, 3:], block(later)[:, 3:])


def test_a_transformer_knows_the_places_of_its_tokens() -> None:
    network, x = TransformerEncoder((4, 3), 2), torch.randn(4, 3)
    assert not torch.allclose(network(x), network(x.flip(0)))


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Tokens((1, 2, 3, 4)), r"Tokens is for images .*got \(1, 2, 3, 4\)"),
        (lambda: RecurrentEncoder((1, 8, 8), 2, patch=3), "RecurrentEncoder cannot cut 8 by 8 into patches of 3 by 3"),
        (lambda: TransformerEncoder((1, 8, 8), 2, patch=(2, 3)), "TransformerEncoder cannot cut 8 by 8 .* 2 by 3"),
        (lambda: TransformerEncoder((1, 8, 8), 2, width=10), "heads must divide width, got heads=4 and width=10"),
        (lambda: GaussianNoise(-1.0), "scale=-1.0"),
        (lambda: MaskingNoise(1.0), "rate=1.0"),
    ],
)
def test_refuses_what_it_cannot_be(build: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build()


def test_noise_in_training_and_none_afterwards() -> None:
    x = torch.ones(20_000)
    holes, noisy = MaskingNoise(0.3)(x), GaussianNoise(0.5)(x)
    assert set(holes.unique().tolist()) == {0.0, 1.0}
    assert_within((holes == 0).double().mean(), 0.3, math.sqrt(0.3 * 0.7 / len(x)))
    assert_within((noisy - x).square().mean(), 0.25, 0.25 * math.sqrt(2 / len(x)))
    assert torch.equal(MaskingNoise(0.3).eval()(x), x)
    assert torch.equal(GaussianNoise(0.5).eval()(x), x)
