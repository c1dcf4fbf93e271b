"""Reading a trace: latent and observed sites, the data plate, points."""

from contextlib import ExitStack

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoDelta, AutoNormal

from pyrogen.story import (
    data_plate,
    enumerated,
    inside,
    is_point,
    is_subsample,
    latent_sites,
    observed_sites,
    outside,
    unwrap_independent,
)

X = torch.zeros(4)


def sites(program, *args):
    nodes = poutine.trace(program).get_trace(*args).nodes
    return {name: site for name, site in nodes.items() if site["type"] == "sample"}


def model(x):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    pyro.factor("penalty", torch.tensor(-1.0))
    with pyro.plate("data", 10, subsample_size=4):
        z = pyro.deterministic("z", pyro.sample("raw", dist.Normal(mu, 1.0)) * 2)
        pyro.sample("k", dist.Bernoulli(0.5), infer={"enumerate": "parallel"})
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def test_latent_observed_and_subsample_sites():
    recorded = sites(model, X)
    assert set(latent_sites(recorded.values())) == {"mu", "raw", "k"}
    assert set(observed_sites(recorded.values())) == {"x"}
    assert [name for name, site in recorded.items() if is_subsample(site)] == ["data"]
    assert [name for name, site in recorded.items() if enumerated(site)] == ["k"]


def test_the_subsample_message_of_a_handler_is_known_too():
    class Record(poutine.messenger.Messenger):
        def _pyro_sample(self, msg):
            subsamples[msg["name"]] = is_subsample(msg)

    subsamples = {}
    with Record():
        model(X)
    assert subsamples == {name: name == "data" for name in ("mu", "penalty", "data", "raw", "z", "k", "x")}
    assert not is_subsample({"type": "param"})


def test_inside_and_outside_of_the_plate():
    latents = latent_sites(sites(model, X).values())
    assert outside(latents, "data") == ["mu"]
    assert outside(latents, None) == ["mu", "raw", "k"]
    assert inside(latents["raw"], "data")
    assert not inside(latents["mu"], "data")


def plates(*named, observed=True):
    """A program with these plates (name, size, subsample size) around one site, outermost first."""

    def program():
        shape = [part for _, _, part in named]
        with ExitStack() as stack:
            for dim, (name, size, part) in enumerate(named):
                stack.enter_context(pyro.plate(name, size, subsample_size=part, dim=dim - len(named)))
            pyro.sample("x", dist.Normal(0.0, 1.0).expand(shape), obs=torch.zeros(shape) if observed else None)

    return program


@pytest.mark.parametrize(
    ("program", "plate"),
    [
        (plates(("data", 3, 3), ("rows", 9, 4)), "data"),
        (plates(("groups", 3, 3), ("rows", 9, 4)), "rows"),
        (plates(("rows", 9, 4), ("groups", 3, 3)), "rows"),
        (plates(("groups", 3, 3), ("rows", 4, 4)), "rows"),
        (plates(("groups", 3, 3), ("rows", 5, 5)), None),
        (plates(("num_particles_vectorized", 4, 4), ("rows", 5, 5)), None),
        (plates(("rows", 4, 4), observed=False), None),
    ],
    ids=[
        "named_data",
        "subsampled",
        "subsampled_first",
        "of_size_n",
        "none_of_size_n",
        "particles",
        "nothing_observed",
    ],
)
def test_the_data_plate(program, plate):
    frame = data_plate(sites(program).values(), 4)
    assert (frame.name if frame is not None else None) == plate


def test_a_guide_of_deltas_is_a_point_and_of_densities_is_not():
    def latent():
        with pyro.plate("data", 4):
            pyro.sample("z", dist.Normal(torch.zeros(4, 2), 1.0).to_event(1))

    def point():
        with pyro.plate("data", 4):
            pyro.sample("z", dist.Delta(torch.zeros(4, 2)).to_event(1).mask(torch.ones(4, dtype=torch.bool)))

    assert is_point(sites(point).values())
    assert not is_point(sites(latent).values())
    assert not is_point(sites(lambda: None).values())
    with pyro.get_param_store().scope():
        assert is_point(sites(AutoDelta(latent)).values())
        assert not is_point(sites(AutoNormal(latent)).values())


def test_independent_is_unwrapped_however_often():
    base = dist.Normal(torch.zeros(2, 3, 4), 1.0)
    assert unwrap_independent(base) is base
    assert unwrap_independent(dist.Independent(dist.Independent(base, 1), 1)) is base
    assert unwrap_independent(torch.distributions.Independent(base, 2)) is base
    mixture = dist.MixtureSameFamily(dist.Categorical(torch.ones(4)), base)
    assert unwrap_independent(mixture) is mixture
