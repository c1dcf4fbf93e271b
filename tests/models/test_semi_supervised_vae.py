"""The VAE with missing labels: the exam, exact sums over labels, and that data without labels teach it."""

import inspect
import math

import pytest
import torch
from pyro.infer import TraceEnum_ELBO

from pyrogen import fit
from pyrogen.catalog import CATALOG, Entry
from pyrogen.data import load
from pyrogen.inference import adam, classify, log_likelihood, log_weights
from pyrogen.models import SemiSupervisedVAE
from tests import test_exam
from tests.helpers.statistics import assert_within

EVENT = (1, 4, 4)
EXAM = [test for name, test in vars(test_exam).items() if name.startswith("test_")]


def data(n, missing=0.5):
    y = torch.arange(n) % 3
    return {"x": (torch.rand(n, *EVENT) < 0.5).float(), "y": torch.where(torch.rand(n) < missing, -1, y)}


def small():
    torch.manual_seed(4)
    return SemiSupervisedVAE(EVENT, 2, classes=3, hidden=(16,))


@pytest.mark.free_store
@pytest.mark.parametrize("test", EXAM, ids=lambda test: test.__name__)
def test_sits_the_exam(test, monkeypatch, tmp_path):
    monkeypatch.setitem(CATALOG, "semi", Entry("semi", "labels partly missing", SemiSupervisedVAE, {}, tiny))
    known = {"name": "semi", "tmp_path": tmp_path, "monkeypatch": monkeypatch}
    test(**{name: known[name] for name in inspect.signature(test).parameters})


def tiny():
    generator = torch.Generator().manual_seed(3)
    x = (torch.rand(96, *EVENT, generator=generator) < 0.5).float()
    return small(), {"x": x, "y": torch.arange(96) % 4 - 1}


def bound(story, x, y, particles=4000):
    """The ELBO of each label by hand, its spread over particles, for data x and labels y."""
    with story.predicting():
        q = story.encode(x, y)
        z = q.sample((particles,))
        terms = story.decode(z, y).log_prob(x) + story.prior().log_prob(z) - q.log_prob(z)
    return terms.mean(0), terms.std(0) / math.sqrt(particles)


def test_the_elbo_is_the_sum_over_labels_by_hand(seed):
    story, rows = small(), data(8)
    x, y = rows["x"], rows["y"]
    each, errors = bound(story, x, torch.arange(3)[:, None])
    with story.predicting():
        q, prior = story.classify(x).probs.T, torch.full((3, 1), 1 / 3)
    missing = (q * (each + prior.log() - q.log())).sum(0)
    exact = torch.where(y < 0, missing, each.gather(0, y.clamp(min=0)[None])[0]).sum()
    with story.predicting():
        losses = torch.tensor(
            [TraceEnum_ELBO(max_plate_nesting=1).loss(story.model, story.guide, x, y, 8) for _ in range(400)]
        )
    error = (losses.var() / 400 + errors.square().sum()).sqrt()
    assert_within(-losses.mean(), exact, error)


def test_known_labels_cost_no_guess_and_missing_ones_are_summed_out():
    """log p(x | y) of a known label is the conditional story's; log p(x) of a missing one their sum over p(y)."""
    story, rows = small(), data(6, missing=0.0)
    story.frequencies.copy_(torch.tensor([0.5, 0.3, 0.2]))
    x = rows["x"]
    each = [log_likelihood(story, {"x": x, "y": torch.full((6,), k)}, 20_000, seed=k) for k in range(3)]
    exact = torch.logsumexp(torch.stack([e.value for e in each]) + story.frequencies.log()[:, None], 0)
    spread = torch.stack([e.error for e in each]).amax(0)
    found = log_likelihood(story, {"x": x, "y": torch.full((6,), -1)}, 20_000, seed=9)
    assert_within(found.value, exact, (found.error.square() + spread.square()).sqrt())
    plain = log_weights(story, {"x": x, "y": rows["y"]}, 3)
    assert plain.shape == (3, 6)


def test_known_labels_teach_the_guide_in_training_alone():
    story, rows = small(), data(40)
    story.prepare(rows)
    known = int((rows["y"] >= 0).sum())
    assert float(story.label_weight) == pytest.approx(1.0 * 40 / known)
    counts = rows["y"][rows["y"] >= 0].bincount(minlength=3) + 1
    torch.testing.assert_close(story.frequencies, counts / counts.sum())
    x, y = rows["x"], rows["y"]
    losses = []
    for mode in (True, False):
        story.train(mode)
        torch.manual_seed(1)
        losses.append(TraceEnum_ELBO(max_plate_nesting=1).loss(story.model, story.guide, x, y, 40))
    with torch.no_grad():
        log_prob = (story.label_weight * story.classify(x).log_prob(y.clamp(min=0)) * (y >= 0)).sum()
    assert losses[1] - losses[0] == pytest.approx(float(log_prob), rel=1e-4)


def test_samples_with_and_without_a_label():
    story = fit(small(), data(60), steps=3).story
    assert story.sample(4, y=2).shape == (4, *EVENT)
    assert story.sample(4).shape == (4, *EVENT)
    assert story.reconstruct(data(5)["x"], torch.full((5,), -1)).shape == (5, *EVENT)


def test_refusals():
    with pytest.raises(ValueError, match=r"SemiSupervisedVAE needs known labels, and all 9 in column .y. are missing"):
        fit(small(), data(9, missing=1.1), steps=1)
    with pytest.raises(ValueError, match=r"labels 'y' are none of 0 to 2 or -1 where it is not known, such as 7"):
        fit(small(), {"x": data(2)["x"], "y": torch.tensor([-1, 7])}, steps=1)
    with pytest.raises(ValueError, match="alpha of at least 0, got alpha=-1"):
        SemiSupervisedVAE(EVENT, 2, classes=3, alpha=-1)


def test_data_without_labels_teach_what_labels_alone_do_not():
    """60 labels, and 1197 digits without: nats more likely than by the 60 alone, and classified better."""
    digits = load("digits", binarize="static")
    y = digits.train["y"]
    kept = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))[:60]
    partly = torch.full_like(y, -1).index_copy(0, kept, y[kept])
    few = {"x": digits.train["x"][kept], "y": y[kept]}
    found = []
    for rows in (few, {"x": digits.train["x"], "y": partly}):
        torch.manual_seed(0)
        story = SemiSupervisedVAE(digits.event_shape, 4, 10, hidden=(64,))
        story = fit(story, rows, steps=200, batch_size=128, optimizer=adam(5e-3), compile=False).story
        right = classify(story, digits.test["x"], num_samples=10, seed=0).label == digits.test["y"]
        found.append((log_likelihood(story, digits.validation, 20, seed=0).mean()[0], float(right.double().mean())))
    assert found[1][0] > found[0][0] + 3
    assert found[1][1] > found[0][1] + 0.05
