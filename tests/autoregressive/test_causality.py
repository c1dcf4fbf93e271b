"""Every network is told of what stands before, and of nothing else; drawn or scored, it says the same."""

import itertools
import math

import pytest
import torch

from pyrogen.nn import (
    GatedPixelCNN,
    MaskedConv2d,
    MaskedDense,
    PixelCNN,
    PixelCNNPlusPlus,
    PixelRNN,
    PixelTransformer,
)

GREY, COLOUR = (1, 4, 5), (3, 3, 4)

NETWORKS = {
    "made": lambda: MaskedDense(GREY, outputs=2, hidden=(40, 50)),
    "made, told": lambda: MaskedDense(GREY, hidden=(40,), context=2),
    **{f"pixelcnn, kernel {k}": lambda k=k: PixelCNN(GREY, width=4, blocks=2, kernel=k) for k in (3, 5, 7)},
    "pixelcnn, colour": lambda: PixelCNN(COLOUR, outputs=4, width=6, blocks=2, context=2),
    **{f"gated, kernel {k}": lambda k=k: GatedPixelCNN(GREY, width=4, blocks=3, kernel=k) for k in (3, 5)},
    "gated, colour": lambda: GatedPixelCNN(COLOUR, outputs=2, width=6, blocks=3, context=(2, 3, 4)),
    "pixelcnn++": lambda: PixelCNNPlusPlus(GREY, outputs=3, width=4, blocks=1, context=2),
    "pixelcnn++, colour": lambda: PixelCNNPlusPlus(COLOUR, outputs=7, width=4, blocks=2, sizes=2),
    "row LSTM": lambda: PixelRNN(GREY, width=4, layers=2, context=(2, 4, 5)),
    "row LSTM, colour": lambda: PixelRNN(COLOUR, outputs=2, width=6, layers=2),
    "diagonal LSTM": lambda: PixelRNN(GREY, width=4, layers=2, kind="diagonal"),
    "diagonal LSTM, colour": lambda: PixelRNN(COLOUR, outputs=2, width=6, layers=2, kind="diagonal", context=2),
}
"""Networks whose inputs have gradients."""
TRANSFORMERS = {
    "transformer": lambda: PixelTransformer(GREY, width=8, heads=2, layers=2),
    "transformer, colour": lambda: PixelTransformer(COLOUR, levels=4, outputs=2, width=8, heads=2, context=2),
}
SYMBOLS = {
    "pixelcnn of symbols": lambda: PixelCNN((4, 5), outputs=3, width=4, blocks=1, symbols=3),
    "gated of symbols": lambda: GatedPixelCNN((4, 5), outputs=3, width=4, blocks=2, symbols=3),
    "row LSTM of symbols": lambda: PixelRNN((4, 5), outputs=3, width=4, layers=1, symbols=3),
}


def far_from_zero(build):
    """The network in float64, its parameters far from where it starts, so that whatever can be told is."""
    torch.manual_seed(0)
    network = build().double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network


def told(network, rows):
    context = getattr(network, "context", 0)
    shape = (context,) if isinstance(context, int) else context
    return [torch.randn(rows, *shape, dtype=torch.float64)] if context else []


def in_order(network, x):
    """Elements, or pixels, in their order (rows, places, numbers)."""
    x = x.movedim(1, -1) if network.by_pixel else x
    return x.reshape(len(x), -1, math.prod(network.unit))


def gradients(network):
    """Whether the outputs at a place (first axis) depend on what stands at another (second axis): a row for each."""
    places = math.prod(network.event_shape) // math.prod(network.unit)
    x = torch.rand(places, *network.event_shape, dtype=torch.float64, requires_grad=True)
    outputs = network(x, *told(network, places)).reshape(places, places, -1)[range(places), range(places)]
    (found,) = torch.autograd.grad((outputs * torch.randn_like(outputs)).sum(), x)
    return (in_order(network, found) != 0).any(-1)


@pytest.mark.parametrize("name", NETWORKS)
def test_no_gradient_reaches_an_output_from_its_own_place_or_later_ones(name):
    depends = gradients(far_from_zero(NETWORKS[name]))
    assert not depends.triu().any()
    assert depends[1:].any(1).all()  # and each output but the first is told something


