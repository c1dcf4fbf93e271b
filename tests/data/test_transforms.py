"""Binarization and dequantization, anew for each batch and once for all."""

import math

import pytest
import torch

from pyrogen.data import Columns, Dequantization, DynamicBinarization, check_columns
from pyrogen.data import columns as columns_module
from pyrogen.data.transforms import binarized_once, dequantized_once, grey_levels
from tests.helpers.statistics import assert_within


def test_dynamic_binarization_draws_anew_and_follows_torchs_seed():
    grey = torch.full((50, 40), 0.3)
    torch.manual_seed(0)
    first, second = (DynamicBinarization()({"x": grey, "y": grey})["x"] for _ in range(2))
    torch.manual_seed(0)
    assert torch.equal(first, DynamicBinarization()({"x": grey})["x"])
    assert not torch.equal(first, second)
    assert set(first.unique().tolist()) == {0.0, 1.0}
    assert_within(first.mean(), 0.3, (0.3 * 0.7 / 2000) ** 0.5)


def test_transforms_leave_the_batch_and_other_columns_alone():
    batch = {"x": torch.full((3,), 0.5), "y": torch.arange(3)}
    for transform in (DynamicBinarization(), Dequantization(256)):
        assert transform(batch)["y"] is batch["y"]
        assert batch["x"].tolist() == [0.5] * 3
        assert transform({"image": batch["x"]} | batch)["image"] is batch["x"]


def test_transforms_compare_and_print():
    assert Dequantization(256) == Dequantization(256) != Dequantization(17)
    assert repr(DynamicBinarization()) == "DynamicBinarization(column='x')"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("levels", [2, 17, 255, 256])
def test_dequantization_can_be_undone_exactly(levels, dtype, monkeypatch):
    level = torch.arange(levels).to(dtype)
    x = level / (levels - 1)
    assert torch.equal(grey_levels(x, levels), level)
    for noise in (0.0, torch.finfo(dtype).eps / 2, 0.5, 1 - torch.finfo(dtype).eps / 2):
        monkeypatch.setattr(torch, "rand_like", lambda like, noise=noise: torch.full_like(like, noise))
        noisy = Dequantization(levels)({"x": x})["x"]
        assert torch.equal((noisy * levels).floor(), level)
        assert noisy.min() >= 0
        assert noisy.max() < 1


def test_dequantization_noise_is_uniform_within_a_level():
    noise = Dequantization(17)({"x": torch.full((100_000,), 0.5)})["x"] * 17 - 8
    assert_within(noise.mean(), 0.5, (1 / 12 / 100_000) ** 0.5)
    assert_within(noise.var(), 1 / 12, (1 / 180 / 100_000) ** 0.5)


def test_one_draw_is_fixed_by_seed_and_split():
    grey = torch.rand(20, 30)
    for once in (lambda *key: binarized_once(grey, *key), lambda *key: dequantized_once(grey, 256, *key)):
        first = once(0, 1)
        torch.manual_seed(11)
        assert torch.equal(first, once(0, 1))
        assert not torch.equal(first, once(1, 1))
        assert not torch.equal(first, once(0, 2))


def test_one_draw_does_not_depend_on_the_chunks(monkeypatch):
    grey = torch.rand(20, 30)
    whole = binarized_once(grey, 0, 0), dequantized_once(grey, 256, 0, 0)
    monkeypatch.setattr(columns_module, "CHUNK_ELEMENTS", 70)
    assert torch.equal(whole[0], binarized_once(grey, 0, 0))
    assert torch.equal(whole[1], dequantized_once(grey, 256, 0, 0))


def test_one_draw_leaves_torchs_random_state_alone():
    state = torch.get_rng_state()
    binarized_once(torch.rand(5, generator=torch.Generator().manual_seed(0)), 0, 0)
    assert torch.equal(state, torch.get_rng_state())


def test_certain_pixels_stay():
    x = torch.tensor([0.0, 1.0]).repeat(10_000)
    assert torch.equal(binarized_once(x, 0, 0), x)
    assert torch.equal(DynamicBinarization()({"x": x})["x"], x)


@pytest.mark.gpu
def test_batches_on_a_gpu_are_drawn_there():
    columns = Columns({"x": torch.full((50, 40), 0.3)}).to("cuda")
    assert check_columns(columns) == 50
    binary = DynamicBinarization()(columns)["x"]
    assert binary.is_cuda
    assert_within(binary.mean(), 0.3, (0.3 * 0.7 / 2000) ** 0.5)
    noisy = Dequantization(256)({"x": torch.arange(256, device="cuda") / 255})["x"]
    assert torch.equal((noisy * 256).floor().long().cpu(), torch.arange(256))
    assert torch.equal(binarized_once(columns["x"], 0, 0).cpu(), binarized_once(columns["x"].cpu(), 0, 0))
    columns["x"][7, 3] = math.nan
    with pytest.raises(ValueError, match="1 of 50 rows, first in row 7"):
        check_columns(columns)
