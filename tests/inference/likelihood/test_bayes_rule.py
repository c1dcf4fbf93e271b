"""Bayes' rule against class-conditional Gaussians, whose every answer is exact."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrogen import Story, fit
from pyrogen.data import load
from pyrogen.inference import adam, classify, conditional_likelihood
from pyrogen.models import PPCA, ConditionalVAE, GaussianMixture
from tests.helpers.statistics import assert_within

MEANS = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0]])


class Clouds(Story):
    """z ~ N(0, I), x | y, z ~ N(mean_y + z, 1): p(x | y) = N(mean_y, 2 I); its guide is too wide by a factor."""

    classes = 3

    def __init__(self, wide=1.3):
        super().__init__()
        self.means, self.wide = torch.nn.Parameter(MEANS.clone()), wide

    def model(self, x, y, n):
        with pyro.plate("data", n):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(self.means[y] + z, 1.0).to_event(1), obs=x)

    def guide(self, x, y, n):
        with pyro.plate("data", n):
            centre = (x - self.means[y]) / 2
            pyro.sample("z", dist.Normal(centre, self.wide * math.sqrt(0.5)).to_event(1))


class Exact(Clouds):
    """The same, with its likelihood in closed form."""

    def log_prob(self, x, y):
        return torch.distributions.Normal(self.means[y], math.sqrt(2)).log_prob(x).sum(-1)


def exact(x, prior):
    joint = torch.distributions.Normal(MEANS, math.sqrt(2)).log_prob(x[:, None]).sum(-1).double() + prior.log()
    return joint, joint.logsumexp(1)


def test_exact_likelihoods_give_the_exact_rule():
    x, prior = 3 * torch.randn(50, 2), torch.tensor([0.5, 0.3, 0.2]).double()
    joint, evidence = exact(x, prior)
    result = classify(Exact(), x, prior=10 * prior)
    torch.testing.assert_close(result.log_evidence, evidence, rtol=0, atol=1e-5)
    torch.testing.assert_close(result.log_prob, joint - evidence[:, None], rtol=0, atol=1e-5)
    assert torch.equal(result.label, joint.argmax(1))
    assert result.p_value is None
    assert (result.error == 0).all()
    uniform = classify(Exact(), {"x": x, "y": torch.zeros(50).long()})
    torch.testing.assert_close(uniform.log_evidence, exact(x, torch.ones(3).double() / 3)[1], rtol=0, atol=1e-5)


def test_weighted_likelihoods_come_with_their_error(seed):
    x, prior = 2 * torch.randn(400, 2), torch.ones(3).double() / 3
    result = classify(Clouds(), x, num_samples=400, seed=seed)
    z = (result.log_evidence - exact(x, prior)[1]) / result.error
    assert_within(z.mean(), 0.0, 1 / math.sqrt(400))
    assert 0.7 < z.square().mean() < 1.3


def test_data_like_no_class_get_the_label_minus_one():
    """At the stated rate for data like the reference; always for far ones; for those in an empty middle, too."""
    story = Exact()

    def drawn(n):
        y = torch.arange(n) % 3
        return story.sample(n, y=y)

    reference = classify(story, drawn(3000))
    alike = classify(story, drawn(6000), reference=reference, false_alarm=0.05)
    rate = (alike.label == -1).double().mean()
    assert_within(rate, 0.05, math.sqrt(0.05 * 0.95 * (1 / 6000 + 1 / 3000)))
    assert ((alike.label == -1) == (alike.p_value <= 0.05)).all()
    far = classify(story, torch.full((5, 2), 20.0), reference=reference)
    assert (far.label == -1).all()
    # What is likelier than nearly all of the reference is as suspicious.
    grid = torch.cartesian_prod(torch.linspace(-2, 4, 61), torch.linspace(-2, 4, 61))
    peak = grid[classify(story, grid).log_evidence.argmax()]
    assert (classify(story, peak[None], reference=drawn(3000)).p_value < 0.01).all()


def test_refusals_of_classify():
    x = torch.randn(5, 2)
    nameless = Exact()
    nameless.classes = None
    with pytest.raises(ValueError, match=r"the number of classes is not known: pass classes="):
        classify(nameless, x)
    for prior in (torch.ones(2), torch.tensor([1.0, -1.0, 1.0]), torch.zeros(3)):
        with pytest.raises(ValueError, match="prior must hold a weight of at least 0 for each of the 3 classes"):
            classify(Exact(), x, prior=prior)
    with pytest.raises(ValueError, match=r"PPCA.model has no argument 'y'"):
        classify(PPCA(2, 1), x, classes=3)
    with pytest.raises(ValueError, match=r"between 0.33 and 1 for a reference of 5 data"):
        classify(Exact(), x, reference=x)


class Posterior:
    """p(y | x) of a mixture's components, and nothing that would make it a story."""

    def __init__(self, mixture):
        self.mixture = mixture

    def log_prob(self, y, x):
        return self.mixture.log_joint(x).log_softmax(1).gather(1, y[:, None])[:, 0]


def test_a_density_given_a_label_from_a_classifier_and_a_density(seed):
    """With the mixture of two Gaussians and the classifier that is its posterior, p(x | y) is each Gaussian."""
    story = GaussianMixture(1, 2)
    with torch.no_grad():
        story.logits.copy_(torch.tensor([0.3, 0.7]).log())
        story.means.copy_(torch.tensor([[-1.0], [1.0]]))
        story.raw_scales.zero_()
    x, y = torch.linspace(-2, 2, 9)[:, None], torch.arange(9) % 2
    component = torch.stack([story.component(k).log_prob(x) for k in range(2)], 1).detach()
    result = conditional_likelihood(Posterior(story), story, {"x": x, "y": y}, num_samples=4000, seed=seed)
    assert (result.error > 0).all()
    # One error for each of the two labels, shared by the data that have it.
    assert_within(result.value, component.gather(1, y[:, None])[:, 0], result.error)
    assert result.elbo.isnan().all()


def test_the_label_s_frequency_may_come_of_data():
    story, x = PPCA(2, 1), torch.randn(30, 2)
    y = torch.arange(30) % 2

    class Fair:
        def log_prob(self, y, x):
            return torch.full((len(x),), 0.5).log()

    for reference in (None, x, {"x": x}):
        result = conditional_likelihood(Fair(), story, {"x": x, "y": y}, reference=reference)
        torch.testing.assert_close(result.value, story.log_prob(x).detach().double())
        assert (result.error < 1e-9).all()
    with pytest.raises(ValueError, match="takes columns 'x' and 'y'"):
        conditional_likelihood(Fair(), story, x)


def test_digits_are_classified_by_a_conditional_vae():
    digits = load("digits", binarize="static")
    torch.manual_seed(0)
    story = ConditionalVAE(digits.event_shape, 8, digits.classes, hidden=(64,))
    run = fit(story, digits.train, steps=300, optimizer=adam(3e-3), compile=False)
    test, reference = digits.test["x"][:60], digits.validation["x"][:120]
    known = classify(run, reference, num_samples=10, seed=0)
    result = classify(run, test, num_samples=10, reference=known, false_alarm=0.02, seed=0)
    assert (result.log_prob.argmax(1) == digits.test["y"][:60]).double().mean() > 0.75
    inverted = classify(run, 1 - test, num_samples=10, reference=known, false_alarm=0.02, seed=0)
    assert (inverted.label == -1).double().mean() > 0.9
    assert (result.label == -1).double().mean() < 0.1
