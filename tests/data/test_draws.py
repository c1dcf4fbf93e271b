"""Random numbers of fixed data preparation: the same bits on every machine."""

import numpy as np
import pytest
import torch

from pyrogen.data import draws


def test_the_stream_is_numpys_own_uniform():
    stream = draws.bit_stream(3, 1)
    generator = np.random.Generator(draws.bit_stream(3, 1))
    assert np.array_equal(draws.uniform(stream, 1000), generator.random(1000))


def test_the_stream_never_changes():
    # Recorded once: figures of old runs on static draws depend on these bits.
    bits = draws.bit_stream(0, 2, 0).random_raw(2)
    assert bits.tolist() == [4893966194604045956, 1866359959608093551]


def test_seeds_and_keys_are_independent_and_global_states_do_not_matter():
    first = draws.uniform(draws.bit_stream(0, 1), 5)
    torch.manual_seed(7)
    assert np.array_equal(first, draws.uniform(draws.bit_stream(0, 1), 5))
    for other in (draws.bit_stream(1, 1), draws.bit_stream(0, 2), draws.bit_stream(0, 1, 1)):
        assert not np.array_equal(first, draws.uniform(other, 5))


def test_a_permutation_holds_every_position():
    assert sorted(draws.permutation(draws.bit_stream(5), 100)) == list(range(100))


@pytest.mark.parametrize(("value", "kind"), [(-1, ValueError), (0.5, TypeError), (True, TypeError), ("1", TypeError)])
def test_bad_seeds_are_refused(value, kind):
    with pytest.raises(kind, match="seed: expected an integer of at least 0, got"):
        draws.check_seed(value)
