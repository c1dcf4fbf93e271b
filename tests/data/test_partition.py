"""Fixed splits of rows: sizes, classes, and labels that are missing."""

import numpy as np
import pytest
import torch

from pyrogen.data.partition import count_classes, partition, split_columns
from tests.helpers.statistics import assert_within


@pytest.mark.parametrize("rows", [3, 4, 5, 9, 10, 11, 100, 1797])
def test_the_parts_are_disjoint_and_complete(rows):
    parts = partition(rows)
    assert sorted(np.concatenate(parts)) == list(range(rows))
    assert min(len(part) for part in parts) >= 1
    if rows >= 10:
        assert [len(part) for part in parts[:2]] == [7 * rows // 10, (rows + 5) // 10]


def test_classes_keep_their_shares_and_the_sizes_stay():
    labels = np.repeat(np.arange(4), [500, 300, 190, 7])
    train, validation, test = partition(len(labels), labels)
    assert [len(train), len(validation), len(test)] == [len(part) for part in partition(len(labels))]
    total = np.bincount(labels)
    for part, margin in ((train, 2), (validation, 1), (test, 1)):
        share = total * len(part) / len(labels)
        assert np.abs(np.bincount(labels[part], minlength=4) - share).max() < margin


def test_labels_all_different_are_split_as_any_other_rows():
    train, validation, test = partition(1000, np.arange(1000))
    assert (len(train), len(validation), len(test)) == (700, 100, 200)
    assert_within(np.mean(test), 499.5, 1000 / np.sqrt(12 * 200))


def test_the_rows_are_shuffled_within_each_part_and_the_choice_is_fixed():
    labels = np.repeat(np.arange(10), 100)
    again = partition(1000, labels)
    for part, same in zip(partition(1000, labels), again, strict=True):
        assert np.array_equal(part, same)
        assert len(np.unique(labels[part][:20])) > 3


def test_columns_are_split_alike():
    x = torch.arange(30.0)
    for part in split_columns({"x": x, "y": x.long() % 3}, "own"):
        assert torch.equal(part["x"].long() % 3, part["y"])
        assert part["y"].bincount().unique().numel() == 1


def test_two_rows_cannot_be_split():
    with pytest.raises(ValueError, match=r"own: 2 row\(s\) cannot be split; expected at least 3"):
        split_columns({"x": torch.zeros(2)}, "own")


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (torch.tensor([0, 4]), 5),
        (torch.tensor([-1, 4]), 5),
        (torch.tensor([-1, -1]), None),
        (torch.tensor([-2, 4]), None),
        (torch.tensor([0.0, 1.0]), None),
        (torch.tensor([[0], [1]]), None),
    ],
)
def test_classes_are_counted_where_y_is_one_label_a_row(y, classes):
    assert count_classes({"y": y}) == classes
    assert count_classes({"x": y}) is None
