"""Masked convolutions and MADE by hand."""

import itertools

import pytest
import torch

from pyrogen.nn import MaskedConv2d, MaskedDense
from pyrogen.nn.pixel.incremental import IncrementalMaskedConv2d, incremental_sequential
from pyrogen.nn.pixel.masked import shift_down


@pytest.mark.parametrize("kernel", [1, 3, 5, (1, 3), (3, 1)])
@pytest.mark.parametrize("mask_type", ["A", "B"])
def test_a_masked_convolution_depends_on_the_pixels_and_groups_before(kernel, mask_type):
    conv = MaskedConv2d(6, 3, kernel, channel_groups=3, mask_type=mask_type).double()
    x = torch.rand(1, 6, 5, 5, dtype=torch.float64, requires_grad=True)
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    for group in range(3):
        conv.weight.data.fill_(1.0)
        (gradient,) = torch.autograd.grad(conv(x)[0, group, 2, 2], x)
        for channel, i, j in itertools.product(range(6), range(5), range(5)):
            near = abs(i - 2) <= height // 2 and abs(j - 2) <= width // 2
            before = i < 2 or (i == 2 and j < 2)
            own = (i, j) == (2, 2) and (channel // 2 < group or (mask_type == "B" and channel // 2 == group))
            assert bool(gradient[0, channel, i, j]) == (near and (before or own))


def test_a_masked_convolution_sums_what_its_mask_leaves():
    conv = MaskedConv2d(1, 1, 3)
    with torch.no_grad():
        conv.weight.fill_(1.0)
        conv.bias.fill_(0.5)
        out = conv(torch.arange(1.0, 10.0).reshape(1, 1, 3, 3))[0, 0]
    assert out.tolist() == [[0.5, 1.5, 2.5], [3.5, 10.5, 10.5], [9.5, 22.5, 19.5]]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MaskedConv2d(1, 1, (2, 3)), "odd kernel, which has a middle, got 2 by 3"),
        (lambda: MaskedConv2d(3, 4, 1, channel_groups=3), "channel_groups=3 must divide the channels, 3 and 4"),
    ],
)
def test_kernels_and_groups_that_do_not_fit_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@torch.no_grad()
def test_incremental_convolutions_equal_whole_ones():
    torch.manual_seed(0)
    x = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    layers = torch.nn.Sequential(MaskedConv2d(4, 6, 3, 2), torch.nn.SiLU(), MaskedConv2d(6, 2, (1, 5), 2, "B")).double()
    incremental = incremental_sequential(layers, 2, 3, 5)
    whole = layers(x)
    for i, j in itertools.product(range(3), range(5)):
        torch.testing.assert_close(incremental(i, j, x[:, :, i, j]), whole[:, :, i, j], rtol=0, atol=1e-12)


@torch.no_grad()
def test_a_pixel_that_is_set_again_replaces_the_former_one():
    conv = MaskedConv2d(1, 1, 3)
    incremental = IncrementalMaskedConv2d(conv, 1, 1, 2)
    incremental(0, 0, torch.tensor([[7.0]]))
    incremental.set_pixel(0, 0, torch.tensor([[2.0]]))
    expected = 2.0 * conv.weight[0, 0, 1, 0] + conv.bias[0]
    torch.testing.assert_close(incremental(0, 1, torch.tensor([[5.0]]))[0, 0], expected)


def test_shift_down_moves_rows_by_one():
    assert shift_down(torch.arange(1.0, 7.0).reshape(1, 1, 3, 2))[0, 0].tolist() == [[0, 0], [1, 2], [3, 4]]


@pytest.mark.parametrize("context", [0, 2])
def test_the_first_outputs_of_made_depend_on_the_context_alone(context):
    network = MaskedDense(5, outputs=3, hidden=(8,), context=context)
    given = [torch.randn(2, context)] if context else []
    first, other = (network(torch.randn(2, 5), *given)[:, 0] for _ in range(2))
    assert torch.equal(first, other)
    assert torch.equal(first[0], first[1]) == (not context)
