"""ELBO surgery, against pPCA's closed forms and at its extremes."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyrogen import Story
from pyrogen.diagnostics import elbo_surgery
from pyrogen.models import HierarchicalVAE
from tests.helpers.linear_gaussian import guide_covariance, ppca
from tests.helpers.statistics import assert_within


def test_the_surgery_of_pca_has_its_closed_forms(seed):
    story = ppca("meanfield")
    x = story.sample(1000)
    found = elbo_surgery(story, x, rows=1000, seed=seed)
    assert found.kl.value == pytest.approx(found.mutual_information.value + found.aggregate_kl.value, abs=1e-12)
    A, B = story.encoder.weight.detach(), guide_covariance(story)
    C = (story.weight @ story.weight.T).detach() + (2 * story.log_sigma).exp().detach() * torch.eye(5)
    aggregate = A @ C @ A.T + B
    information = (torch.logdet(aggregate) - torch.logdet(B)) / 2
    # A kernel estimate of the aggregate from 1000 data is biased by some 1/1000, below a tenth of the error.
    assert_within(found.mutual_information.value, information, found.mutual_information.error)
    divergence = (aggregate.trace() - 2 - torch.logdet(aggregate)) / 2
    assert_within(found.aggregate_kl.value, divergence, found.aggregate_kl.error)
    assert not found.saturated


def test_the_surgery_of_extremes(seed):
    story = ppca()
    same = story.sample(1).expand(40, 5)
    found = elbo_surgery(story, same, seed=seed)
    assert abs(found.mutual_information.value) < 1e-12
    apart = same + 1000.0 * torch.arange(40.0).double()[:, None]
    found = elbo_surgery(story, apart, rows=30, num_samples=2, seed=seed)
    assert found.mutual_information.value == pytest.approx(math.log(30), abs=1e-9)
    assert (found.rows, found.saturated) == (30, True)
    assert "mutual information at least 3.401 (at most 3.40 for 30 data)" in str(found)


def test_the_surgery_of_a_hierarchy_scores_all_latents_together(monkeypatch, seed):
    story = HierarchicalVAE((1, 4, 4), latents=(2, 3), hidden=(8,))
    x = torch.rand(20, 1, 4, 4).round()
    found = elbo_surgery(story, x, num_samples=3, seed=seed)
    monkeypatch.setattr("pyrogen.inference.likelihood.memory_budget.ELEMENTS", 256 * 50)  # draws two at a time
    assert elbo_surgery(story, x, num_samples=3, seed=seed).aggregate_kl == pytest.approx(found.aggregate_kl, abs=1e-4)
    assert -4.27 * found.mutual_information.error < found.mutual_information.value < math.log(20)


def test_a_guide_that_fixes_its_rows_has_no_aggregate():
    class Fixed(Story):
        def __init__(self):
            super().__init__()
            self.loc = nn.Parameter(torch.zeros(4))

        def model(self, x, n):
            with pyro.plate("data", n):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

        def guide(self, x, n):
            with pyro.plate("data", 4):
                pyro.sample("z", dist.Normal(self.loc, 1.0))

    with pytest.raises(ValueError, match="Fixed: its guide fixes its rows"):
        elbo_surgery(Fixed(), torch.zeros(4))
