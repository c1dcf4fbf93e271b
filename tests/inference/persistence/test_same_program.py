"""A loaded run is the one that was saved: further arguments, and state that is neither parameter nor buffer."""

import argparse
import functools
import json

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import transforms
from pyro.infer.autoguide import AutoIAFNormal, AutoMultivariateNormal, AutoNormal, AutoNormalizingFlow
from pyro.nn import DenseNN, PyroModule

from pyrogen import Story, fit, load
from pyrogen.inference import posterior, posterior_predictive
from pyrogen.inference.persistence.checkpoint import load_tree, save_tree

Y = torch.tensor([0.0, 5.0, 10.0, 15.0])


def model(y):
    z = pyro.sample("z", dist.Normal(torch.zeros(4), 20.0).to_event(1))
    pyro.sample("y", dist.Normal(z, 1.0).to_event(1), obs=y)


class Permuted(PyroModule):
    """A flow guide with a permutation that no file holds."""

    def __init__(self, order):
        super().__init__()
        self.coupling = transforms.AffineCoupling(2, DenseNN(2, [8], [2, 2]))
        self.permute = transforms.Permute(torch.tensor(order))

    def forward(self, y):
        base = dist.Normal(torch.zeros(4), 1.0).to_event(1)
        pyro.sample("z", dist.TransformedDistribution(base, [self.coupling, self.permute]))


class Masked(PyroModule):
    """A guide with a mask in an attribute, and a flow that has no inverse."""

    def __init__(self, mask):
        super().__init__()
        self.planar, self.mask = transforms.Planar(4), torch.tensor(mask)

    def forward(self, y):
        base = dist.Normal(3 * self.mask, 1.0).to_event(1)
        pyro.sample("z", dist.TransformedDistribution(base, [self.planar]))


def constant(width):
    def guide(y):
        loc = pyro.param("loc", torch.zeros(4))
        pyro.sample("z", dist.Normal(loc, width).to_event(1))

    return guide


GUIDES = {
    "permutation": (functools.partial(Permuted, [0, 1, 2, 3]), functools.partial(Permuted, [2, 0, 3, 1])),
    "mask": (functools.partial(Masked, [0.0, 1, 0, 0]), functools.partial(Masked, [1.0, 0, 0, 1])),
    "constant": (functools.partial(constant, 0.5), functools.partial(constant, 0.6)),
}


@pytest.mark.parametrize("kind", GUIDES)
@pytest.mark.parametrize("by", ["save", "out"])
def test_another_hidden_state_is_refused(tmp_path, kind, by):
    same, other = GUIDES[kind]
    out = {"out": tmp_path / "run"} if by == "out" else {}
    run = fit((model, same()), Y, steps=5, progress=False, **out)
    if by == "save":
        run.save(tmp_path / "run")
    back = load(tmp_path / "run", into=(model, same()))
    assert torch.equal(posterior(run, Y, 9, seed=0)["z"], posterior(back, Y, 9, seed=0)["z"])
    with pytest.raises(ValueError, match=r"the guide's site 'z' of .* is not what it was when the run was saved"):
        load(tmp_path / "run", into=(model, other()))


def flow(model):
    return AutoNormalizingFlow(model, functools.partial(transforms.iterated, 2, transforms.affine_autoregressive))


@pytest.mark.parametrize("make", [AutoNormal, AutoMultivariateNormal, AutoIAFNormal, flow])
def test_guides_whose_state_is_saved_load(tmp_path, make):
    run = fit((model, make(model)), Y, steps=5, progress=False)
    run.save(tmp_path / "run")
    back = load(tmp_path / "run", into=(model, make(model)))
    assert torch.equal(posterior(run, Y, 9, seed=0)["z"], posterior(back, Y, 9, seed=0)["z"])


class Prior(Story):
    """A story whose constant is in an attribute, set after its construction."""

    def __init__(self):
        super().__init__()
        self.loc, self.spread = torch.nn.Parameter(torch.zeros(())), 1.0

    def model(self, x, n):
        with pyro.plate("data", n):
            z = pyro.sample("z", dist.Normal(0.0, self.spread))
            return pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(self, x, n):
        with pyro.plate("data", n):
            pyro.sample("z", dist.Normal(self.loc, 1.0))


