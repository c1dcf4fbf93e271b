"""Planted distances from reference draws; the verdict on guides that are made of those of posteriordb."""

import json
import math
import zipfile
from dataclasses import replace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal

from pyrogen import fit
from pyrogen.diagnostics import BUDGETS, Reference, against_reference, diagnose
from tests.helpers.statistics import assert_within

BUDGET = replace(BUDGETS["quick"], shared_draws=600, replications=10)


def test_planted_distances_are_found(seed):
    rng = np.random.default_rng(seed)
    reference = {"a": 3 + 2 * rng.normal(size=(4, 2000, 5)), "b": rng.normal(size=(4, 2000))}
    draws = {"a": torch.from_numpy(4 + rng.normal(size=(3000, 5))), "b": rng.normal(size=3000), "c": torch.zeros(3000)}
    found = against_reference(draws, Reference(reference))
    assert_within(found["a"].mean.value, 0.5, found["a"].mean.error)
    assert_within(found["a"].sd.value, -0.5, found["a"].sd.error)
    assert_within(found["b"].mean.value, 0.0, found["b"].mean.error)
    assert_within(found["b"].sd.value, 0.0, found["b"].sd.error)
    assert found["b"].mean.error == pytest.approx(math.hypot(1 / math.sqrt(3000), 1 / math.sqrt(8000)), rel=0.1)
    assert found["b"].sd.error == pytest.approx(math.hypot(1 / math.sqrt(6000), 1 / math.sqrt(16000)), rel=0.1)
    assert str(found["a"]).startswith("means off by up to 0.5")


def test_draws_that_do_not_match_the_reference_are_refused():
    with pytest.raises(ValueError, match=r"there is no site 'z' \(have: a\)"):
        against_reference({"a": torch.zeros(9)}, {"z": torch.zeros(2, 9)})
    with pytest.raises(ValueError, match=r"site 'z': .* got shapes \(9, 3\) and \(2, 9\)"):
        against_reference({"z": torch.zeros(9, 3)}, {"z": torch.zeros(2, 9)})


def model(iq, score):
    """kidiq-kidscore_momiq in log sigma; its flat priors are hundreds of times as wide as the posterior."""
    beta = pyro.sample("beta", dist.Normal(torch.zeros(2), 1000.0).to_event(1))
    log_sigma = pyro.sample("log_sigma", dist.Normal(3.0, 1000.0))
    pyro.factor("prior", dist.HalfCauchy(2.5).log_prob(log_sigma.exp()) + log_sigma)
    with pyro.plate("data", len(iq)):
        pyro.sample("score", dist.Normal(beta[..., 0] + beta[..., 1] * iq, log_sigma.exp()), obs=score)


def unpacked(root, name):
    path = root / "posteriordb" / f"{name}.json.zip"
    if not path.exists():
        pytest.skip(f"PYROGEN_DATA holds no {path.name}")
    with zipfile.ZipFile(path) as packed:
        return json.loads(packed.read(packed.namelist()[0]))


@pytest.fixture(scope="module")
def kidiq(data_root):
    """Columns, and reference draws (chains, draws, 3) of beta and log sigma."""
    data, chains = unpacked(data_root, "kidiq.data"), unpacked(data_root, "kidiq-kidscore_momiq.draws")
    columns = {"iq": torch.tensor(data["mom_iq"]).float(), "score": torch.tensor(data["kid_score"]).float()}
    draws = [[chain["beta[1]"], chain["beta[2]"], np.log(chain["sigma"])] for chain in chains]
    return columns, np.swapaxes(draws, 1, 2)


def fitted(guide, columns, draws):
    """A guide with the reference's moments; mean-field, with its conditional standard deviations."""
    mean, covariance = torch.tensor(draws.mean(0)), torch.tensor(np.cov(draws.T))
    run = fit((model, guide), columns, steps=1, progress=False, precision="float64")
    with torch.no_grad():
        if isinstance(guide, AutoNormal):
            scale = torch.linalg.inv(covariance).diagonal() ** -0.5
            for site, part in (("beta", slice(0, 2)), ("log_sigma", 2)):
                getattr(guide.locs, site).copy_(mean[part])
                setattr(guide.scales, site, scale[part])
        else:
            scale = torch.linalg.cholesky(covariance)
            guide.loc.copy_(mean)
            guide.scale, guide.scale_tril = scale.diagonal(), scale / scale.diagonal()[:, None]
    return run


@pytest.mark.parametrize(("kind", "wrong"), [(AutoMultivariateNormal, False), (AutoNormal, True)])
def test_the_verdict_agrees_with_the_reference(kidiq, kind, wrong, seed):
    columns, reference = kidiq
    found = diagnose(fitted(kind(model), columns, reference.reshape(-1, 3)), columns, budget=BUDGET, seed=seed)
    moments = found.results["shared_moments"]
    distance = against_reference({"all": moments.guide}, {"all": reference})["all"]
    assert (np.abs(distance.sd.value).max() > 0.5) == wrong
    assert (found.verdict == "believe") == (not wrong)
    assert (found.figures["correlation_error"].value > 0.5) == wrong
    assert (found.figures["khat"].value > 0.7) == wrong
    if not wrong:
        mean, sd = moments.corrected
        pooled = reference.reshape(-1, 3)
        assert np.abs((mean - pooled.mean(0)) / pooled.std(0)).max() < 0.1
        np.testing.assert_allclose(sd, pooled.std(0), rtol=0.1)
