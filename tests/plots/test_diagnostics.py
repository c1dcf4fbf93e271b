"""The pictures of a diagnosis show its results."""

import dataclasses

import numpy as np
import pytest
import torch

from pyrogen.diagnostics import BUDGETS, diagnose
from pyrogen.diagnostics.report.checks import CHECKS
from pyrogen.plots import DIAGNOSTIC_PLOTS, diagnostic_figures
from pyrogen.plots.theme import plain_label
from tests.helpers.linear_gaussian import ppca, scaled
from tests.helpers.shared_latents import location

BUDGET = dataclasses.replace(BUDGETS["quick"], rows=60, draws=100, ranked=19, shared_draws=200, replications=20)
BUDGET = dataclasses.replace(BUDGET, refined=3)


@pytest.fixture(scope="module")
def found():
    torch.manual_seed(0)
    story = scaled(ppca(), 0.5)
    with torch.no_grad():
        data = story.sample(60)
    return diagnose(story, data, budget=BUDGET)


def test_each_picture_has_the_name_of_a_check():
    assert set(DIAGNOSTIC_PLOTS) <= {check.name for check in CHECKS}


def test_there_is_a_picture_of_each_check_that_was_run(found, tmp_path):
    figures = diagnostic_figures(found)
    expected = ["importance_weights", "calibration", "inference_gaps", "elbo_decomposition"]
    expected += ["typicality", "predictive_check"]
    assert list(figures) == expected
    for name, figure in figures.items():
        figure.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 1000
        assert figure.get_facecolor()[3] == 0  # transparent


def test_data_above_the_threshold_have_another_colour(found):
    points = diagnostic_figures(found)["importance_weights"].axes[0].collections
    good, bad = (len(p.get_offsets()) for p in points)
    assert (good + bad, bad) == (60, found.results["importance_weights"].unreliable.sum())


def test_the_bound_goes_from_the_elbo_to_the_log_likelihood(found):
    axes = diagnostic_figures(found)["importance_weights"].axes[1]
    bound = axes.lines[0].get_ydata()
    assert bound[0] == pytest.approx(found.figures["elbo"].value)
    assert bound[-1] == pytest.approx(found.results["importance_weights"].log_likelihood.mean().value)
    assert axes.lines[-1].get_ydata()[0] == pytest.approx(found.figures["log_likelihood"].value)


def test_ranks_of_a_narrow_guide_leave_the_band(found):
    axes = diagnostic_figures(found)["calibration"].axes[0]
    assert {line.get_color() for line in axes.lines} == {"#cf5353"}
    cuts, below = axes.lines[0].get_data()
    ranks = np.concatenate([r.reshape(len(r), -1) for r in found.results["calibration"].ranks.values()], 1)
    expected = [(ranks < round(cut * 20)).mean(0) - cut for cut in cuts]
    assert any(np.allclose(below, column) for column in np.transpose(expected))


def test_shared_latents_have_their_intervals(seed):
    run = location(torch.randn(40), 2.0)
    figures = diagnostic_figures(diagnose(run, torch.randn(40), budget=BUDGET, seed=seed))
    assert list(figures) == ["shared_moments", "predictive_check"]
    assert [label.get_text() for label in figures["shared_moments"].axes[0].get_yticklabels()] == ["mu"]


@pytest.mark.parametrize("name", ["$a$b$", "$\\frac{", "a\\$b", "\x1b[31mred", "a\nb", "x" * 300])
def test_names_that_others_chose_are_shown_and_are_no_formulas(name, tmp_path):
    from matplotlib.figure import Figure

    label = plain_label(name)
    assert len(label.replace(r"\$", "$")) <= 40
    assert label.isprintable()
    figure = Figure()
    axes = figure.subplots()
    axes.set(xlabel=label)
    axes.set_yticks([0.5], [label])
    figure.savefig(tmp_path / "figure.png")


def test_pictures_of_sites_with_dollars_are_drawn(found, tmp_path):
    parts = found.results["elbo_decomposition"]
    kl = {f"${name}$ \\frac{{": value for name, value in parts.kl_by_dimension.items()}
    results = {**found.results, "elbo_decomposition": dataclasses.replace(parts, kl_by_dimension=kl)}
    results["predictive_check"] = {f"${n}^$": check for n, check in found.results["predictive_check"].items()}
    for name, figure in diagnostic_figures(dataclasses.replace(found, results=results)).items():
        figure.savefig(tmp_path / f"{name}.png")
