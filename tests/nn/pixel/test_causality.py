"""Pixel networks: outputs depend on the elements before and on nothing else, in whole passes and incrementally."""

import math

import pytest
import torch

from pyrogen.nn import (
    GatedPixelCNN,
    MaskedDense,
    PixelCNN,
    PixelCNNPlusPlus,
    PixelRNN,
    PixelTransformer,
)

GREY, COLOUR = (1, 4, 5), (3, 3, 4)

NETWORKS = {
    "made": lambda: MaskedDense(GREY, outputs=2, hidden=(40, 50)),
    "made, context": lambda: MaskedDense(GREY, hidden=(40,), context=2),
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
    "diagonal LSTM of symbols": lambda: PixelRNN((4, 5), outputs=3, width=4, kind="diagonal", symbols=3, context=2),
}


def far_from_zero(build):
    """The network in float64 with large random parameters, so that every dependence that is possible shows."""
    torch.manual_seed(0)
    network = build().double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network


def contexts(network, rows):
    """A random context for each row, as the list of the network's further arguments."""
    context = getattr(network, "context", 0)
    shape = (context,) if isinstance(context, int) else context
    return [torch.randn(rows, *shape, dtype=torch.float64)] if context else []


def in_order(network, x):
    """Elements, or pixels, in their order (rows, positions, numbers)."""
    x = x.movedim(1, -1) if network.by_pixel else x
    return x.reshape(len(x), -1, math.prod(network.unit))


def dependence(network):
    """Whether the outputs at a position (first axis) depend on the element at another (second axis), by gradients."""
    positions = math.prod(network.event_shape) // math.prod(network.unit)
    x = torch.rand(positions, *network.event_shape, dtype=torch.float64, requires_grad=True)
    outputs = network(x, *contexts(network, positions)).reshape(positions, positions, -1)[
        range(positions), range(positions)
    ]
    (gradient,) = torch.autograd.grad((outputs * torch.randn_like(outputs)).sum(), x)
    return (in_order(network, gradient) != 0).any(-1)


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_have_no_gradient_with_respect_to_their_own_element_or_later_ones(name):
    depends = dependence(far_from_zero(NETWORKS[name]))
    assert not depends.triu().any()
    assert depends[1:].any(1).all()  # and each output but the first depends on something


@pytest.mark.parametrize("name", TRANSFORMERS | SYMBOLS)
def test_no_output_changes_with_its_own_element_or_later_ones(name):
    network = far_from_zero((TRANSFORMERS | SYMBOLS)[name])
    symbols = getattr(network, "symbols", 0)
    kinds, positions = symbols or network.levels, math.prod(network.event_shape)
    order = in_order(network, torch.arange(positions).reshape(1, *network.event_shape)).flatten()
    x = torch.randint(kinds, (positions,)).repeat(positions + 1, 1)
    x[range(positions), order] = (
        x[range(positions), order] + 1
    ) % kinds  # each row but the last has one element changed
    numbers = (x if symbols else x.double() / (kinds - 1)).reshape(positions + 1, *network.event_shape)
    context = [one[:1].expand(positions + 1, *one.shape[1:]) for one in contexts(network, 1)]
    outputs = network(numbers, *context).reshape(positions + 1, positions, -1)
    moved = ((outputs[:-1] - outputs[-1]).abs() > 1e-12).any(-1)
    assert not moved.tril().any()
    assert moved[:-1].any(1).all()


def test_the_gated_network_depends_on_all_pixels_before_and_the_plain_one_has_a_blind_spot():
    plain = dependence(far_from_zero(lambda: PixelCNN((1, 7, 7), width=4, blocks=6, kernel=3)))
    gated = dependence(far_from_zero(lambda: GatedPixelCNN((1, 7, 7), width=4, blocks=4, kernel=3)))
    everything = torch.ones(49, 49, dtype=torch.bool).tril(-1)
    assert torch.equal(gated, everything)
    # A step up goes one column to the right at most: pixels beyond have no effect, however many blocks there are.
    blind = (everything & ~plain)[3 * 7 + 3].reshape(7, 7)
    assert blind.nonzero().tolist() == [[1, 6], [2, 5], [2, 6]]


@pytest.mark.parametrize("name", [name for name in NETWORKS | TRANSFORMERS | SYMBOLS if not name.startswith("made")])
def test_incremental_outputs_equal_those_of_a_whole_pass(name):
    network = far_from_zero((NETWORKS | TRANSFORMERS | SYMBOLS)[name])
    symbols = getattr(network, "symbols", 0)
    x = torch.randint(2, (2, *network.event_shape))
    x, context = x if symbols else x.double(), contexts(network, 2)
    elements = in_order(network, x)
    elements = elements if network.unit else elements.squeeze(-1)
    whole = network(x, *context).reshape(2, elements.shape[1], -1)
    with torch.no_grad():
        step = network.steps(2, *context)
        for position in range(elements.shape[1]):
            so_far = elements.clone()
            so_far[:, position:] = 0
            assert torch.allclose(step(position, so_far).reshape(2, -1), whole[:, position], rtol=0, atol=1e-12)


def test_invalid_arguments_are_refused():
    with pytest.raises(ValueError, match=r"needs hidden layers of at least 10 units, got hidden=\(9,\)"):
        MaskedDense(10, hidden=(9,))
    with pytest.raises(ValueError, match="odd kernel"):
        PixelCNN((1, 4, 4), kernel=4)
    with pytest.raises(ValueError, match="3 do not divide width=16"):
        GatedPixelCNN((3, 4, 4), width=16)
    for network in (PixelCNN, PixelCNNPlusPlus, PixelTransformer):
        with pytest.raises(ValueError, match=rf"{network.__name__} is for images .*\(10,\)"):
            network(10)
    with pytest.raises(ValueError, match="kind is one of row, diagonal"):
        PixelRNN((1, 4, 4), kind="column")
    for network in (PixelCNN((1, 4, 4), width=4, blocks=1, context=2), PixelTransformer((1, 4, 4), context=2)):
        with pytest.raises(ValueError, match=r"made for a context .*: pass one"):
            network(torch.zeros(1, 1, 4, 4))
