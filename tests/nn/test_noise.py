"""Noise layers: their distribution in training mode, the identity in evaluation mode."""

import math
import re

import pytest
import torch

from pyrogen.nn import GaussianNoise, MaskingNoise
from tests.helpers.statistics import assert_within


def test_noise_is_added_in_training_mode_alone() -> None:
    x = torch.ones(20_000)
    holes, noisy = MaskingNoise(0.3)(x), GaussianNoise(0.5)(x)
    assert set(holes.unique().tolist()) == {0.0, 1.0}
    assert_within((holes == 0).double().mean(), 0.3, math.sqrt(0.3 * 0.7 / len(x)))
    assert_within((noisy - x).square().mean(), 0.25, 0.25 * math.sqrt(2 / len(x)))
    assert torch.equal(MaskingNoise(0.3).eval()(x), x)
    assert torch.equal(GaussianNoise(0.5).eval()(x), x)


def test_scales_and_rates_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"scale=-1\.0$"):
        GaussianNoise(-1.0)
    for rate in (1.0, -0.1, math.nan):
        with pytest.raises(ValueError, match=re.escape(f"rate={rate}")):
            MaskingNoise(rate)
