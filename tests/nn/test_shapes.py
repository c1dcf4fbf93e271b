import pytest
import torch
from torch import nn

from pyrogen.nn import as_shape, batch_shape, flatten_batch


@pytest.mark.parametrize(
    ("given", "shape"),
    [(7, (7,)), ((1, 28, 28), (1, 28, 28)), ([3, 4], (3, 4)), ((), ()), (torch.Size([2, 3]), (2, 3))],
)
def test_as_shape(given: object, shape: tuple[int, ...]) -> None:
    assert as_shape(given) == shape
    assert type(as_shape(given)) is tuple


@pytest.mark.parametrize("bad", [0, -1, (3, 0), 2.0, "28", None, (1, "a"), True, {3}])
def test_as_shape_refuses(bad: object) -> None:
    with pytest.raises(ValueError, match="a shape is a positive whole number or a tuple of them"):
        as_shape(bad)


def test_leading() -> None:
    x = torch.zeros(5, 4, 3)
    assert batch_shape(x, (4, 3), "f") == (5,)
    assert batch_shape(x, (), "f") == (5, 4, 3)
    assert batch_shape(x, (5, 4, 3), "f") == ()
    for event_shape in ((4,), (2, 5, 4, 3)):
        with pytest.raises(ValueError, match=r"f takes tensors of shape \(\.\.\., .*got \(5, 4, 3\)"):
            batch_shape(x, event_shape, "f")


@pytest.mark.parametrize("lead", [(), (5,), (2, 5), (2, 3, 5), (0,), (2, 0)])
def test_fold_shows_the_network_one_leading_dimension(lead: tuple[int, ...]) -> None:
    seen = []

    def network(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.shape)
        return x.sum((1, 2))

    x = torch.randn(*lead, 3, 4)
    torch.testing.assert_close(flatten_batch(network, x, (3, 4)), x.sum((-1, -2)))
    assert seen == [(torch.Size(lead).numel(), 3, 4)]


def test_fold_equals_looping_for_a_convolution() -> None:
    conv, x = nn.Conv2d(1, 2, 3), torch.randn(2, 3, 1, 5, 5)
    folded = flatten_batch(conv, x, (1, 5, 5))
    torch.testing.assert_close(folded, torch.stack([torch.stack([conv(a[None])[0] for a in b]) for b in x]))
