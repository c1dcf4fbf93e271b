"""Diagnoses of guides that are exact, or wrong in a known way, for stories of every kind."""

import dataclasses
import json
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoDelta, AutoMultivariateNormal, AutoNormal

from pyrogen import Story, fit
from pyrogen.adversarial import GAN
from pyrogen.diagnostics import BUDGETS, diagnose
from pyrogen.diagnostics.report.checks import CHECKS
from pyrogen.models import PPCA, VQVAE, Autoencoder
from tests.helpers.linear_gaussian import correlated, ppca, scaled, shifted, untrained
from tests.helpers.shared_latents import line, location
from tests.helpers.stories import Mixture, schools, schools_model

SEEDS = (1, 2, 3)
BUDGET = dataclasses.replace(BUDGETS["quick"], rows=100, draws=150, ranked=19, shared_draws=1000, replications=20)
FAULTS = {
    "narrow": lambda: scaled(ppca(), 0.5),
    "wide": lambda: scaled(ppca(), 2.0),
    "shifted": lambda: shifted(ppca(), 0.5),
    "untrained": lambda: untrained(ppca()),
    "correlations": correlated,
}


def quick(story, n=200, seed=0, **options):
    """A quick diagnosis on data simulated from the story."""
    torch.manual_seed(seed)
    fitted = FAULTS[story]() if isinstance(story, str) else story
    with torch.no_grad():
        data = fitted.sample(n)
    return diagnose(fitted, data, budget=BUDGET, seed=seed, **options)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_each_planted_fault_is_found(fault, seed):
    found = quick(fault, seed=seed)
    assert found.verdict != "believe"
    assert fault in found.kinds
    assert found.verdict_on("fit") == found.verdict_on("latents") == "believe"


@pytest.mark.parametrize("seed", SEEDS)
def test_an_exact_guide_passes(seed):
    found = quick(ppca(), seed=seed)
    assert (found.verdict, found.reasons, found.remarks) == ("believe", [], [])
    assert found.figures["high_khat_share"].value == 0
    assert found.figures["inference_gap"].value == pytest.approx(0, abs=1e-9)
    assert found.figures["elbo"].value == pytest.approx(found.figures["log_likelihood"].value)
    judged = [name for name, figure in found.figures.items() if figure.verdict is not None]
    assert len(judged) >= 8


def test_figures_have_their_known_values():
    """The gap of a guide half as wide is K (log 2 - 3/8), and its 80 % intervals hold 47.8 %."""
    found = quick("narrow", n=500).figures
    assert found["inference_gap"].value == pytest.approx(
        2 * (math.log(2) - 3 / 8), abs=4.27 * found["inference_gap"].error
    )
    lowest, highest = found["coverage_min"], found["coverage_max"]
    assert lowest.value - 4.27 * lowest.error < 0.478 < highest.value + 4.27 * highest.error
    shift = quick("shifted", n=500).figures["mean_shift"]
    assert shift.value == pytest.approx(0.5, abs=4.27 * shift.error)


def test_without_an_exact_likelihood_the_verdict_is_the_same(seed):
    torch.manual_seed(seed)
    for factor, kind in ((1.0, None), (0.5, "narrow"), (2.0, "wide")):
        story = scaled(ppca(), factor)
        data = story.sample(200).detach()
        found = diagnose((story.model, story.guide), data, budget=BUDGET, seed=seed)
        assert "exact_log_likelihood" in found.skipped
        assert found.kinds == set() if kind is None else kind in found.kinds
        assert "intervals of z" in " ".join(found.reasons) or kind is None


def test_the_family_and_the_encoder_are_distinguished(seed):
    """Of the best mean-field guide nothing is the encoder's fault, of a shifted full one nothing the family's."""
    budget, family = dataclasses.replace(BUDGET, rows=20, refined=10), correlated()
    for story, kind, other in ((family, "family", "encoder"), (shifted(ppca(), 1.5), "encoder", "family")):
        found = diagnose(story, story.sample(20).detach(), budget=budget, seed=seed)
        assert kind in found.kinds
        assert other not in found.kinds
        if kind == "family":
            known = float(family.meanfield_gap().detach())
            assert found.figures["approximation_gap"].value == pytest.approx(known, abs=0.05)


@pytest.mark.slow
def test_shared_latents_under_the_exact_guide(seed):
    run, data, _ = line(AutoMultivariateNormal, 2 + torch.randn(100))
    found = diagnose(run, data, budget=BUDGET, seed=seed)
    assert (found.verdict, found.protocol["kind"]) == ("believe", "shared")
    assert found.figures["mean_shift"].value < 0.05
    assert found.figures["correlation_error"].value < 0.05


