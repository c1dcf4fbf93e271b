import json
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import t

from pyrogen import Story, fit
from pyrogen.data import Columns
from pyrogen.diagnostics import SampleQuality, sample_quality
from pyrogen.diagnostics.core.estimates import Estimate
from pyrogen.models import PPCA, KMeans
from tests.helpers.statistics import assert_within


class ByClass(Story):
    """x | y ~ N(10 y, 1), y given."""

    def model(self, x, y, n):
        with pyro.plate("data", n):
            return pyro.sample("x", dist.Normal(10.0 * y, 1.0), obs=x)

    def guide(self, x, y, n):
        pass


class Fourth:
    """The last of four numbers."""

    name = "the last number"

    def __call__(self, x):
        return x.reshape(len(x), -1)[:, 3:]


def test_a_story_that_knows_the_truth_is_as_good_as_data():
    """Every metric at what is expected of perfect samples, within its error; the Frechet distance within its bias."""
    truth, n, total = PPCA(3, latent=1), 500, 500
    data, training = truth.sample(total), truth.sample(1000)
    quality = sample_quality(truth, data, n, training=training)
    assert (quality.num_samples, quality.num_data, quality.num_training) == (n, total, 1000)
    assert_within(quality.kernel_distance.value, 0, quality.kernel_distance.error, sigmas=t.isf(1e-5, 10 - 1))
    assert quality.two_sample_p_value > 1e-4
    assert_within(quality.memorization.value, 0.5, quality.memorization.error)
    missed = math.prod((total - j) / (total + n - j) for j in range(1, 6))
    assert_within(quality.coverage.value, 1 - missed, math.sqrt(2) * quality.coverage.error)
    assert quality.frechet_distance.value < 0.2


def test_samples_of_another_distribution_are_detected():
    truth = PPCA(3, latent=1)
    quality = sample_quality(truth, truth.sample(300) + 3)
    assert quality.two_sample_p_value < 1e-9
    assert_within(quality.frechet_distance.value, 27, quality.frechet_distance.error)
    assert quality.memorization is None


def test_a_run_and_its_story_and_its_draws_are_the_same(seed):
    run = fit(PPCA(3, latent=1), torch.randn(100, 3), epochs=1, progress=False)
    data = torch.randn(60, 3)
    metrics = sample_quality(run, data, seed=seed).to_dict()
    assert metrics == sample_quality(run.story, data, seed=seed).to_dict()
    assert metrics != sample_quality(run.story, data, seed=seed + 1).to_dict()


def test_the_caller_s_random_state_is_kept():
    story, data = PPCA(3, latent=1), torch.randn(60, 3)
    state = torch.get_rng_state()
    sample_quality(story, data)
    assert torch.equal(state, torch.get_rng_state())


def test_columns_that_the_model_conditions_on_are_given_as_they_are():
    y = torch.randint(4, (300,))
    quality = sample_quality(ByClass(), {"x": 10.0 * y + torch.randn(300), "y": y})
    assert quality.two_sample_p_value > 1e-4
    wrong = sample_quality(ByClass(), {"x": 10.0 * y + torch.randn(300), "y": torch.zeros(300)})
    assert wrong.recall.value < 0.5
    more = sample_quality(ByClass(), {"x": 10.0 * y + torch.randn(300), "y": y}, 1500)
    assert (more.num_samples, more.num_data) == (1500, 300)


def test_data_are_compared_after_their_transform():
    x = torch.randn(60, 3)
    columns = Columns({"x": x}, lambda batch: {"x": batch["x"] + 9})
    assert sample_quality(x + 9, columns).frechet_distance.value == pytest.approx(0, abs=1e-6)


def test_what_is_compared_is_the_features_that_are_given():
    x = torch.randn(200, 2, 2)
    moved = x + torch.tensor([[0.0, 9.0], [9.0, 0.0]])
    quality = sample_quality(moved, x[torch.randperm(200)], features=Fourth())
    assert quality.features == "the last number"
    assert quality.frechet_distance.value == pytest.approx(0, abs=1e-6)
    assert sample_quality(moved, x).frechet_distance.value == pytest.approx(162, rel=1e-3)


def test_of_more_data_a_random_part_is_compared():
    x = torch.arange(1000.0)[:, None]
    quality = sample_quality(x[::10] + 0.1, x)
    assert (quality.num_samples, quality.num_data) == (100, 100)
    assert quality.recall.value > 0.9


def test_the_metrics_as_json_are_complete():
    quality = sample_quality(torch.randn(50, 2), torch.randn(50, 2), training=torch.randn(90, 2), seed=7)
    metrics = json.loads(json.dumps(quality.to_dict(), allow_nan=False))
    assert metrics["features"] == "raw values"
    assert (metrics["num_samples"], metrics["num_data"], metrics["num_training"], metrics["seed"]) == (50, 50, 90, 7)
    for name in ("frechet_distance", "kernel_distance", "precision", "recall", "density", "coverage", "memorization"):
        assert metrics[name] == getattr(quality, name).value
        assert metrics[f"{name}_error"] == getattr(quality, name).error
    assert 0 <= metrics["two_sample_p_value"] <= 1


def test_it_reads_as_a_table():
    half = Estimate(0.5, 0.02)
    quality = SampleQuality("pixels", 1000, 900, 0, 3, half, half, half, half, half, half, half, 0.25)
    assert str(quality).splitlines()[0] == "1,000 samples against 900 held-out data in pixels, seed 3"
    assert "two sample accuracy  0.500 ± 0.02  (p = 0.25)" in str(quality)
    assert "memorization" not in str(quality)


def test_bad_input_is_refused():
    x = torch.randn(60, 3)
    with pytest.raises(ValueError, match=r"a sample has shape \(3,\), a datum \(4,\)"):
        sample_quality(PPCA(3, latent=1), torch.randn(60, 4))
    with pytest.raises(ValueError, match="1 of 60 samples are not finite"):
        sample_quality(torch.where(torch.arange(60)[:, None] == 5, torch.inf, x), x)
    with pytest.raises(ValueError, match="expected a column 'x'"):
        sample_quality(x, {"a": x, "b": x})
    with pytest.raises(ValueError, match="KMeans has no sample"):
        sample_quality(KMeans(3, 2), x)
