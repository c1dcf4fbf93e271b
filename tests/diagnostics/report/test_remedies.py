"""Every remedy is a line of Python that runs as it is, for each kind of story that it is given for."""

import inspect
from functools import partial
from types import SimpleNamespace

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal

import pyrogen
from pyrogen import Story, fit
from pyrogen.diagnostics import BUDGETS, Finding, diagnose
from pyrogen.diagnostics.report.checks import CHECKS
from pyrogen.diagnostics.report.examination import Budget, Examination
from pyrogen.diagnostics.report.remedies import Remedies, _rows
from pyrogen.models import PPCA, VAE, GaussianMixture

X = torch.randn(48, 3, generator=torch.Generator().manual_seed(0))


class Location(Story):
    """One mean for all data."""

    def __init__(self):
        super().__init__()
        self.guide = AutoNormal(self.model)

    def model(self, x, total, index):
        mean = pyro.sample("mean", dist.Normal(torch.zeros(3), 10.0).to_event(1))
        with pyro.plate("data", total, subsample=index):
            return pyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=x)


def location(x):
    mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(mean, 1.0).expand([3]).to_event(1), obs=x)


STORIES = {
    "vae": lambda: VAE(3, 2, likelihood=pyrogen.distributions.Gaussian(), hidden=(8,)),
    "ppca": lambda: PPCA(3, latent=2),
    "shared": Location,
    "pair": lambda: (location, AutoNormal(location)),
    "exact": lambda: GaussianMixture(3, components=2),
}
APPLIES = {
    "weight_draws": "vae ppca shared pair",
    "flexible_guide": "vae ppca shared pair",
    "train_longer": "vae ppca shared pair exact",
    "larger_model": "vae ppca shared pair exact",
    "compare_with_mcmc": "vae ppca shared pair",
    "more_draws": "vae shared pair",
    "count_draws": "vae ppca",
    "more_starts": "shared pair",
    "use_start": "shared pair",
    "free_of_labels": "shared pair",
    "warm_up": "vae ppca",
    "list_latents": "vae ppca",
    "flexible_prior": "vae ppca",
    "see_samples": "vae ppca shared pair exact",
    "stop_earlier": "vae ppca exact",
    "list_influential": "shared pair",
    "other_prior": "shared pair",
    "see_prior": "vae shared pair",
    "guide_with_a_variance": "shared pair",
}
SLOW = {"flexible_guide", "list_influential", "more_starts"}
TINY = Budget(20, 40, 40, 9, 0, 100, 100, 10, 40, 5)
CASES = [
    pytest.param(name, story, marks=[pytest.mark.slow] if name in SLOW else [])
    for name, stories in APPLIES.items()
    for story in stories.split()
]


@pytest.fixture(scope="module")
def runs():
    """A run of each story: of latents that data share until the guide fits, since lines refuse weights that fail."""
    lengths = dict.fromkeys(STORIES, 2) | {"shared": 300, "pair": 300}
    return {
        name: fit(make(), {"x": X}, epochs=lengths[name], optimizer=partial(torch.optim.Adam, lr=0.02), progress=False)
        for name, make in STORIES.items()
    }


@pytest.fixture
def quick(monkeypatch):
    """Lines run as they are, with fewer steps and draws."""
    real_fit = fit

    def short_fit(*args, **options):
        options = {key: value for key, value in options.items() if key != "steps"}
        return real_fit(*args, **{**options, "epochs": 1, "progress": False})

    monkeypatch.setitem(BUDGETS, "thorough", TINY)
    monkeypatch.setitem(BUDGETS, "standard", TINY)
    monkeypatch.setattr(pyrogen, "fit", short_fit)
    monkeypatch.setattr("pyrogen.inference.restarts.fit", short_fit)
    defaults = inspect.unwrap(pyrogen.diagnostics.sample_reference).__kwdefaults__
    monkeypatch.setitem(defaults, "warmup", 5)
    monkeypatch.setitem(defaults, "chains", 1)
    monkeypatch.setattr(pyrogen.diagnostics.sample_reference, "__defaults__", (20,))


def test_all_remedies_are_tried():
    assert {name for name in vars(Remedies) if not name.startswith("_") and name != "e"} == set(APPLIES)


@pytest.mark.parametrize(("name", "story"), CASES)
@pytest.mark.usefixtures("quick")
def test_a_line_of_python_runs_as_it_is(name, story, runs):
    run = runs[story]
    examination = Examination(run, {"x": X}, {"x": X}, TINY, 0)
    found = getattr(Remedies(examination), name)
    remedy = found(2) if name == "use_start" else found
    assert remedy.text
    assert "\n" not in remedy.python
    known = {"pyrogen": pyrogen, "run": run, "story": run.story, "runs": [run, run]}
    exec(remedy.python, {**known, "data": {"x": X}, "training": {"x": X}})


@pytest.mark.parametrize("data", [X, {"x": X}, (X,), X.numpy()])
def test_few_rows_of_data_of_any_kind(data):
    few = eval(_rows(data, 3), {"data": data})
    values = next(iter(few.values())) if isinstance(few, dict) else few[0] if isinstance(few, list) else few
    assert torch.equal(torch.as_tensor(values), X[:3])


def test_each_check_says_which_purposes_it_bears_on():
    for check in CHECKS:
        assert check.purposes
        assert set(check.purposes) <= {"samples", "likelihood", "posterior"}
    bearing = {check.name: set(check.purposes) for check in CHECKS}
    assert bearing["sample_quality"] == {"samples"}
    assert bearing["likelihood_gap"] == {"likelihood"}
    assert "samples" not in bearing["importance_weights"] | bearing["calibration"] | bearing["joint_weights"]


@pytest.mark.slow
def test_every_problem_of_a_bad_fit_has_a_remedy_that_runs_and_a_purpose():
    """A guide of .37 times the posterior's standard deviation, of a model that is wrong."""
    torch.manual_seed(0)
    x = torch.randn(200, 4).exp()
    story = PPCA(4, latent=2).maximum_likelihood(x)
    with torch.no_grad():
        story.raw_scale.diagonal().sub_(1.0)
    found = diagnose(story, x, training=x, budget="quick")
    problems = [finding for finding in found.findings if finding.verdict is not None]
    assert problems
    for finding in problems:
        assert isinstance(finding, Finding)
        assert finding.purposes
        assert finding.remedies
        for remedy in finding.remedies:
            compile(remedy.python, "remedy", "exec")
    assert found.purposes["posterior"].verdict == "do not believe"
    assert found.purposes["samples"].verdict != "believe"
    assert found.purposes["posterior"].sentence.startswith("do not read codes")


def test_slices_are_of_what_was_given():
    examination = SimpleNamespace(kind="local", data=X)
    assert "data[:3]" in Remedies(examination).compare_with_mcmc.python