@pytest.mark.slow
def test_shared_latents_whose_correlation_the_guide_ignores(seed):
    run, data, precision = line(AutoNormal, 1 + torch.randn(100))
    found = diagnose(run, data, budget=BUDGET, seed=seed)
    covariance = torch.linalg.inv(precision)
    correlation = abs(float(covariance[0, 1] / covariance.diagonal().prod().sqrt()))
    assert "correlations" in found.kinds
    figure = found.figures["correlation_error"]
    assert figure.value == pytest.approx(correlation, abs=4.27 * figure.error)


@pytest.mark.parametrize(
    ("c", "by", "kind"), [(0.5, 0, "narrow"), (2.0, 0, "wide"), (1.0, 0.6, "shifted"), (1, 0, None)]
)
def test_a_shared_mean(c, by, kind, seed):
    x = torch.randn(40)
    run = location(x, c)
    with torch.no_grad():
        run.story.guide.locs.mu.add_(by / math.sqrt(40))
    found = diagnose(run, x, budget=BUDGET, seed=seed)
    assert found.kinds == ({kind} if kind else set())


def test_shared_latents_are_examined_on_the_training_data(seed):
    x = torch.randn(40)
    found = diagnose(location(x, 1.0), torch.randn(7), training=x, budget=BUDGET, seed=seed)
    assert (found.protocol["n"], found.verdict) == (40, "believe")
    refused = diagnose(location(x, 1.0), torch.randn(7), budget=BUDGET, seed=seed)
    assert refused.kinds == {"untested"}
    assert "pass the training data" in refused.reasons[0]


def test_without_latents_only_the_fit_is_in_question(seed):
    story = Mixture()
    found = quick(story, seed=seed)
    assert (found.verdict, found.protocol["kind"]) == ("believe", "exact")
    assert "without an approximate posterior" in found.remarks[0]
    wrong = diagnose(story, 2 + torch.randn(200), budget=BUDGET, seed=seed)
    assert (wrong.verdict, wrong.kinds, wrong.verdict_on("guide")) == ("caution", {"misfit"}, "believe")


def test_a_collapsed_posterior_is_a_remark_on_the_model(seed):
    story = ppca()
    with torch.no_grad():
        story.weight.zero_()
    found = quick(story.solve_guide(), seed=seed)
    assert found.verdict == "believe"
    assert "posterior collapse" in found.remarks[0]
    with torch.no_grad():
        story.weight[:, 0] = 1.0
    found = quick(story.solve_guide(), seed=seed)
    assert found.remarks == [
        "1 of 2 latents are inactive; the model does not need them, which is no fault of the guide; see which they are"
    ]


def test_overfitting_is_found_with_training_data_alone(seed):
    torch.manual_seed(seed)
    train, new = torch.randn(25, 12), torch.randn(200, 12)
    story = PPCA(12, latent=8).maximum_likelihood(train)
    assert "overfitted" not in diagnose(story, new, budget=BUDGET).kinds
    found = diagnose(story, new, training=train, budget=BUDGET)
    assert "overfitted" in found.kinds
    assert found.verdict_on("guide") == "believe"
    with torch.no_grad():
        gap = float(story.log_prob(train).mean() - story.log_prob(new).mean())
    assert found.figures["generalization_gap"].value == pytest.approx(gap, rel=0.05)


def test_a_generator_is_judged_by_its_samples_alone(seed):
    found = diagnose(GAN((1, 4, 4), latent=2), torch.rand(120, 1, 4, 4), budget=BUDGET, seed=seed)
    assert "only its samples are checked" in found.remarks[0]
    assert {figure.part for figure in found.figures.values()} == {"fit"}
    assert found.figures["two_sample_accuracy"].value > 0.8
    assert (found.verdict, found.kinds) == ("caution", {"misfit"})


def test_an_autoencoder_has_nothing_to_check():
    found = diagnose(Autoencoder((1, 4, 4), latent=2, hidden=(8,)), torch.rand(50, 1, 4, 4), budget=BUDGET)
    assert (found.verdict, found.kinds) == ("caution", {"untested"})
    assert "has neither a density" in found.reasons[0]


