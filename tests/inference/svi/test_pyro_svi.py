"""The drop-in for Pyro's SVI gives Pyro's losses and Pyro's parameters, compiled or not."""

import copy

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import RenyiELBO, Trace_ELBO, TraceEnum_ELBO
from pyro.infer.autoguide import AutoNormal
from torch import nn

from pyrogen.inference import SVI
from pyrogen.inference.compile import compiled_step
from pyrogen.inference.svi import pyro_svi
from tests.helpers.stories import Mixture, Topics, schools, schools_model

pytestmark = pytest.mark.free_store
STEPS = 30


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    monkeypatch.setattr(compiled_step, "COMPILER", lambda graph, inputs, *_: graph)
    monkeypatch.setattr(pyro_svi, "EAGER_STEPS", 5)
    monkeypatch.setattr(pyro_svi, "TRACED_STEPS", 10)


def trained(kind, program, args, optim=None, elbo=Trace_ELBO, before_step=lambda svi, step: None, **options):
    """Losses, parameters and the loop itself."""
    with pyro.get_param_store().scope():
        pyro.set_rng_seed(1)
        model, guide = program()
        loop = kind(model, guide, optim() if optim else pyro.optim.Adam({"lr": 0.01}), elbo(), **options)
        losses = []
        for step in range(STEPS):
            before_step(loop, step)
            losses.append(loop.step(*args))
        store = {name: value.detach().clone() for name, value in pyro.get_param_store().items()}
        return losses, store, loop, loop.evaluate_loss(*args), copy.deepcopy(loop.optim.get_state())


def regression():
    torch.manual_seed(2)
    x = torch.randn(20, 3)
    return x, x @ torch.tensor([1.0, -2.0, 0.5]) + 0.3 * torch.randn(20)


