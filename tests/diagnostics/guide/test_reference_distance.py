"""A posterior of posteriordb: the verdict on guides made of its reference draws."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal

from pyrogen import fit
from pyrogen.diagnostics import BUDGETS, against_reference, diagnose

BUDGET = replace(BUDGETS["quick"], shared_draws=600, replications=10)


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
    told, chains = unpacked(data_root, "kidiq.data"), unpacked(data_root, "kidiq-kidscore_momiq.draws")
    columns = {"iq": torch.tensor(told["mom_iq"]).float(), "score": torch.tensor(told["kid_score"]).float()}
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
    moments = found.results["moments"]
    distance = against_reference({"all": moments.guide}, {"all": reference})["all"]
    assert (np.abs(distance.sd.value).max() > 0.5) == wrong
    assert (found.verdict == "believe") == (not wrong)
    assert (found.figures["dependence"].value > 0.5) == wrong
    assert (found.figures["khat"].value > 0.7) == wrong
    if not wrong:
        mean, sd = moments.corrected
        pooled = reference.reshape(-1, 3)
        assert np.abs((mean - pooled.mean(0)) / pooled.std(0)).max() < 0.1
        np.testing.assert_allclose(sd, pooled.std(0), rtol=0.1)
