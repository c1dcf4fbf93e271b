"""Plain Pyro functions keep the meaning of their own arguments: positions, defaults, and reserved names."""

import functools
import inspect

import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pyro.infer import config_enumerate
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule

from pyrogen import Story, fit
from pyrogen.story import Batch, Signature, as_story
from pyrogen.story.arguments import unwrap_program

NAMES = ("n", "total", "index", "x", "y", "size")


def binomial(n, k):
    p = pyro.sample("p", dist.Beta(1.0, 1.0))
    with pyro.plate("rows", len(k)):
        pyro.sample("k", dist.Binomial(n, p), obs=k)


def exact_loss(model, guide, *args, steps=3, seed=2, **kwargs):
    """Losses per row by stock SVI."""
    pyro.clear_param_store()
    pyro.set_rng_seed(seed)
    svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 1e-3}), pyro.infer.Trace_ELBO())
    rows = next(len(a) for a in (*args, *kwargs.values()) if isinstance(a, torch.Tensor))
    losses = [-svi.step(*args, **kwargs) / rows for _ in range(steps)]
    pyro.clear_param_store()
    return losses


def losses(model, guide, data, **options):
    run = fit((model, guide), data, steps=3, seed=2, compile=False, progress=False, **options)
    return [record["train_elbo"] for record in run.history]


@pytest.mark.parametrize("named", [False, True])
def test_an_argument_called_n_is_the_programs_own(named):
    n = torch.tensor([5.0, 9.0, 20.0, 7.0])
    k = torch.tensor([1.0, 4.0, 6.0, 2.0])
    data = {"n": n, "k": k} if named else (n, k)
    assert losses(binomial, AutoNormal(binomial), data) == pytest.approx(
        exact_loss(binomial, AutoNormal(binomial), n, k), rel=1e-5
    )


@given(st.permutations(NAMES), st.integers(1, 6))
def test_positions_are_filled_in_order_whatever_their_names(names, given_columns):
    def program(*args):
        return args

    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=name) for name in names]
    program.__signature__ = inspect.Signature(parameters)
    columns = {i: torch.full((3,), float(i)) for i in range(given_columns)}
    args, kwargs = Signature(program, "program", foreign=True).bind(Batch(columns, 3, 9, torch.arange(3)))
    assert [float(a[0]) for a in args] == list(range(given_columns))
    assert not kwargs  # what is left keeps its own default


@pytest.mark.parametrize("name", ["n", "total", "index"])
def test_a_default_of_a_reserved_name_is_kept(name):
    source = f"def model(x, {name}=7.0):\n    pyro.sample('x', dist.Normal({name}, 1.0).expand([4]).to_event(1), obs=x)"
    scope = {"pyro": pyro, "dist": dist}
    exec(source, scope)

    def guide(x):
        pyro.param("unused", torch.tensor(0.0))
        pyro.sample("aux", dist.Normal(pyro.param("m", torch.tensor(0.0)), 1.0), infer={"is_auxiliary": True})

    program = as_story((scope["model"], guide))
    args, kwargs = program.signatures()[0].bind(Batch({"x": torch.zeros(4)}, 4, 4, torch.arange(4)))
    assert len(args) == 1
    assert not kwargs


def test_what_no_column_can_be_meant_by_is_filled_in():
    seen = []

    def model(x, n, total, index):
        seen.append((n, total, index.tolist()))
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("data", total, subsample=index):
            pyro.sample("x", dist.Normal(m, 1.0), obs=x)

    fit((model, AutoNormal(model)), torch.zeros(6), steps=1, progress=False)
    assert seen[-1] == (6, 6, [0, 1, 2, 3, 4, 5])


@pytest.mark.parametrize(("column", "name"), [("N", "n"), ("trials", "n"), ("group", "index"), ("exposure", "total")])
def test_a_column_that_could_be_meant_is_asked_for(column, name):
    scope = {"pyro": pyro, "dist": dist}
    exec(f"def model(x, {name}):\n    pyro.sample('m', dist.Normal(0.0, 1.0))", scope)
    with pytest.raises(ValueError, match=f"asks for '{name}', .* column '{column}' that no argument takes"):
        fit((scope["model"], AutoNormal(scope["model"])), {"x": torch.zeros(4), column: torch.ones(4)}, steps=1)