def regression_model(x, y):
    weight = pyro.sample("weight", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    scale = pyro.sample("scale", dist.HalfCauchy(1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal(x @ weight, scale), obs=y)


def with_guide():
    return regression_model, AutoNormal(regression_model)


def story():
    told = Topics()
    return told.model, told.guide


def agree(mine, theirs, tolerance=1e-5):
    assert mine[0] == pytest.approx(theirs[0], rel=tolerance)
    assert len(mine[1]) == len(theirs[1])
    for one, other in zip(mine[1].values(), theirs[1].values(), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-4)
    assert mine[3] == pytest.approx(theirs[3], rel=1e-4)


@pytest.mark.parametrize("compile", ["auto", True, False])
def test_a_loop_gains_by_its_import_alone(compile):
    args = regression()
    mine, theirs = trained(SVI, with_guide, args, compile=compile), trained(pyro.infer.SVI, with_guide, args)
    agree(mine, theirs)
    assert mine[2].mode == ("compiled" if compile else "eager")


def test_the_optimizers_state_is_pyros():
    args = regression()
    mine, theirs = (trained(kind, with_guide, args)[4] for kind in (SVI, pyro.infer.SVI))
    assert mine.keys() == theirs.keys()
    for name, told in theirs.items():
        for key, value in told["state"][0].items():
            assert torch.allclose(torch.as_tensor(mine[name]["state"][0][key]), torch.as_tensor(value), atol=1e-4), key


@pytest.mark.parametrize("program", [story, lambda: (schools_model, AutoNormal(schools_model))])
def test_stories_and_pairs(program):
    args = (torch.poisson(torch.full((30, 10), 2.0)), 30) if program is story else tuple(schools().values())[::-1]
    agree(trained(SVI, program, args), trained(pyro.infer.SVI, program, args))


def test_an_enumerated_model():
    def program():
        told = Mixture()
        return told.model, told.guide

    args = (torch.linspace(-2, 2, 30), 30)
    agree(trained(SVI, program, args, elbo=TraceEnum_ELBO), trained(pyro.infer.SVI, program, args, elbo=TraceEnum_ELBO))


OPTIMIZERS = {
    "clipped_adam": lambda: pyro.optim.ClippedAdam({"lr": 0.01, "lrd": 0.99, "clip_norm": 5.0}),
    "sgd": lambda: pyro.optim.SGD({"lr": 1e-4, "momentum": 0.9}),
    "per_parameter": lambda: pyro.optim.Adam(lambda name: {"lr": 0.02 if "weight" in name else 0.005}),
    "adagrad": lambda: pyro.optim.Adagrad({"lr": 0.01}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_pyros_optimizers(name):
    args = regression()
    mine, theirs = (trained(kind, with_guide, args, OPTIMIZERS[name]) for kind in (SVI, pyro.infer.SVI))
    agree(mine, theirs)
    assert mine[2].mode == "compiled"


DECLINED = {
    "clip_args": lambda: pyro.optim.Adam({"lr": 0.01}, {"clip_norm": 0.1}),
    "object of its own": lambda: pyro.optim.ExponentialLR(
        {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.01}, "gamma": 0.9}
    ),
}


@pytest.mark.parametrize("reason", DECLINED)
def test_what_one_optimizer_cannot_stand_for_stays_pyros(reason):
    args = regression()
    mine, theirs = (trained(kind, with_guide, args, DECLINED[reason]) for kind in (SVI, pyro.infer.SVI))
    agree(mine, theirs, 1e-12)
    assert mine[2].mode == "stock"
    assert reason in mine[2].reason
    with pytest.raises(ValueError, match=f"compile=True: .*{reason}"):
        trained(SVI, with_guide, args, DECLINED[reason], compile=True)


def test_an_elbo_without_a_differentiable_loss_gains_one_optimizer():
    args = regression()
    elbo = lambda: RenyiELBO(num_particles=2)  # noqa: E731
    mine = trained(SVI, with_guide, args, elbo=elbo)
    assert "RenyiELBO has no differentiable loss" in mine[2].reason  # said, and not warned of
    agree(mine, trained(pyro.infer.SVI, with_guide, args, elbo=elbo))
    assert mine[2].mode == "eager"


def test_a_model_that_cannot_be_traced_trains_all_the_same():
    def model(x, y):
        weight = pyro.sample("weight", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        scale = 0.3 if weight.sum() > 100 else 0.5
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Normal(x @ weight, scale), obs=y)

    args = regression()
    program = lambda: (model, AutoNormal(model))  # noqa: E731
    mine = trained(SVI, program, args)
    assert "it reads the value of a tensor" in mine[2].reason  # said, and not warned of
    agree(mine, trained(pyro.infer.SVI, program, args))


def test_rates_that_the_caller_turns_are_heeded():
    def turn(loop, step):
        for optimizer in loop.optim.optim_objs.values():
            optimizer.param_groups[0]["lr"] = 0.01 / (1 + step)

    args = regression()
    agree(*(trained(kind, with_guide, args, before_step=turn) for kind in (SVI, pyro.infer.SVI)))


def test_a_cleared_store_starts_afresh():
    def clear(loop, step):
        if step == 15:
            pyro.clear_param_store()

    def program():
        def guide(x, y):
            loc = pyro.param("loc", torch.zeros(3))
            scale = pyro.param("scale_of_weight", torch.ones(3), constraint=dist.constraints.positive)
            pyro.sample("weight", dist.Normal(loc, scale).to_event(1))
            pyro.sample("scale", dist.Delta(pyro.param("s", torch.tensor(1.0), constraint=dist.constraints.positive)))

        return regression_model, guide

    args = regression()
    agree(*(trained(kind, program, args, before_step=clear) for kind in (SVI, pyro.infer.SVI)))


@pytest.mark.parametrize("optim", ["adam", "clipped_adam"])
def test_several_batch_shapes_and_keyword_arguments(optim):
    x, y = regression()
    kinds = {"adam": pyro.optim.Adam, "clipped_adam": pyro.optim.ClippedAdam}

    def losses(kind):
        with pyro.get_param_store().scope():
            pyro.set_rng_seed(1)
            loop = kind(regression_model, AutoNormal(regression_model), kinds[optim]({"lr": 0.01}), Trace_ELBO())
            sizes = [20, 20, 20, 7] * 8
            return [loop.step(x[:n], y=y[:n]) for n in sizes]

    assert losses(SVI) == pytest.approx(losses(pyro.infer.SVI), rel=1e-5)


def test_two_loops_may_share_parameters():
    x, y = regression()

    def losses(kind):
        with pyro.get_param_store().scope():
            pyro.set_rng_seed(1)
            guide = AutoNormal(regression_model)
            loops = [kind(regression_model, guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO()) for _ in range(2)]
            return [loop.step(x, y) for _ in range(STEPS) for loop in loops]

    assert losses(SVI) == pytest.approx(losses(pyro.infer.SVI), rel=1e-5)


def test_a_layer_that_is_not_used_stays_as_it_is():
    def program():
        net = nn.Linear(3, 3)

        def guide(x, y):
            pyro.module("net", net)
            pyro.sample("weight", dist.Normal(pyro.param("loc", torch.zeros(3)), 0.1).to_event(1))
            pyro.sample("scale", dist.Delta(torch.tensor(0.5)))

        return regression_model, guide

    args = regression()
    mine = trained(SVI, program, args)
    assert "receives no gradient" in mine[2].reason  # said, and not warned of
    agree(mine, trained(pyro.infer.SVI, program, args))


def test_batch_norm_buffers_move_as_often_as_pyros():
    def program():
        net = nn.Sequential(nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4), nn.Linear(4, 1))

        def model(x, y):
            pyro.module("net", net)
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(net(x).squeeze(-1), 1.0))
                pyro.sample("y", dist.Normal(z, 0.5), obs=y)

        def guide(x, y):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(pyro.param("loc", torch.zeros(20)), 1.0))

        nets.append(net)
        return model, guide

    nets = []
    args = regression()
    agree(*(trained(kind, program, args) for kind in (SVI, pyro.infer.SVI)))
    mine, theirs = (net[1] for net in nets)
    assert mine.num_batches_tracked == theirs.num_batches_tracked
    assert torch.allclose(mine.running_mean, theirs.running_mean, atol=1e-5)


