"""Splits: binarization, dequantization, and the protocol that a likelihood names."""

import hashlib
import json
import math

import pytest
import torch

from pyrogen.data import Columns, Dequantization, DynamicBinarization, Splits, load
from tests.helpers.statistics import assert_within


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def own(x, **known):
    part = Columns({"x": x})
    return Splits("own", part, part, part, **known)


def parts(splits):
    return splits.train, splits.validation, splits.test


def test_static_draws_have_the_grey_means(digits):
    static = digits.binarized("static", seed=3)
    assert (static.binarize, static.seed, static.levels) == ("static", 3, None)
    for grey, binary in zip(parts(digits), parts(static), strict=True):
        assert binary.transform is None
        assert set(binary["x"].unique().tolist()) == {0.0, 1.0}
        error = (grey["x"] * (1 - grey["x"])).sum().sqrt() / grey["x"].numel()
        assert_within(binary["x"].mean(), grey["x"].mean(), error)
        assert torch.equal(binary["y"], grey["y"])


def test_the_static_draw_and_the_split_never_change(digits):
    # Recorded once: figures published on this draw depend on every bit of it.
    static = digits.binarized("static")
    digests = [hashlib.sha256(part["x"].byte().numpy().tobytes()).hexdigest()[:16] for part in parts(static)]
    assert digests == ["ea400ea92b08d0f7", "60fad938f3128ca5", "84744719d18bb86f"]


def test_static_draws_are_independent_of_torchs_random_state(digits):
    first = digits.binarized("static")
    torch.manual_seed(99)
    for one, again in zip(parts(first), parts(digits.binarized("static")), strict=True):
        assert torch.equal(one["x"], again["x"])
    assert not torch.equal(first.train["x"], digits.binarized("static", seed=1).train["x"])


def test_dynamic_draws_training_data_anew_and_the_rest_once(digits):
    dynamic, static = digits.binarized("dynamic", seed=2), digits.binarized("static", seed=2)
    assert dynamic.train.transform == DynamicBinarization()
    assert torch.equal(dynamic.train["x"], digits.train["x"])
    assert not torch.equal(dynamic.train.batch()["x"], dynamic.train.batch()["x"])
    assert torch.equal(dynamic.validation["x"], static.validation["x"])
    assert torch.equal(dynamic.test["x"], static.test["x"])
    assert dynamic.test.transform is None
    assert dynamic.levels is None


def test_threshold_and_none(digits):
    cut = digits.binarized("threshold")
    assert torch.equal(cut.test["x"], (digits.test["x"] > 0.5).float())
    plain = digits.binarized("none")
    assert plain.binarize == "none"
    assert plain.train["x"] is digits.train["x"]
    assert plain.levels == 17
    assert plain.binarized("threshold").binarize == "threshold"


def test_whole_numbers_within_the_unit_interval_become_floats():
    splits = own(torch.tensor([[0, 1], [1, 1], [0, 0]]))
    for mode in ("static", "dynamic", "threshold"):
        drawn = splits.binarized(mode)
        assert drawn.train.batch()["x"].dtype == torch.float32
        assert drawn.train.batch()["x"].tolist() == [[0, 1], [1, 1], [0, 0]]


def test_dequantized_data_give_their_levels_back(digits):
    noisy = digits.dequantized(seed=1)
    assert noisy.train.transform == Dequantization(17)
    assert (noisy.levels, noisy.dequantize, noisy.seed) == (17, True, 1)
    for grey, drawn in zip(parts(digits), parts(noisy), strict=True):
        x = drawn.batch()["x"]
        assert x.min() >= 0
        assert x.max() < 1
        assert torch.equal((x * 17).floor() / 16, grey["x"])
    assert not torch.equal(noisy.train.batch()["x"], noisy.train.batch()["x"])
    assert torch.equal(noisy.test["x"], digits.dequantized(seed=1).test["x"])


def test_the_log_scale_makes_a_flat_density_the_uniform_distribution_on_levels(digits):
    assert digits.log_scale == 0
    # p(x') = 1 on the unit cube means P(level) = 1/17 for each of 64 pixels.
    assert digits.dequantized().log_scale == pytest.approx(64 * math.log(17))


def test_the_protocol_is_json(digits):
    protocol = json.loads(json.dumps(digits.binarized("static", seed=5).protocol()))
    assert protocol == {
        "data": "digits",
        "binarize": "static",
        "dequantize": False,
        "levels": None,
        "seed": 5,
        "rows": {"train": 1257, "validation": 180, "test": 360},
    }


def test_splits_are_found_by_name(digits):
    assert digits.split("validation") is digits.validation
    with pytest.raises(ValueError, match=r"split: expected train, validation, test, got 'tets'; did you mean 'test'\?"):
        digits.split("tets")


def test_the_event_shape_is_that_of_x(digits):
    assert digits.event_shape == (1, 8, 8)
    column = Columns({"counts": torch.zeros(3)})
    assert Splits("own", column, column, column).event_shape is None
    assert "event_shape=(1, 8, 8)" in repr(digits)


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        (lambda d: d.binarized("statc"), ["expected one of static, dynamic, threshold, none", "'statc'", "'static'?"]),
        (
            lambda d: d.binarized("static").binarized("dynamic"),
            ["digits", "already prepared (static)", "load them again"],
        ),
        (lambda d: d.binarized("static").binarized("none"), ["already prepared (static)"]),
        (lambda d: d.binarized("dynamic").dequantized(), ["already prepared (dynamic)"]),
        (lambda d: d.dequantized().binarized("static"), ["already prepared (dequantized)"]),
        (lambda d: own(torch.randn(9, 2)).binarized("static"), ["own", "within [0, 1]", "train", "values from -"]),
        (lambda d: own(torch.tensor([2.0])).binarized("threshold"), ["from 2 to 2", "leave binarize out"]),
        (lambda d: own(torch.rand(9, 2)).dequantized(), ["own", "grey levels", "leave dequantize out"]),
        (lambda d: own(torch.tensor([17.0]), levels=256).dequantized(), ["within [0, 1]", "leave dequantize out"]),
        (lambda d: d.binarized("static", seed=-1), ["seed", "-1"]),
    ],
)
def test_what_cannot_be_prepared_is_refused_in_one_line(digits, attempt, words):
    with pytest.raises(ValueError, match=r"\S") as caught:
        attempt(digits)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_data_without_x_or_with_a_transform_of_their_own_are_refused():
    column = Columns({"counts": torch.zeros(3)})
    with pytest.raises(ValueError, match="needs a column 'x', and the columns are counts"):
        Splits("own", column, column, column).binarized("static")
    mirrored = Columns({"x": torch.zeros(3)}, lambda batch: batch)
    with pytest.raises(ValueError, match="a transform of their own"):
        Splits("own", mirrored, mirrored, mirrored).binarized("dynamic")
