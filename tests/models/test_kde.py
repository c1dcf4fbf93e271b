"""Kernel density estimates against scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KernelDensity
from torch import Tensor

from pyrogen import fit, load
from pyrogen.data import load as load_data
from pyrogen.distributions import LeaveOneOutBandwidth, Scott
from pyrogen.inference import log_likelihood
from pyrogen.models import KDE, kde
from tests.helpers.statistics import assert_within


def data(rows: int = 150, features: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(rows, features, generator=generator, dtype=torch.float64)
    return x * torch.tensor([1.0, 2.0, 0.5]).double()[:features] + 10


def fitted(x: Tensor, bandwidth: object, event_shape: object = 3) -> KDE:
    story = KDE(event_shape, len(x), bandwidth).to(x.dtype)
    story.prepare({"x": x})
    return story


@pytest.mark.parametrize("bandwidth", [0.05, 0.5, 5.0])
def test_log_prob_is_scikit_learns(bandwidth: float) -> None:
    x, new = data(), data(40) + 0.1
    exact = KernelDensity(bandwidth=bandwidth).fit(x.numpy()).score_samples(new.numpy())
    np.testing.assert_allclose(fitted(x, bandwidth).log_prob(new).numpy(), exact, rtol=0, atol=1e-9)


def test_log_prob_of_digits_is_scikit_learns() -> None:
    """With all data in one leaf: what its trees bound is off by whole nats in 64 dimensions."""
    splits = load_data("digits", dequantize=True)
    x, new = splits.train["x"], splits.test["x"]
    story = fitted(x, LeaveOneOutBandwidth(), (1, 8, 8))
    one_leaf = KernelDensity(bandwidth=float(story.bandwidth), leaf_size=len(x)).fit(x.flatten(1).double().numpy())
    exact = one_leaf.score_samples(new.flatten(1).double().numpy())
    np.testing.assert_allclose(story.log_prob(new).numpy(), exact, rtol=0, atol=1e-3)
    assert abs(float(log_likelihood(story, {"x": new}).value.mean()) - exact.mean()) < 1e-4
    np.testing.assert_allclose(story.double().log_prob(new.double()).numpy(), exact, rtol=0, atol=1e-6)


def test_memory_is_bounded_by_chunks_that_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = data()
    story = fitted(x, 0.3)
    whole = story.log_prob(x)
    sizes = []
    inner = kde.squared_distances
    monkeypatch.setattr(kde, "squared_distances", lambda a, b: sizes.append(len(a) * len(b)) or inner(a, b))
    monkeypatch.setattr(kde, "MAX_ELEMENTS", 1000)
    torch.testing.assert_close(story.log_prob(x), whole, rtol=0, atol=1e-12)
    assert max(sizes) <= 1000
    assert len(sizes) == 25


def test_samples_are_data_plus_noise_of_the_bandwidth() -> None:
    x = data(20)
    story = fitted(x, 0.4)
    drawn = story.sample(100_000)
    assert_within(drawn.mean(0), x.mean(0), drawn.std(0) / len(drawn) ** 0.5)
    square = (drawn - x.mean(0)).square()
    assert_within(square.mean(0), x.var(0, correction=0) + 0.4**2, square.std(0) / len(drawn) ** 0.5)


def test_the_bandwidth_left_to_itself_beats_scotts_rule_on_new_data() -> None:
    splits = load_data("digits", dequantize=True)
    x, new = splits.train["x"].flatten(1), splits.validation["x"].flatten(1)
    scores = [fitted(x, rule, 64).log_prob(new).mean() for rule in (LeaveOneOutBandwidth(), Scott())]
    assert scores[0] > scores[1] + 10


def test_a_run_folder_holds_the_data(tmp_path: object) -> None:
    x = data()
    run = fit(KDE(3, len(x)), {"x": x}, out=tmp_path / "run")
    loaded = load(tmp_path / "run").story
    assert torch.equal(loaded.points, x.float())
    assert torch.equal(loaded.log_prob(x.float()), run.story.log_prob(x.float()))
    assert loaded.rule == LeaveOneOutBandwidth()


def test_shapes() -> None:
    x = data(features=3)
    story = fitted(x.reshape(-1, 1, 1, 3), 0.3, (1, 1, 3))
    flat = fitted(x, 0.3)
    assert torch.equal(story.log_prob(x.reshape(3, 50, 1, 1, 3)), flat.log_prob(x).reshape(3, 50))
    assert story.sample(5).shape == (5, 1, 1, 3)


def test_refuses_bad_arguments_and_data() -> None:
    with pytest.raises(ValueError, match="positive bandwidth, or a rule for it, got bandwidth=0"):
        KDE(3, 10, 0.0)
    with pytest.raises(ValueError, match="built for total=10 data, and there are 150: pass total=150"):
        fit(KDE(3, 10), {"x": data()})
