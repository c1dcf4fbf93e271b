"""Checks that many stories share: event shapes, lengths, labels."""

import re

import pytest
import torch

from pyrogen.models import ConditionalVAE
from pyrogen.story import Labelled, check_event, check_length


def test_an_event_of_the_shape_passes_and_others_are_refused():
    check_event("Mine", "features", {"x": torch.zeros(5, 3)}, (3,))
    with pytest.raises(
        ValueError, match=r"^Mine takes a column 'x' of shape \(n, 3\), got \(5, 4\): .*features=\(4,\)$"
    ):
        check_event("Mine", "features", {"x": torch.zeros(5, 4)}, (3,))
    with pytest.raises(ValueError, match=r"of shape \(n, 3\), got \(\)"):
        check_event("Mine", "features", {"x": torch.zeros(())}, (3,))


def test_a_missing_column_lists_what_there_is():
    with pytest.raises(ValueError, match=r"Mine asks for 'x', and the data has no such column \(columns: y, z\)"):
        check_event("Mine", "features", {"y": torch.zeros(5), "z": torch.zeros(5)}, (3,))
    with pytest.raises(ValueError, match="the data has no columns"):
        check_event("Mine", "features", {}, (3,))


def test_lengths_within_the_limit_pass_and_need_not_be_there():
    check_length("Mine", {}, 4)
    check_length("Mine", {"length": torch.tensor([0, 4, 2])}, 4)


@pytest.mark.parametrize(
    ("length", "got"),
    [
        ([0, 5], r"\(2,\) of int64 from 0 to 5"),
        ([-1, 4], r"\(2,\) of int64 from -1 to 4"),
        ([0.0, 4.0], r"\(2,\) of float32 from 0.0 to 4.0"),
        ([[0, 4]], r"\(1, 2\) of int64 from 0 to 4"),
    ],
)
def test_other_lengths_are_refused(length, got):
    with pytest.raises(
        ValueError, match=rf"^Mine takes a column 'length' of whole numbers from 0 to 4, shape \(n,\), got {got}$"
    ):
        check_length("Mine", {"length": torch.tensor(length)}, 4)


def test_labels_are_checked_after_the_event_and_given_one_for_all_or_each():
    story = ConditionalVAE((3,), 2, classes=4, hidden=())
    assert isinstance(story, Labelled)
    x, y = torch.zeros(5, 3), torch.tensor([0, 1, 2, 3, 0])
    story.check({"x": x, "y": y})
    with pytest.raises(ValueError, match="takes a column 'x'"):
        story.check({"x": x[:, :2], "y": y + 9})
    with pytest.raises(ValueError, match="ConditionalVAE: 1 of 5 labels"):
        story.check({"x": x, "y": y + 1})
    assert story.sample(5, y=3).shape == (5, 3)
    assert story.sample(5, y=y).shape == (5, 3)
    with pytest.raises(ValueError, match="ConditionalVAE: 5 of 5 labels"):
        story.sample(5, y=4)


@pytest.mark.parametrize(
    ("dtype", "integer", "words"),
    [
        (torch.complex64, None, "real numbers, got complex64"),
        (torch.complex64, False, "real numbers, got complex64"),
        (torch.uint8, False, "floating-point numbers, got uint8: convert it with x.float()"),
        (torch.int64, False, "floating-point numbers, got int64"),
        (torch.uint8, True, "type int64, got uint8: convert it with x.long()"),
        (torch.float32, True, "type int64, got float32"),
    ],
)
def test_numbers_of_another_type_are_refused_with_what_to_type(dtype, integer, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        check_event("Story", "event_shape", {"x": torch.zeros(3, 2, dtype=dtype)}, (2,), integer)
