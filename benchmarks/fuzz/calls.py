"""Calls of the Python interface, right or with one argument that is wrong in type, range, shape or content."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import Trace_ELBO
from pyro.optim import Adam

from fuzz.case import Case, Outcome, Right, accepted, refused
from fuzz.world import World
from pyrogen import adversarial, autoregressive, diagnostics, distributions, fit, inference, load, models, nn

X = torch.randn(24, 4, generator=torch.Generator().manual_seed(0))
NAN, INF = float("nan"), float("inf")


def wrong_data(rng: random.Random, unused: bool = True) -> tuple[Any, tuple[str, ...]]:
    """Data that no story of a column x (n, 4) takes, and words of the refusal; or an `unused` column is wrong."""
    bad = X.clone()
    bad[3, 1] = rng.choice([NAN, INF, -INF])
    masked = np.ma.masked_array(X.numpy(), mask=np.arange(96).reshape(24, 4) == rng.randrange(96))
    values: list[tuple[Any, tuple[str, ...]]] = [
        (bad, ("NaN or infinite", "row 3")),
        ({"x": bad}, ("'x'", "row 3")),
        (X[:0], ("empty",)),
        (X[0, 0], ("scalar",)),
        (X[:, : rng.randint(1, 3)], ("4)",)),
        (X[:, :, None], ("4)",)),
        ({}, ()),
        ((), ()),
        (None, ()),
        (3, ()),
        ("x", ()),
        (object(), ()),
        ({"z": X}, ("'x'",)),
        ({3: X}, ("3",)),
        ({"x": "abc"}, ("x",)),
        ({"x": None}, ("x",)),
        ({"x": [["a"] * 4] * 24}, ("x",)),
        (X.to_sparse(), ("sparse",)),
        (X.to("meta"), ("meta",)),
        (torch.nested.nested_tensor([X[0], X[1, :2]]), ("nested",)),
        (X.to(torch.complex64), ("complex",)),
        (masked, ("masked",)),
        ({"x": masked}, ("masked",)),
        (np.array([["a"] * 4] * 24), ()),
        (X.numpy().astype(object), ()),
        (lambda: X, ()),
        ([X, X], ()) if rng.random() < 0 else ({X: X}, ()),
    ]
    if unused:  # `fit` keeps a description of all columns; predictions take those that the model asks for
        values += [({"x": X, "y": X[:3]}, ("different lengths",))]
        values += [({"x": X, rng.choice(["n", "total", "index"]): X}, ("reserved",))]
    return rng.choice(values)


_NO_COUNT = [0, -1, 1.5, "3", NAN, INF, None, True, [1], {}, object(), X, 10**30 * 1.0]
FIT: dict[str, tuple[list[Any], list[Any]]] = {
    "epochs": ([1, 2], [v for v in _NO_COUNT if v is not None]),
    "steps": ([1, 2], [v for v in _NO_COUNT if v is not None]),
    "batch_size": ([None, 5, 100], [v for v in _NO_COUNT if v is not None]),
    "patience": ([None], [v for v in _NO_COUNT if v is not None]),
    "clip_norm": ([None, 1, 0.5], [0, -1, NAN, INF, "1", [1], True, X]),
    "ema": ([None, 0.9], [0, 1, -0.5, NAN, "0.9", [0.9], True, X]),
    "seed": ([0, 7, 2**40], [-1, 1.5, "0", None, NAN, [0], True, X, 2**80]),
    "device": (["cpu", torch.device("cpu"), "auto"], ["gpu", "cuda:x", 3, None, ["cpu"], "", "meta", X]),
    "precision": (["float32", "float64"], ["float16", 32, None, torch.float32, ["float32"], ""]),
    "compile": ([False, "auto"], ["yes", 3, None, [True], NAN, X]),
    "objective": ([None, Trace_ELBO()], ["elbo", 3, Trace_ELBO, [Trace_ELBO()], object(), {}]),
    "optimizer": ([None], ["adam", 3, Adam({"lr": 0.1}), [1], {"lr": 0.1}]),
    "schedule": ([None], ["cosine", 3, [1], {}]),
    "freeze": ([(), "guide"], ["no_such_part", ["guidee"], 3, [3], None, {"a": 1}.keys(), X]),
    "arguments": ([None, {}], [3, "x", [1], {"no_such_argument": 1}, {3: 1}, X]),
    "callbacks": ([()], [3, "x", [3], [None], {"a": 1}, X]),
    "out": ([None], ["", " ", 3, ["x"], "~nobody_here/x", "a\0b", X]),
    "resume": ([False], [True, "x", 3, None, X]),
    "progress": ([False], ["x", 3, None, [], X]),
    "validation": ([None, X], ["x", 3, {}, X[:0], X[:, :2], object()]),
}
"""Arguments of `fit` by what is right and what is not, beside a PPCA(4, 2) and data (24, 4)."""


def fitted(world: World, rng: random.Random) -> Case:
    """A call of `fit`."""
    given: dict[str, Any] = {"steps": 1, "progress": False, "device": "cpu"}
    names = rng.sample([name for name in FIT if name not in ("epochs", "steps", "resume")], 2)
    given |= {name: rng.choice(FIT[name][0]) for name in names}
    kind = rng.random()
    if kind < 0.2:
        return Case(f"fit {names}", lambda: fit(models.PPCA(4, 2), X, **given), accepted(_has_history))
    if kind < 0.5:
        data, words = wrong_data(rng)
        return Case(f"fit, data {data!r:.40}", lambda: fit(models.PPCA(4, 2), data, **given), refused(*words))
    if kind < 0.56:
        story = rng.choice([None, 3, "vae", models.PPCA, (len,), (3, 4), X, object(), {}, lambda x: x])
        return Case(f"fit, story {story!r:.30}", lambda: fit(story, X, **given), refused())
    name = rng.choice(list(FIT))
    value = rng.choice(FIT[name][1])
    if name == "epochs":
        del given["steps"]
    return Case(f"fit, {name}={value!r:.30}", lambda: fit(models.PPCA(4, 2), X, **given | {name: value}), refused(name))


def _has_history(outcome: Outcome) -> str:
    return "" if len(outcome.value.history) == 1 else f"{len(outcome.value.history)} records"


PREDICTIONS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    name: (getattr(module, name), more)
    for module, name, more in (
        (inference, "log_likelihood", (5,)),
        (inference, "log_weights", (5,)),
        (inference, "posterior", (5,)),
        (inference, "posterior_predictive", (5,)),
        (inference, "prior", (5,)),
        (inference, "prior_predictive", (5,)),
        (inference, "held_out_elbo", (5,)),
        (inference, "encode", ()),
        (inference, "codes", ()),
        (inference, "reconstruct", ()),
        (inference, "active_units", ()),
        (diagnostics, "importance_weights", (20,)),
        (diagnostics, "decompose", (5,)),
        (diagnostics, "loo", (20,)),
        (diagnostics, "prior_elbo", (5,)),
        (diagnostics, "datum_moments", (20,)),
        (diagnostics, "to_datatree", (5,)),
        (diagnostics, "elbo_surgery", ()),
    )
}
"""Functions of (story, data, number of draws)."""


def predicted(world: World, rng: random.Random) -> Case:
    """A prediction or a diagnosis of a trained story."""
    run = _loaded(world, "ppca")
    kind = rng.random()
    if kind < 0.3:
        return _sampled(run, rng)
    if kind < 0.4:
        return _of_other_kind(run, rng)
    name = rng.choice(list(PREDICTIONS))
    call, more = PREDICTIONS[name]
    story = run.story if rng.random() < 0.5 else run
    if kind < 0.5:
        return Case(name, lambda: call(story, X, *more), accepted(_numbers(name)))
    if kind < 0.75:
        data, words = wrong_data(rng, unused=False)
        return Case(f"{name}, data {data!r:.40}", lambda: call(story, data, *more), refused(*words))
    if kind < 0.8:
        other = rng.choice([None, 3, "run", X, object(), models.PPCA, lambda x: x, {}])
        return Case(f"{name}, story {other!r:.30}", lambda: call(other, X, *more), refused())
    parameter, value = rng.choice(
        [("num_samples", v) for v in _NO_COUNT if v is not None]
        + [("seed", v) for v in (-1, 1.5, "0", NAN, [0], X, 2**80)]
    )
    if parameter not in inspect.signature(call).parameters:
        parameter, value = "seed", "x"
    if parameter not in inspect.signature(call).parameters:
        return Case(name, lambda: call(story, X), accepted())
    given = dict(zip(["fitted", "data", "num_samples"], [story, X, *more], strict=False)) | {parameter: value}
    first = next(iter(inspect.signature(call).parameters))
    given[first] = given.pop("fitted")
    return Case(f"{name}, {parameter}={value!r:.30}", lambda: call(**given), refused(parameter))


_RUNS: dict[str, Any] = {}


def _loaded(world: World, name: str) -> Any:
    if name not in _RUNS:
        _RUNS[name] = load(world.runs[name])
        _RUNS[name].story.to("cpu")
    return _RUNS[name]


def _numbers(name: str) -> Callable[[Outcome], str]:
    def check(outcome: Outcome) -> str:
        value = outcome.value
        if name == "log_weights" and tuple(value.shape) != (5, 24):
            return f"shape {tuple(value.shape)}"
        if name in ("posterior", "posterior_predictive", "prior"):
            wrong = {k: tuple(v.shape) for k, v in value.items() if v.shape[:2] != (5, 24)}
            return f"shapes {wrong}" if wrong else ""
        return ""

    return check


def _sampled(run: Any, rng: random.Random) -> Case:
    """`Fit.story.sample`, `log_prob` and `decode`."""
    story, n = run.story, rng.choice([1, 5])
    if rng.random() < 0.2:
        return Case(
            "sample", lambda: story.sample(n), accepted(lambda o: "" if o.value.shape == (n, 4) else str(o.value.shape))
        )
    bad: list[tuple[str, Callable[[], Any], Right]] = [
        (f"sample n={v!r:.20}", lambda v=v: story.sample(v), refused("n"))
        for v in [0, -1, 1.5, "3", NAN, None, [3], True, X, {}]
    ]
    bad += [
        ("sample x", lambda: story.sample(3, x=X[:3]), refused("x")),
        ("sample unknown", lambda: story.sample(3, xx=1), refused("xx")),
        ("sample huge", lambda: story.sample(10**15), refused("memory")),
        *(("log_prob", lambda v=v: story.log_prob(v), refused()) for v in (X[:, :2], "x", None, 3, [1, 2])),
        *(
            ("decode", lambda v=v: inference.decode(story, v), refused())
            for v in ("x", None, 3, X[:, :1], torch.full((2, 2), NAN), [], {})
        ),
    ]
    return Case(*rng.choice(bad))


def _of_other_kind(run: Any, rng: random.Random) -> Case:
    """Imputation and figures of samples."""
    t, story, missing = torch.randn(40, 3), run.story, torch.zeros(24, 4, dtype=torch.bool)
    missing[:3, 0] = True
    bad = rng.choice([None, 3, "x", [], {}, object(), t[:0], torch.full((40, 3), NAN), t[:, :2], t.to(torch.complex64)])
    kinds: list[tuple[str, Callable[[], Any], Right]] = [
        ("frechet", lambda: diagnostics.frechet_distance(t, bad), refused()),
        ("kernel", lambda: diagnostics.kernel_distance(bad, t), refused()),
        ("precision", lambda: diagnostics.precision_recall(t, bad), refused()),
        ("density", lambda: diagnostics.density_coverage(bad, t), refused()),
        ("two sample", lambda: diagnostics.classifier_two_sample(bad, t), refused()),
        (
            "neighbours",
            lambda: diagnostics.precision_recall(t, t, rng.choice([0, -1, 1.5, "x", None])),
            refused("neighbours"),
        ),
        ("impute", lambda: inference.impute(story, X, rng.choice([None, "x", 3, missing[:2], X])), refused()),
        (
            "impute chains",
            lambda: inference.impute(story, X, missing, chains=rng.choice([0, -1, 1.5, "x"])),
            refused("chains"),
        ),
        (
            "impute steps",
            lambda: inference.impute(story, X, missing, steps=rng.choice([0, -1, 1.5, "x"])),
            refused("steps"),
        ),
        ("khat", lambda: diagnostics.khat_threshold(rng.choice([0, -1, "x", NAN, None])), refused("num_samples")),
        ("tempered", lambda: inference.TemperedELBO(beta=rng.choice([-1, NAN, INF, "x", None])), refused("beta")),
        (
            "iwae",
            lambda: inference.ImportanceWeightedELBO(rng.choice([0, -1, 1.5, NAN, "x", None])),
            refused("num_particles"),
        ),
        ("adam", lambda: inference.adam(rng.choice([-1, NAN, INF, "x", None])), refused("lr")),
        ("cosine", lambda: inference.cosine(rng.choice([0, -1, 1.5, "x", None])), refused("steps")),
        (
            "load",
            lambda: load(rng.choice([None, 3, "", " ", "no/such/run", "~nobody_here", b"x", "a\0b", X])),
            refused(),
        ),
        ("into", lambda: load(_FOLDERS["ppca"], into=rng.choice([3, "x", X, models.PCA(4, 2), object()])), refused()),
    ]
    return Case(*rng.choice(kinds))


_FOLDERS: dict[str, Any] = {}


def use(world: World) -> None:
    """Take the trained runs of a world."""
    _FOLDERS.update(world.runs)


BASE: dict[str, Any] = {
    "event_shape": (1, 4, 4),
    "latent": 2,
    "features": 4,
    "total": 40,
    "classes": 3,
    "num_timesteps": 10,
    "clusters": 3,
    "components": 3,
    "latents": (3, 2),
    "in_shape": (4,),
    "out_shape": (3,),
    "grid": 2,
    "codes": 4,
    "width": 8,
    "heads": 2,
    "length": 5,
    "channels": 4,
    "scale": 0.1,
    "rate": 0.1,
    "count": 3,
    "outputs": 2,
    "in_channels": 1,
    "out_channels": 2,
    "kernel_size": 3,
    "labels": 2,
}
_MORE: dict[str, dict[str, Any]] = {
    "ConditionalVAE": {"classes": 3},
    "ConditionalFlow": {"classes": 3},
    "Label": {"classes": 3},
    "Generator": {"out_shape": (1, 4, 4)},
    "TileDecoder": {"out_shape": (1, 4, 4), "tile": 2},
    "TileEncoder": {"tile": 2},
    "ConvDecoder": {"out_shape": (1, 4, 4)},
    "GridDecoder": {"out_shape": (1, 4, 4)},
    "SequenceVAE": {"event_shape": (5, 2)},
    "SequenceAutoencoder": {"event_shape": (5, 2)},
    "CausalTransformer": {"symbols": 3},
    "CausalRecurrent": {"symbols": 3},
    "SequenceEncoder": {"symbols": 3},
    "ConditionalGAN": {"classes": 3},
}
_NEVER: list[Any] = [object(), {}, b"x", int, X, {"a": 1}, ("a",), [None], 1j]
"""Values that are right for no parameter that is annotated as a number, a string or a shape."""
_SIMPLE = {"int", "float", "int | None", "float | None", "str", "bool", "Shape", "Shape | None", "Sequence[int]"}


def _classes() -> dict[str, tuple[type, dict[str, Any], list[str]]]:
    """The exported classes that can be built, with arguments that are right, and the parameters of simple types."""
    found = {}
    for module in (models, distributions, nn, adversarial, autoregressive):
        for name in module.__all__:
            cls = getattr(module, name)
            if not inspect.isclass(cls) or inspect.isabstract(cls) or issubclass(cls, torch.distributions.Distribution):
                continue
            parameters = inspect.signature(cls).parameters.values()
            given = {p.name: BASE[p.name] for p in parameters if p.default is p.empty and p.name in BASE} | _MORE.get(
                name, {}
            )
            simple = [p.name for p in parameters if str(p.annotation) in _SIMPLE]
            try:
                cls(**given)
            except Exception:
                continue
            if simple:
                found[name] = (cls, given, simple)
    return found


_CLASSES: dict[str, tuple[type, dict[str, Any], list[str]]] = {}


def constructed(world: World, rng: random.Random) -> Case:
    """A constructor of a model, a network or a component."""
    if not _CLASSES:
        _CLASSES.update(_classes())
    name = rng.choice(list(_CLASSES))
    cls, given, simple = _CLASSES[name]
    if rng.random() < 0.1:
        return Case(name, lambda: cls(**given), accepted(lambda o: "" if isinstance(o.value, cls) else "another class"))
    parameter = rng.choice(simple)
    annotation = str(inspect.signature(cls).parameters[parameter].annotation)
    values = list(_NEVER)
    if annotation != "str":
        values += ["x", ""]
    if annotation.startswith("int"):
        values += [1.5, NAN, INF, [1], True, -(10**30)]
    if annotation.startswith("float"):
        values += [NAN, INF, -INF, [0.1], True]
    if "None" not in annotation:
        values += [None]
    if annotation in ("Shape", "Sequence[int]"):
        values += [(0,), (-1,), (1.5,), (True,), -1, NAN, 10**30]
    value = rng.choice(values)
    return Case(f"{name}({parameter}={value!r:.30})", lambda: cls(**given | {parameter: value}), refused(), ())


def drop_in(world: World, rng: random.Random) -> Case:
    """`pyrogen.inference.SVI` in place of Pyro's."""

    def model(x: torch.Tensor) -> None:
        loc = pyro.param("loc", torch.zeros(()))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, 1.0), obs=x)

    def guide(x: torch.Tensor) -> None:
        pass

    x = torch.arange(6.0)

    def losses(svi: Any) -> Any:
        pyro.clear_param_store()
        return [float(svi(model, guide, Adam({"lr": 0.1}), Trace_ELBO()).step(x)) for _ in range(2)]

    def same(outcome: Outcome) -> str:
        stock = losses(pyro.infer.SVI)
        return "" if outcome.value == stock else f"{outcome.value}, stock {stock}"

    adam: Any = Adam({"lr": 0.1})
    kinds: list[tuple[str, Callable[[], Any], Right]] = [
        ("SVI", lambda: losses(inference.SVI), accepted(same)),
        (
            "SVI, optimizer",
            lambda: inference.SVI(model, guide, rng.choice([None, "adam", 3]), Trace_ELBO()),
            refused("optim"),
        ),
        ("SVI, model", lambda: inference.SVI(rng.choice([None, "m", 3]), guide, adam, Trace_ELBO()), refused("model")),
        ("SVI, guide", lambda: inference.SVI(model, rng.choice([None, "g", 3]), adam, Trace_ELBO()), refused("guide")),
        ("SVI, loss", lambda: inference.SVI(model, guide, adam, rng.choice([None, "elbo", 3])), refused("loss")),
        (
            "SVI, compile",
            lambda: inference.SVI(model, guide, adam, Trace_ELBO(), compile=rng.choice(["x", 3, None])),
            refused("compile"),
        ),
    ]
    return Case(*rng.choice(kinds))


def labelled(world: World, rng: random.Random) -> Case:
    """Labels of a story that is given labels."""
    run = _loaded(world, "conditional_vae")
    masked = np.ma.masked_array(np.zeros(3, dtype=np.int64), mask=[False, True, False])
    bad = [
        3,
        -1,
        1.5,
        "a",
        None,
        [0, 1],
        [0, 1, 5],
        torch.zeros(3),
        torch.zeros(3, 2, dtype=torch.int64),
        [],
        {},
        object(),
        NAN,
        masked,
        True,
    ]
    good = [0, 2, [0, 1, 2], torch.tensor([1, 1, 1]), np.int64(1), np.array([2, 0, 1])]
    if rng.random() < 0.3:
        value = rng.choice(good)
        return Case(
            f"y={value!r:.30}",
            lambda: run.story.sample(3, y=value),
            accepted(lambda o: "" if len(o.value) == 3 else "rows"),
        )
    value = rng.choice(bad)
    return Case(f"y={value!r:.40}", lambda: run.story.sample(3, y=value), refused("y"))
