"""Labels as vectors, and their validation."""

import numpy as np
import pytest
import torch

from pyrogen.nn import Label


def test_classes_are_one_hot_and_vectors_are_flattened():
    assert Label(classes=3)(torch.tensor([[2], [0]])).tolist() == [[[0, 0, 1]], [[1, 0, 0]]]
    label = Label(condition=(2, 2))
    assert label(torch.arange(4).reshape(1, 2, 2)).tolist() == [[0.0, 1.0, 2.0, 3.0]]
    assert (label.size, Label(classes=3).size, Label(condition=5).size) == (4, 3, 5)


def test_the_identity_matrix_is_no_part_of_the_state():
    assert not Label(classes=3).state_dict()


def test_one_label_is_repeated_for_all_rows():
    assert Label(classes=3).checked("A", 2, 4).tolist() == [2] * 4
    assert Label(classes=3).checked("A", [2, 0], 2).tolist() == [2, 0]
    assert Label(condition=2).checked("A", [0.5, 1.0], 2).tolist() == [[0.5, 1.0]] * 2
    assert Label(classes=3, missing=True).checked("A", [-1, 2], 2).tolist() == [-1, 2]


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: Label(), "pass classes=.*exactly one of them is required"),
        (lambda: Label(3, 2), "pass classes=.*and not both"),
        (lambda: Label(3).check("A", {"x": torch.zeros(2)}), r"^A asks for 'y', and .* no such column \(columns: x\)$"),
        (lambda: Label(3).check("A", {"y": torch.zeros(2, 1).long()}), r"shape \(n\), got \(2, 1\): reshape it$"),
        (lambda: Label(condition=2).check("A", {"y": torch.zeros(2, 3)}), r"shape \(n, 2\), got \(2, 3\): reshape it$"),
        (
            lambda: Label(3).check("A", {"y": torch.zeros(2)}),
            r"int64, got torch.float32: convert them with y.long\(\)$",
        ),
        (lambda: Label(3).checked("A", [0, 3, 4], 3), "^A: 2 of 3 labels 'y' are none of 0 to 2, such as 3$"),
        (lambda: Label(3).checked("A", [0, -1], 2), r"such as -1: missing labels \(-1\) need a SemiSupervisedVAE"),
        (lambda: Label(3, missing=True).checked("A", -2, 1), "none of 0 to 2 or -1 where it is not known, such as -2$"),
        (
            lambda: Label(3).checked("A", [0, 1], 3),
            "^A: 2 labels 'y' for 3 rows, expected one for each, or one for all$",
        ),
    ],
)
def test_what_are_no_labels_is_refused(check, message):
    with pytest.raises(ValueError, match=message):
        check()


@pytest.mark.parametrize(
    "value",
    [
        np.ma.masked_array([0, 1, 2], mask=[False, True, False]),
        np.ma.masked_array([[0], [1], [2]], mask=[[False], [False], [True]]),
        [0, np.ma.masked, 2],
        [np.ma.masked_array(0, mask=True), 1, 2],
    ],
    ids=["array", "of columns", "constant", "in a list"],
)
def test_masked_labels_are_refused(value):
    with pytest.raises((ValueError, TypeError), match=r"story: .*'y'"):
        Label(classes=3).checked("story", value, 3)


@pytest.mark.parametrize("value", [None, "a", {}, object(), [[0], [1, 2]], "0"])
def test_what_holds_no_labels_is_refused_in_one_line(value):
    with pytest.raises(TypeError, match=r"^story: 'y' is a \w+ that holds no labels[^\n]*$"):
        Label(classes=3).checked("story", value, 3)


def test_masks_that_hide_nothing_are_labels():
    assert Label(classes=3).checked("story", np.ma.masked_array([0, 1, 2], mask=False), 3).tolist() == [0, 1, 2]