def test_a_constant_of_a_story(tmp_path):
    story = Prior()
    story.spread = 3.0
    fit(story, {"x": torch.zeros(6)}, steps=2, out=tmp_path / "run", progress=False)
    with pytest.raises(ValueError, match="the model's site 'z' of Prior"):
        load(tmp_path / "run", into=Prior())
    again = Prior()
    again.spread = 3.0
    load(tmp_path / "run", into=again)


@pytest.mark.parametrize("key", ["torch", "device"])
def test_elsewhere_a_difference_is_a_warning(tmp_path, key):
    same, other = GUIDES["constant"]
    fit((model, same()), Y, steps=2, progress=False, out=tmp_path / "run")
    path = tmp_path / "run" / "weights.safetensors"
    weights, about = load_tree(path)
    about["fingerprint"][key] = "another"
    save_tree(path, weights, **about)
    with pytest.warns(UserWarning, match="is not what it was when the run was saved"):
        load(tmp_path / "run", into=(model, other()))


def regression(x, y, scale, settings):
    noise = settings["noise"] if isinstance(settings, dict) else getattr(settings, "noise", settings)
    b = pyro.sample("b", dist.Normal(torch.zeros(3), scale).to_event(1))
    with pyro.plate("data", len(x)):
        pyro.sample("obs", dist.Normal(x @ b, noise), obs=y)


DATA = {"x": torch.eye(3).repeat(4, 1), "y": torch.arange(12.0)}
ARGUMENTS = {
    "plain": (0.5, None),
    "tensor": (torch.tensor(0.5), None),
    "of the step": (lambda step: 0.5 + step, None),
    "dict": ({"noise": 0.5}, {"noise": 0.7}),
    "Namespace": (argparse.Namespace(noise=0.5), argparse.Namespace(noise=0.7)),
}


@pytest.mark.parametrize("kind", ARGUMENTS)
@pytest.mark.parametrize("resumed", [False, True])
def test_further_arguments_survive(tmp_path, kind, resumed):
    settings, other = ARGUMENTS[kind]
    arguments, path = {"scale": torch.ones(3), "settings": settings}, tmp_path / "run"
    guide = functools.partial(AutoNormal, regression)
    for steps in (4, 6) if resumed else (4,):
        run = fit((regression, guide()), DATA, steps=steps, arguments=arguments, out=path, resume=True, progress=False)
    again = {} if other is None else {"arguments": {"settings": settings}}
    back = load(path, into=(regression, guide()), **again)
    mine, theirs = (posterior_predictive(r, DATA, 7, seed=0)["obs"] for r in (run, back))
    assert torch.equal(mine, theirs)
    if other is not None:
        with pytest.raises(ValueError, match=r"trained with an argument 'settings' .* pass load"):
            load(path, into=(regression, guide()))
        with pytest.raises(ValueError, match=r"argument 'settings' was .* in training, and is"):
            load(path, into=(regression, guide()), arguments={"settings": other})
    with pytest.raises(ValueError, match=r"without an argument 'scael'; did you mean 'scale'"):
        load(path, into=(regression, guide()), arguments={**again.get("arguments", {}), "scael": 1})
    with pytest.raises(ValueError, match="argument 'scale' was"):
        load(path, into=(regression, guide()), arguments={**again.get("arguments", {}), "scale": torch.zeros(3)})


def test_a_run_is_not_resumed_with_another_tensor(tmp_path):
    arguments = {"scale": torch.ones(3), "settings": 0.5}
    pair = (regression, AutoNormal(regression))
    fit(pair, DATA, steps=2, arguments=arguments, out=tmp_path / "run", progress=False)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["options"]["arguments"]["scale"]["crc32"]
    with pytest.raises(ValueError, match=r"resume: options\.arguments\.scale"):
        fit(
            (regression, AutoNormal(regression)),
            DATA,
            steps=4,
            arguments={**arguments, "scale": torch.zeros(3)},
            out=tmp_path / "run",
            resume=True,
        )