def test_a_point_estimate_is_no_posterior(seed):
    run, data, _ = line(AutoDelta, torch.randn(30))
    codes = VQVAE((1, 4, 4), (2,), codes=4, features=3, prior="uniform", hidden=(8,))
    for fitted, columns in ((run, data), (codes, torch.rand(40, 1, 4, 4).round())):
        found = diagnose(fitted, columns, budget=BUDGET, seed=seed)
        assert found.kinds - {"misfit"} == {"untested"}
        assert "the guide is a point estimate" in found.reasons[0]
        assert "khat" not in found.figures


class Rows(Story):
    """A latent of each datum, under a guide with parameters of the training rows alone."""

    def __init__(self):
        super().__init__()
        self.guide = AutoNormal(self.model)

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            return pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def test_a_guide_of_the_training_rows(seed):
    x = torch.randn(40) * 1.4
    run = fit(Rows(), {"x": x}, steps=1, progress=False)
    with torch.no_grad():
        run.story.guide.locs.z.copy_(x / 2)
        run.story.guide.scales.z = torch.full((40,), 0.5**0.5)
    found = diagnose(run, torch.randn(7), training=x, budget=BUDGET, seed=seed)
    assert (found.protocol["examined"], found.protocol["n"], found.protocol["kind"]) == ("training data", 40, "local")
    assert found.verdict == "believe"
    assert "is not amortized" in found.skipped["calibration"]
    run.story.guide.scales.z = torch.full((40,), 0.25)
    assert "narrow" in diagnose(run, x, budget=BUDGET, seed=seed).kinds


def test_a_check_that_cannot_run_is_skipped_with_its_reason(seed):
    data = schools()
    run = fit((schools_model, AutoNormal(schools_model)), data, steps=20, progress=False, seed=seed)
    found = diagnose(run, data, budget=BUDGET, seed=seed)
    assert found.protocol["kind"] == "shared"
    assert "expected at least 20 finite records" in found.skipped["convergence"]


def test_a_run_that_had_not_converged(seed):
    run = location(torch.randn(40), 1.0)
    run.history = [{"epoch": i, "train_elbo": -9.0 + 0.01 * i} for i in range(60)]
    found = diagnose(run, torch.randn(40), budget=BUDGET, seed=seed)
    assert "unfinished" in found.kinds
    run.history = [{"epoch": i, "train_elbo": -9.0 + 0.01 * (i % 3)} for i in range(60)]
    assert "unfinished" not in diagnose(run, torch.randn(40), budget=BUDGET, seed=seed).kinds


def test_the_same_seed_gives_the_same_figures_and_the_callers_random_state_is_kept():
    story = scaled(ppca(), 0.7)
    data, state, called = story.sample(100).detach(), torch.get_rng_state(), []
    progress = lambda name, done, of: called.append((name, done, of))  # noqa: E731
    one, two = (diagnose(story, data, budget=BUDGET, seed=4, progress=progress) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert one.to_dict()["figures"] == two.to_dict()["figures"]
    assert json.loads(json.dumps(one.to_dict(), allow_nan=False))["verdict"] == one.verdict
    assert called[0] == ("importance_weights", 0, called[0][2])
    assert called[len(called) // 2 - 1] == ("done", called[0][2], called[0][2])
    assert np.isfinite(one.protocol["seconds"]["total"])


def test_an_unknown_budget_is_refused():
    with pytest.raises(ValueError, match="budget: expected quick, standard, thorough or a Budget, got 'brief'"):
        diagnose(ppca(), torch.randn(5, 5), budget="brief")


def test_a_check_has_one_name_everywhere():
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() and name.islower() for name in names)
    run, data, _ = line(AutoMultivariateNormal, torch.randn(30))
    for found in (quick(ppca()), diagnose(run, data, budget=BUDGET)):
        ran = [*found.protocol["seconds"]][:-1]
        assert sorted([*found.results, *found.skipped]) == sorted(ran)
        assert ran == [name for name in names if name in ran]
        assert found.results


def test_a_check_that_fails_is_skipped_and_those_that_use_its_result_too(monkeypatch):
    def refused(examination):
        raise ValueError("no weights")

    without = [dataclasses.replace(c, run=refused) if c.name == "importance_weights" else c for c in CHECKS]
    monkeypatch.setattr("pyrogen.diagnostics.report.checks.CHECKS", without)
    story = ppca()
    found = diagnose((story.model, story.guide), story.sample(60).detach(), training=torch.randn(60, 5), budget=BUDGET)
    assert found.skipped["importance_weights"] == "no weights"
    for name in ("typicality", "overfitting"):
        assert "log-likelihood of each datum could not be computed" in found.skipped[name]
