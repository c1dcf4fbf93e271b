"""Event shapes and batch dimensions."""

import pytest
import torch
from torch import nn

from pyrogen.nn import as_shape, batch_shape, flatten, flatten_batch
from pyrogen.nn.shapes import image_shape


@pytest.mark.parametrize(
    ("given", "shape"),
    [(7, (7,)), ((1, 28, 28), (1, 28, 28)), ([3, 4], (3, 4)), ((), ()), (torch.Size([2, 3]), (2, 3))],
)
def test_sizes_and_sequences_of_them_are_shapes(given: object, shape: tuple[int, ...]) -> None:
    assert as_shape(given) == shape
    assert type(as_shape(given)) is tuple


@pytest.mark.parametrize("bad", [0, -1, (3, 0), 2.0, "28", None, (1, "a"), True, {3}])
def test_what_is_no_shape_is_refused(bad: object) -> None:
    with pytest.raises(ValueError, match="a shape is a positive whole number or a tuple of them"):
        as_shape(bad)


def test_image_shapes_have_three_dimensions() -> None:
    assert image_shape([3, 8, 6], "f", "use g") == (3, 8, 6)
    with pytest.raises(
        ValueError, match=r"^f is for images of shape \(channels, height, width\), got \(8, 6\): use g$"
    ):
        image_shape((8, 6), "f", "use g")


def test_batch_dimensions_are_those_in_front_of_the_event() -> None:
    x = torch.zeros(5, 4, 3)
    assert batch_shape(x, (4, 3), "f") == (5,)
    assert batch_shape(x, (), "f") == (5, 4, 3)
    assert batch_shape(x, (5, 4, 3), "f") == ()
    assert flatten(x, (4, 3), "f").shape == (5, 12)
    for event_shape in ((4,), (2, 5, 4, 3)):
        with pytest.raises(ValueError, match=r"f takes tensors of shape \(\.\.\., .*got \(5, 4, 3\)"):
            batch_shape(x, event_shape, "f")


@pytest.mark.parametrize("lead", [(), (5,), (2, 5), (2, 3, 5), (0,), (2, 0)])
def test_the_network_receives_one_batch_dimension(lead: tuple[int, ...]) -> None:
    shapes = []

    def network(x: torch.Tensor) -> torch.Tensor:
        shapes.append(x.shape)
        return x.sum((1, 2))

    x = torch.randn(*lead, 3, 4)
    torch.testing.assert_close(flatten_batch(network, x, (3, 4)), x.sum((-1, -2)))
    assert shapes == [(torch.Size(lead).numel(), 3, 4)]


def test_a_flattened_batch_equals_a_loop_for_a_convolution() -> None:
    conv, x = nn.Conv2d(1, 2, 3), torch.randn(2, 3, 1, 5, 5)
    out = flatten_batch(conv, x, (1, 5, 5))
    torch.testing.assert_close(out, torch.stack([torch.stack([conv(a[None])[0] for a in b]) for b in x]))
    with pytest.raises(ValueError, match=r"^Conv2d takes tensors of shape \(..., 1, 4, 4\), got \(2, 3, 1, 5, 5\)$"):
        flatten_batch(conv, x, (1, 4, 4))
    with pytest.raises(ValueError, match=r"^Encoder takes tensors of shape"):
        flatten_batch(conv, x, (1, 4, 4), "Encoder")
