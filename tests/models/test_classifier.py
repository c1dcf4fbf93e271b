"""The discriminative story against logistic regression."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from pyrogen import fit
from pyrogen.data import load
from pyrogen.inference import adam, log_likelihood
from pyrogen.models import Classifier
from tests.helpers.statistics import assert_within


def overlapping(rows: int = 300) -> dict[str, Tensor]:
    """Three classes that no plane separates, so that the likelihood has a maximum."""
    generator = torch.Generator().manual_seed(3)
    y = torch.arange(rows) % 3
    centres = torch.tensor([[0.0, 0.0], [1.5, 0.0], [0.0, 1.5]])
    return {"x": centres[y] + torch.randn(rows, 2, generator=generator), "y": y}


def test_the_linear_one_is_logistic_regression_without_a_penalty() -> None:
    data = overlapping()
    x, labels = data["x"].double(), data["y"].numpy()
    theirs = LogisticRegression(C=math.inf, tol=1e-10, max_iter=1000).fit(x.numpy(), labels)

    def schedule(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 500)

    options = {"steps": 500, "batch_size": 300, "optimizer": adam(0.1), "schedule": schedule, "precision": "float64"}
    story = fit(Classifier(2, 3, hidden=()), data, **options).story
    np.testing.assert_allclose(story.probabilities(x).detach().numpy(), theirs.predict_proba(x.numpy()), atol=1e-4)
    exact = theirs.predict_log_proba(x.numpy())[np.arange(300), labels]
    assert abs(float(story.log_prob(x, data["y"]).detach().mean()) - exact.mean()) < 1e-7


def test_a_dense_one_learns_digits() -> None:
    splits = load("digits")
    run = fit(Classifier((1, 8, 8), 10), splits.train, epochs=8, optimizer=adam(1e-2))
    test = splits.test
    right = run.story.probabilities(test["x"]).argmax(-1) == test["y"]
    assert right.double().mean() > 0.95
    found = log_likelihood(run, dict(test))
    torch.testing.assert_close(found.value, run.story.log_prob(test["x"], test["y"]).detach())
    assert found.kind == "exact"
    assert found.k == 0


def test_it_must_answer_for_every_x() -> None:
    story = fit(Classifier(2, 3), overlapping(), epochs=2).story
    for x in (torch.randn(5, 2), 1e3 * torch.randn(5, 2), torch.zeros(5, 2)):
        torch.testing.assert_close(story.probabilities(x).sum(-1), torch.ones(5))


def test_labels_are_drawn_by_their_probabilities() -> None:
    story = fit(Classifier(2, 3), overlapping(), epochs=2).story
    x = torch.tensor([0.5, 0.5]).expand(20_000, 2)
    exact = story.probabilities(x[0])
    often = story.sample(20_000, x=x).bincount(minlength=3) / 20_000
    assert_within(often, exact, (exact * (1 - exact) / 20_000).sqrt())


def test_x_is_given_and_never_drawn() -> None:
    story = fit(Classifier(2, 3), overlapping(), epochs=1).story
    with pytest.raises(ValueError, match=r"a classifier does not model x: .* as in sample\(n, x=...\)"):
        story.sample(5)


def test_shapes_and_doors() -> None:
    story = Classifier((1, 4, 4), 3, network=torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3)))
    x, y = torch.randn(4, 5, 1, 4, 4), torch.randint(3, (4, 5))
    torch.testing.assert_close(story.log_prob(x, y)[2], story.log_prob(x[2], y[2]))
    assert story.probabilities(x).shape == (4, 5, 3)
    good = {"x": x[0], "y": y[0]}
    story.check(good)
    with pytest.raises(ValueError, match=r"Classifier takes .* \(n, 1, 4, 4\), got \(5, 16\)"):
        story.check({**good, "x": x[0].flatten(1)})
    with pytest.raises(ValueError, match="labels 'y' are none of 0 to 2"):
        story.check({**good, "y": y[0] + 3})
    with pytest.raises(ValueError, match="asks for 'y'"):
        fit(story, {"x": x[0]})