def test_bad_options_are_said():
    with pytest.raises(ValueError, match="compile must be"):
        SVI(*with_guide(), pyro.optim.Adam({"lr": 0.01}), Trace_ELBO(), compile="fast")
    with pytest.raises(ValueError, match=r"optim must be an optimizer of pyro.optim, [^\n]*, got a Adam, [^\n]*$"):
        SVI(*with_guide(), torch.optim.Adam([torch.zeros(1)]), Trace_ELBO())


def _guide_with_names(y):
    scale = pyro.param("scale", torch.tensor(0.1), constraint=dist.constraints.positive)
    pyro.sample("mu", dist.Normal(pyro.param("loc", torch.tensor(0.0)), scale))


def _mean(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 10.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def _replace(loop, step):
    if step == 12:
        pyro.get_param_store()["loc"] = torch.tensor(-3.0)


def _delete(loop, step):
    if step == 12:
        del pyro.get_param_store()["loc"]


def _clear(loop, step):
    if step == 12:
        pyro.clear_param_store()


def _replace_twice(loop, step):
    if step in (8, 20):
        pyro.get_param_store()["scale"] = torch.tensor(0.5)


@pytest.mark.parametrize("change", [_replace, _delete, _clear, _replace_twice])
@pytest.mark.parametrize("compile", ["auto", True])
def test_parameters_that_are_replaced_or_deleted(change, compile):
    args = (torch.linspace(1.0, 3.0, 20),)

    def program():
        return _mean, _guide_with_names

    stock = trained(pyro.infer.SVI, program, args, before_step=change)
    mine = trained(SVI, program, args, before_step=change, compile=compile)
    assert mine[0] == pytest.approx(stock[0], rel=1e-4)
    for name, value in stock[1].items():
        assert torch.allclose(mine[1][name], value, atol=1e-4)


@pytest.mark.parametrize("elbo", [pyro.infer.TraceGraph_ELBO, RenyiELBO, pyro.infer.ReweightedWakeSleep])
def test_what_cannot_be_compiled_is_not_warned_of(elbo):
    loop = trained(SVI, lambda: (_mean, _guide_with_names), (torch.ones(10),), elbo=elbo)[2]
    assert loop.mode != "compiled"
