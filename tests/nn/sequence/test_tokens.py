"""Events as tokens: rows, patches and steps."""

import pytest
import torch

from pyrogen.nn import RecurrentEncoder, Tokens, TransformerEncoder


def test_tokens_are_rows_patches_and_steps() -> None:
    image = torch.arange(48.0).reshape(1, 2, 4, 6)
    assert torch.equal(Tokens((2, 4, 6))(image)[0, 1], image[0, :, 1].flatten())
    patches = Tokens((2, 4, 6), (2, 3))
    assert (patches.length, patches.features) == (4, 12)
    assert torch.equal(patches(image)[0, 3], image[0, :, 2:, 3:].flatten())
    assert Tokens(7)(torch.zeros(2, 3, 7)).shape == (6, 7, 1)
    assert torch.equal(Tokens((4, 6))(image[0]), image[0])


def test_joined_tokens_are_the_event() -> None:
    for shape, patch in (((2, 4, 6), 2), ((2, 4, 6), (4, 3)), ((7, 3), None), ((7,), None)):
        tokens, x = Tokens(shape, patch), torch.rand(5, *shape)
        assert torch.equal(tokens.join(tokens(x)), x)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Tokens((1, 2, 3, 4)), r"Tokens is for images .*got \(1, 2, 3, 4\)"),
        (lambda: RecurrentEncoder((1, 8, 8), 2, patch=3), "RecurrentEncoder cannot cut 8 by 8 into patches of 3 by 3"),
        (lambda: TransformerEncoder((1, 8, 8), 2, patch=(2, 3)), "TransformerEncoder cannot cut 8 by 8 .* 2 by 3"),
    ],
)
def test_events_that_cannot_be_cut_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
