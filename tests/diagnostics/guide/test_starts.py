"""Several starts: other modes are seen, labels that switch are told as such."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal, init_to_value

from pyrogen import fit
from pyrogen.diagnostics import diagnose
from pyrogen.diagnostics.guide.starts import Starts, compare_starts
from pyrogen.inference import adam, cosine

Y = 1.2 + 0.5 * torch.randn(20, generator=torch.Generator().manual_seed(0))


def squared(y):
    t = pyro.sample("t", dist.Normal(0.3, 1.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(t**2, 0.5), obs=y)


def mixture(y):
    with pyro.plate("components", 2):
        loc = pyro.sample("loc", dist.Normal(0.0, 5.0))
    with pyro.plate("data", len(y)):
        parts = dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), dist.Normal(loc, 0.5))
        pyro.sample("y", parts, obs=y)


def trained(model, y, value, site, make=AutoMultivariateNormal):
    guide = make(model, init_loc_fn=init_to_value(values={site: torch.tensor(value)}))
    options = {"steps": 800, "optimizer": adam(0.05), "schedule": cosine(800), "progress": False}
    return fit((model, guide), {"y": y}, **options)


def test_two_modes_are_not_believed():
    runs = [trained(squared, Y, start, "t") for start in (1.0, -1.0, 1.0)]
    starts = compare_starts(runs, {"y": Y})
    assert float(starts.distances.max()) > 5
    diagnosis = diagnose(runs, {"y": Y}, budget="quick")
    assert diagnosis.verdict == "do not believe"
    assert "modes" in diagnosis.kinds


def test_one_start_says_what_it_cannot_see():
    diagnosis = diagnose(trained(squared, Y, 1.0, "t"), {"y": Y}, budget="quick")
    assert any("mode" in remark for remark in diagnosis.remarks)


def test_starts_in_one_mode_are_believed():
    runs = [trained(squared, Y, start, "t") for start in (1.0, 1.3)]
    diagnosis = diagnose(runs, {"y": Y}, budget="quick")
    assert "modes" not in diagnosis.kinds
    assert not any("one start" in remark for remark in diagnosis.remarks)


def test_labels_that_switch_are_told_as_such():
    y = torch.cat([torch.randn(40) * 0.5 - 3, torch.randn(40) * 0.5 + 3])
    runs = [trained(mixture, y, start, "loc", AutoNormal) for start in ([-3.0, 3.0], [3.0, -3.0])]
    starts = compare_starts(runs, {"y": y})
    assert float(starts.distances.max()) > 5
    assert float(starts.relabelled.max()) < 0.5
    diagnosis = diagnose(runs, {"y": y}, budget="quick")
    assert "modes" not in diagnosis.kinds
    assert any("label switching" in remark for remark in diagnosis.remarks)


def test_runs_of_different_models_are_refused():
    y = torch.randn(20)
    runs = [trained(squared, y, 1.0, "t"), trained(mixture, y, [-1.0, 1.0], "loc")]
    with pytest.raises(ValueError, match="different latents"):
        compare_starts(runs, {"y": y})
    with pytest.raises(ValueError, match="at least two runs"):
        compare_starts(runs[:1], {"y": y})


def test_a_start_far_below_the_best_does_not_count():
    means, sds = np.array([[0.0], [0.01], [9.0]]), np.ones((3, 1))
    near = np.array([[0.0, 0.01, 9.0], [0.01, 0.0, 9.0], [9.0, 9.0, 0.0]])
    starts = Starts(("t",), means, sds, np.zeros(3), np.array([-5.0, -5.1, -40.0]), near)
    assert starts.relevant.tolist() == [True, True, False]
    assert float(starts.among(starts.relevant).distances.max()) < 0.1


def test_a_first_start_that_is_not_the_best_is_not_believed():
    def tilted(y):
        t = pyro.sample("t", dist.Normal(1.0, 0.4))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(t**2, 0.5), obs=y)

    runs = [trained(tilted, Y, start, "t") for start in (-1.1, 1.1)]
    diagnosis = diagnose(runs, {"y": Y}, budget="quick")
    assert diagnosis.verdict_on("guide") == "do not believe"
    assert any("start 2 found a better mode" in reason for reason in diagnosis.reasons)
    assert "modes" not in diagnose(runs[::-1], {"y": Y}, budget="quick").kinds
