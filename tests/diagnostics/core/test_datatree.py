"""Draw arrays by hand, and the trees that are made of them."""

import numpy as np
import pytest
import torch

from pyrogen.diagnostics.core.datatree import DrawArrays, build_datatree


def filled(values, groups=("posterior",)):
    """Arrays with two blocks of draws of `z` (draws, data, 2) and a constant `t` (data,)."""
    arrays = DrawArrays(len(values), {*groups, "constant_data"}, "data")
    half = len(values) // 2
    arrays.add_draws("posterior", "z", 0, values[:half], ["data", None])
    arrays.add_draws("posterior", "z", half, values[half:], ["data", None])
    arrays.add_constant("constant_data", "t", torch.arange(values.shape[1]), ["data"])
    arrays.check_complete()
    return arrays


def test_blocks_of_draws_become_one_array():
    values = torch.randn(6, 3, 2)
    z = filled(values).groups["posterior"]["z"]
    assert torch.equal(torch.from_numpy(z.values), values[None])
    assert z.dims == ("data", None)


def test_draws_beyond_the_last_one_are_dropped():
    arrays = DrawArrays(5, {"posterior"}, "data")
    values = torch.randn(6)
    for start in (0, 3):
        arrays.add_draws("posterior", "a/b", start, values[start : start + 3], [])
    arrays.check_complete()
    assert torch.equal(torch.from_numpy(arrays.groups["posterior"]["a.b"].values[0]), values[:5])


def test_groups_that_are_not_wanted_are_dropped():
    assert set(filled(torch.randn(4, 3, 2), groups=()).groups) == {"constant_data"}


def test_half_precision_becomes_single():
    arrays = DrawArrays(1, {"posterior"}, "data")
    arrays.add_draws("posterior", "z", 0, torch.ones(1, dtype=torch.bfloat16), [])
    assert arrays.groups["posterior"]["z"].values.dtype == np.float32


def test_rows_are_concatenated_and_chains_stacked():
    first, second, other = torch.randn(4, 3, 2), torch.randn(4, 5, 2), torch.randn(4, 8, 2)
    arrays = filled(first)
    arrays.concatenate_rows(filled(second))
    assert arrays.groups["constant_data"]["t"].values.tolist() == [0, 1, 2, 0, 1, 2, 3, 4]
    arrays.stack_chains([filled(other)])
    z = torch.from_numpy(arrays.groups["posterior"]["z"].values)
    assert torch.equal(z, torch.stack([torch.cat([first, second], 1), other]))
    with pytest.raises(ValueError, match="the fits are not of one program: 'z' of posterior is not the same in all"):
        arrays.stack_chains([filled(first)])


def test_sites_that_change_between_draws_are_refused():
    arrays = DrawArrays(3, {"posterior"}, "data")
    arrays.add_draws("posterior", "z", 0, torch.ones(1, 2), [None])
    with pytest.raises(
        ValueError, match=r"site 'z' is not the same in every draw \(draw 1: shape \(3,\), before: \(2,\)"
    ):
        arrays.add_draws("posterior", "z", 1, torch.ones(1, 3), [None])
    with pytest.raises(
        ValueError, match=r"site 'z' is not the same in every draw \(draw 1: shape none, before: \(2,\)"
    ):
        arrays.check_complete()


def test_a_tree_has_names_labels_and_notes():
    arrays = filled(torch.randn(4, 3, 2))
    tree = build_datatree(arrays, {"seed": 3}, {"data": ["a", "b", "c"]}, {"z": ["axis"]})
    assert tree["posterior"]["z"].dims == ("chain", "draw", "data", "axis")
    assert tree["posterior"]["data"].values.tolist() == ["a", "b", "c"]
    assert tree["posterior"]["axis"].values.tolist() == [0, 1]
    assert tree["constant_data"]["t"].dims == ("data",)
    assert tree.attrs == {"seed": 3}
    assert build_datatree(arrays, {}, {}, {})["posterior"]["z"].dims == ("chain", "draw", "data", "z_dim_0")


@pytest.mark.parametrize(
    ("coords", "dims", "message"),
    [
        ({"place": [1]}, {}, "coords: there is no dimension 'place'.*rows: data"),
        ({"data": [1]}, {}, "coords: dimension 'data' has size 3, got 1 labels"),
        ({}, {"w": ["axis"]}, r"dims: there is no site 'w' \(have: t, z\)"),
    ],
)
def test_names_and_labels_of_nothing_are_refused(coords, dims, message):
    with pytest.raises(ValueError, match=message):
        build_datatree(filled(torch.randn(4, 3, 2)), {}, coords, dims)
