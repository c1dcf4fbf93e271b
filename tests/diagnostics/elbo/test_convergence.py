"""Trends of runs, planted and absent."""

import math

import numpy as np
import pytest
import torch

from pyrogen import fit
from pyrogen.diagnostics import elbo_trend
from pyrogen.models import PPCA
from tests.helpers.statistics import assert_within


def history(figures):
    return [{"epoch": i, "train_elbo": float(figure)} for i, figure in enumerate(figures)]


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_noise_has_no_trend(correlation, seed):
    """The trend over its error is a standard normal variable, of autocorrelated noise nearly."""
    rng, z = np.random.default_rng(seed), []
    for _ in range(400):
        noise = rng.normal(size=600)
        for t in range(1, 600):
            noise[t] += correlation * noise[t - 1]
        z.append(elbo_trend(history(noise), window=1).z)
    assert_within(np.mean(z), 0.0, 1 / 20)
    assert 0.8 < np.std(z) < 1.3
    if correlation == 0.0:
        assert_within(np.std(z), 1.0, 1 / math.sqrt(800) + 0.02)


def test_a_planted_trend_is_found(seed):
    t = np.arange(1000)
    noise = np.random.default_rng(seed).normal(size=1000)
    found = elbo_trend(history(-100 + 0.002 * t + noise))
    assert_within(found.change.value, 0.002 * 499, found.change.error)
    assert abs(found.change.error / math.sqrt(12 / 500) - 1) < 0.3
    assert (found.records, found.z > 4) == (500, True)
    assert elbo_trend(history(-100 - 0.01 * t)).z < -1000
    assert elbo_trend(history(np.zeros(100))).z == 0.0


def test_a_run_that_was_stopped_early_still_rises(seed):
    story, x = PPCA(4, 1), 3 * torch.randn(200, 4)
    early = fit(story, x, epochs=40, progress=False, seed=seed)
    assert elbo_trend(early).z > 4.27
    assert "nats per datum over the last 20 records" in str(elbo_trend(early))


def test_too_little_history_is_refused():
    with pytest.raises(ValueError, match="expected at least 20 finite records of 'train_elbo' in the window, got 19"):
        elbo_trend(history(np.zeros(38)))
    with pytest.raises(ValueError, match="finite records of 'validation_elbo' in the window, got 0"):
        elbo_trend(history(np.zeros(100)), "validation_elbo")
    with pytest.raises(ValueError, match="finite"):
        elbo_trend(history([math.nan] * 50))
    with pytest.raises(ValueError, match="window must be above 0 and at most 1, got 2"):
        elbo_trend(history(np.zeros(100)), window=2)
