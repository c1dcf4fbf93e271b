"""Tiles: every tile has a vector of its own."""

import pytest
import torch

from pyrogen.nn import TileDecoder, TileEncoder


def test_each_tile_has_a_vector_of_its_own():
    encoder, decoder = TileEncoder((1, 4, 6), 3, tile=2, hidden=(8,)), TileDecoder(3, (1, 4, 6), tile=2, hidden=(8,))
    x = torch.rand(5, 1, 4, 6)
    changed = x.clone()
    changed[:, :, 2:, 4:] += 1
    with torch.no_grad():
        moved = (encoder(changed) - encoder(x)).abs().amax((0, 3)) > 0
        z = encoder(x)
        one = z.clone()
        one[:, 1, 2] += 1
        redrawn = (decoder(one) - decoder(z)).abs().amax((0, 1)) > 0
    assert moved.tolist() == [[False, False, False], [False, False, True]]
    assert redrawn.nonzero().amin(0).tolist() == [2, 4]
    assert int(redrawn.sum()) == 4


def test_tiles_that_do_not_divide_the_image_are_refused():
    with pytest.raises(ValueError, match="TileEncoder cannot cut 4 by 6"):
        TileEncoder((1, 4, 6), 3, tile=4)