@pytest.mark.parametrize("name", TRANSFORMERS | SYMBOLS)
def test_no_output_changes_with_its_own_place_or_later_ones(name):
    network = far_from_zero((TRANSFORMERS | SYMBOLS)[name])
    symbols = getattr(network, "symbols", 0)
    kinds, places = symbols or network.levels, math.prod(network.event_shape)
    order = in_order(network, torch.arange(places).reshape(1, *network.event_shape)).flatten()
    x = torch.randint(kinds, (places,)).repeat(places + 1, 1)
    x[range(places), order] = (x[range(places), order] + 1) % kinds  # each row but the last has one place changed
    numbers = (x if symbols else x.double() / (kinds - 1)).reshape(places + 1, *network.event_shape)
    context = [one[:1].expand(places + 1, *one.shape[1:]) for one in told(network, 1)]
    outputs = network(numbers, *context).reshape(places + 1, places, -1)
    moved = ((outputs[:-1] - outputs[-1]).abs() > 1e-12).any(-1)
    assert not moved.tril().any()
    assert moved[:-1].any(1).all()


def test_the_gated_network_sees_all_that_precedes_and_the_plain_one_has_a_blind_spot():
    plain = gradients(far_from_zero(lambda: PixelCNN((1, 7, 7), width=4, blocks=6, kernel=3)))
    gated = gradients(far_from_zero(lambda: GatedPixelCNN((1, 7, 7), width=4, blocks=4, kernel=3)))
    everything = torch.ones(49, 49, dtype=torch.bool).tril(-1)
    assert torch.equal(gated, everything)
    # A step up goes one column to the right at most: what lies beyond is unseen, however many blocks there are.
    blind = (everything & ~plain)[3 * 7 + 3].reshape(7, 7)
    assert blind.nonzero().tolist() == [[1, 6], [2, 5], [2, 6]]


@pytest.mark.parametrize("kernel", [1, 3, 5, (1, 3), (3, 1)])
@pytest.mark.parametrize("own", [False, True])
def test_a_masked_convolution_sees_what_its_mask_says(kernel, own):
    conv = MaskedConv2d(6, 3, kernel, groups_of=3, own=own).double()
    x = torch.rand(1, 6, 5, 5, dtype=torch.float64, requires_grad=True)
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    for group in range(3):
        conv.weight.data.fill_(1.0)
        (found,) = torch.autograd.grad(conv(x)[0, group, 2, 2], x)
        for channel, i, j in itertools.product(range(6), range(5), range(5)):
            near = abs(i - 2) <= height // 2 and abs(j - 2) <= width // 2
            before = i < 2 or (i == 2 and j < 2)
            here = (i, j) == (2, 2) and (channel // 2 < group or (own and channel // 2 == group))
            assert bool(found[0, channel, i, j]) == (near and (before or here))


@pytest.mark.parametrize("name", [name for name in NETWORKS | TRANSFORMERS | SYMBOLS if not name.startswith("made")])
def test_steps_say_what_a_whole_pass_says(name):
    network = far_from_zero((NETWORKS | TRANSFORMERS | SYMBOLS)[name])
    symbols = getattr(network, "symbols", 0)
    x = torch.randint(2, (2, *network.event_shape))
    x, context = x if symbols else x.double(), told(network, 2)
    elements = in_order(network, x)
    elements = elements if network.unit else elements.squeeze(-1)
    whole = network(x, *context).reshape(2, elements.shape[1], -1)
    with torch.no_grad():
        step = network.steps(2, *context)
        for place in range(elements.shape[1]):
            so_far = elements.clone()
            so_far[:, place:] = 0
            assert torch.allclose(step(place, so_far).reshape(2, -1), whole[:, place], rtol=0, atol=1e-12)


def test_what_networks_cannot_do_is_said():
    with pytest.raises(ValueError, match="needs hidden layers as wide"):
        MaskedDense(10, hidden=(9,))
    with pytest.raises(ValueError, match="odd kernel"):
        PixelCNN((1, 4, 4), kernel=4)
    with pytest.raises(ValueError, match="3 do not divide width=16"):
        GatedPixelCNN((3, 4, 4), width=16)
    with pytest.raises(ValueError, match="images"):
        PixelCNN(10)
    with pytest.raises(ValueError, match="kind is one of row, diagonal"):
        PixelRNN((1, 4, 4), kind="column")
    with pytest.raises(ValueError, match="made for a context"):
        PixelCNN((1, 4, 4), width=4, blocks=1, context=2)(torch.zeros(1, 1, 4, 4))
