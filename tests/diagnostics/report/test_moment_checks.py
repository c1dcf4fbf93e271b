"""Verdicts on joint weights: decided, undecided, and what leave-one-out makes of a bad guide."""

import dataclasses

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal

from pyrogen import fit
from pyrogen.diagnostics import BUDGETS, diagnose
from pyrogen.diagnostics.core.estimates import Estimates
from pyrogen.diagnostics.guide.corrected_moments import Moments
from pyrogen.diagnostics.guide.importance import ImportanceWeights
from pyrogen.diagnostics.report.examination import Examination
from pyrogen.diagnostics.report.guide_checks import JOINT_WEIGHTS
from pyrogen.diagnostics.report.moment_checks import SHARED_MOMENTS
from pyrogen.diagnostics.report.thresholds import Assessment
from pyrogen.inference import adam, cosine

BUDGET = dataclasses.replace(BUDGETS["quick"], replications=20)


def location(x):
    mu = pyro.sample("mu", dist.Normal(torch.zeros(2), 3.0).to_event(1))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(mu.sum(-1), 1.0), obs=x)


def mean(x):
    mu = pyro.sample("mu", dist.Normal(0.0, 3.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(mu, 1.0), obs=x)


def trained(make, x, steps=500, model=location):
    options = {"steps": steps, "optimizer": adam(0.05), "schedule": cosine(steps), "progress": False}
    return fit((model, make(model)), {"x": x}, **options)


@pytest.mark.parametrize(("k", "verdict"), [(0.3, "believe"), (0.7, "caution"), (1.5, "do not believe")])
def test_joint_weights_of_a_pareto_tail(k, verdict):
    run, rng = trained(AutoMultivariateNormal, torch.randn(10), 5), np.random.default_rng(0)
    weights = ImportanceWeights(-k * np.log(rng.uniform(size=(8000, 1))))
    none = Estimates(np.zeros(2), np.zeros(2))
    moments = Moments(("a", "b"), rng.normal(size=(8000, 2)), weights, none, none, None)
    assessment = Assessment("guide")
    examination = Examination(run, {"x": torch.randn(10)}, None, BUDGET, 0)
    for check in (JOINT_WEIGHTS, SHARED_MOMENTS):
        check.judge(assessment, examination, moments)
    assert assessment.metrics["khat"].verdict == verdict
    assert [f.kind for f in assessment.findings] == {"believe": [], "caution": ["undecided"]}.get(verdict, ["narrow"])


def test_the_guide_is_asked_before_data_are_blamed():
    x = torch.randn(60)
    wrong = diagnose(trained(AutoNormal, x), {"x": x}, budget=BUDGET)
    assert wrong.verdict_on("guide") != "believe"
    assert not any("influence the posterior" in remark for remark in wrong.remarks)


def test_an_influential_datum_is_told_under_a_right_guide():
    x = torch.cat([0.1 * torch.randn(8), torch.tensor([14.0])])
    found = diagnose(trained(AutoMultivariateNormal, x, 500, mean), {"x": x}, budget=BUDGET)
    assert found.verdict_on("guide") == "believe", found.sentence
    told = [remark for remark in found.remarks if "leave-one-out" in remark]
    assert ["influence the posterior strongly" in remark for remark in told] == [True]


@pytest.mark.slow
def test_the_verdict_is_the_same_for_other_seeds():
    x = torch.randn(40)
    for make in (AutoNormal, AutoMultivariateNormal):
        run = trained(make, x)
        verdicts = set()
        for seed in range(5):
            assessment, examination = Assessment("guide"), Examination(run, {"x": x}, None, BUDGET, seed)
            for check in (JOINT_WEIGHTS, SHARED_MOMENTS):
                examination.results[check.name] = check.run(examination)
                check.judge(assessment, examination, examination.results[check.name])
            verdicts.add(max((f.verdict for f in assessment.findings), default="believe"))
        assert len(verdicts) == 1