def test_a_storys_reserved_names_are_pyrogens():
    class Own(Story):
        def model(self, x, n, total=None):
            assert (n, total) == (4, 4)
            m = pyro.sample("m", dist.Normal(0.0, 1.0))
            with pyro.plate("data", n):
                pyro.sample("x", dist.Normal(m, 1.0), obs=x)

        def guide(self, x):
            pyro.sample("m", dist.Normal(pyro.param("loc", torch.tensor(0.0)), 1.0))

    fit(Own(), {"x": torch.zeros(4)}, steps=1, progress=False)
    with pytest.raises(ValueError, match="a column is named 'n'"):
        fit(Own(), {"x": torch.zeros(4), "n": torch.ones(4)}, steps=1)
    with pytest.raises(ValueError, match="arguments may not be called 'total'"):
        fit(Own(), {"x": torch.zeros(4)}, steps=1, arguments={"total": 3})


@pytest.mark.parametrize(("wrong", "near"), [("scael", "scale"), ("Scale", "scale"), ("nois", "noise")])
def test_an_unknown_further_argument_is_refused_with_the_nearest(wrong, near):
    def model(x, scale=1.0, noise=1.0):
        m = pyro.sample("m", dist.Normal(0.0, scale))
        with pyro.plate("rows", len(x)):
            pyro.sample("x", dist.Normal(m, noise), obs=x)

    with pytest.raises(ValueError, match=f"no argument '{wrong}'; did you mean '{near}'"):
        fit((model, AutoNormal(model)), torch.zeros(4), steps=1, arguments={wrong: 2.0})


class Decorated:
    """A program as people write them in classes."""

    @config_enumerate
    def model(self, x):
        w = pyro.sample("w", dist.Dirichlet(torch.ones(2)))
        with pyro.plate("rows", len(x)):
            z = pyro.sample("z", dist.Categorical(w))
            pyro.sample("x", dist.Normal(3.0 * z, 1.0), obs=x)

    @pyro.poutine.scale(scale=0.5)
    def scaled(self, x, shift=0.0):
        m = pyro.sample("m", dist.Normal(shift, 1.0))
        with pyro.plate("rows", len(x)):
            pyro.sample("x", dist.Normal(m, 1.0), obs=x)


class DecoratedModule(PyroModule):
    @pyro.poutine.scale(scale=0.5)
    def forward(self, x):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", len(x)):
            pyro.sample("x", dist.Normal(m, 1.0), obs=x)


@pytest.mark.parametrize("make", [lambda: Decorated().scaled, DecoratedModule], ids=["method", "forward"])
def test_handlers_as_decorators(make):
    x, model = torch.linspace(-1, 2, 7), make()
    assert as_story((model, lambda x: None)).signatures()[0].positions[0] == "x"
    assert losses(model, AutoNormal(model), {"x": x}) == pytest.approx(
        exact_loss(model, AutoNormal(model), x), rel=1e-5
    )


def test_an_enumerated_method():
    model, x = Decorated().model, torch.randn(20)
    run = fit((model, AutoNormal(pyro.poutine.block(model, hide=["z"]))), {"x": x}, steps=2, progress=False)
    assert run.story.name == "(model, AutoNormal)"
    assert len(run.history) == 2


@given(st.lists(st.sampled_from(["scale", "block", "method", "partial", "by name"]), max_size=5))
def test_programs_are_unwrapped_whatever_is_around_them(layers):
    """The arguments that are left of (self, a, b, c), in the order in which layers bind them."""

    def program(self, a, b, c=1.0):
        return None

    wrapped, bound, default = program, 0, 1.0
    for layer in layers:
        if layer in ("scale", "block"):
            wrapped = pyro.poutine.scale(wrapped, scale=2.0) if layer == "scale" else pyro.poutine.block(wrapped)
        elif layer == "method" and bound == 0 and hasattr(wrapped, "__get__"):
            wrapped, bound = wrapped.__get__(object()), 1
        elif layer == "partial" and bound == 1:
            wrapped, bound = functools.partial(wrapped, 5), 2
        elif layer == "by name":
            wrapped, default = functools.partial(wrapped, c=default + 1), default + 1
    parameters = Signature(wrapped, "program").parameters
    assert [p.name for p in parameters] == ["self", "a", "b", "c"][bound:]
    assert parameters[-1].default == default
    assert unwrap_program(wrapped)[0] is program
