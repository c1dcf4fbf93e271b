"""Arguments of public functions and constructors: what is wrong is refused in one line, before anything is done."""

import inspect
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrogen import diagnostics, distributions, inference, models, nn
from pyrogen.annotations import Count, Seed
from pyrogen.arguments import check_public, checked

X = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
NO_NUMBERS = st.one_of(st.text(max_size=3), st.none(), st.lists(st.integers(), max_size=2), st.just({}), st.binary())


def refuses(call, *words):
    with pytest.raises((TypeError, ValueError), match=r"^[^\n]+$") as caught:
        call()
    frames = inspect.getinnerframes(caught.value.__traceback__)
    assert "/pyrogen/" in frames[-1].filename
    for word in words:
        assert word in str(caught.value), str(caught.value)


@checked
def drawn(n: Count, scale: float = 1.0, seed: Seed | None = None, kind: str = "a", **more: int):
    """Gives back what it received."""
    return n, scale, seed, kind, more


@given(
    n=st.integers(1, 10**6),
    scale=st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9),
    seed=st.none() | st.integers(0, 2**63 - 1),
)
def test_what_is_right_passes_unchanged(n, scale, seed):
    assert drawn(n, scale, seed=seed, other="anything") == (n, scale, seed, "a", {"other": "anything"})


@given(value=NO_NUMBERS, name=st.sampled_from(["n", "scale", "seed"]))
def test_values_of_other_types_are_refused_by_name(value, name):
    if value is not None or name != "seed":
        refuses(lambda: drawn(**{"n": 1} | {name: value}), f"drawn: {name} takes")


@pytest.mark.parametrize("given", [{"n": 0}, {"n": True}, {"n": 1.5}, {"scale": math.nan}, {"scale": math.inf}])
@pytest.mark.parametrize("number", [-1, 2**63])
def test_values_out_of_range_are_refused(given, number):
    refuses(lambda: drawn(**{"n": 1} | given | {"seed": number}), "drawn: ")


@pytest.mark.parametrize("number", [np.int64(3), np.uint8(3), np.int32(3)])
def test_numbers_of_numpy_become_numbers_of_python(number):
    n, scale, *_ = drawn(number, np.float32(0.5))
    assert type(n) is int
    assert type(scale) is float


def test_a_calls_own_refusal_comes_first_and_others_are_explained():
    @checked
    def own(n: int) -> None:
        raise TypeError("of the call itself")

    refuses(lambda: inference.TemperedELBO(beta=-1), "beta must be a number of at least 0")
    refuses(lambda: inference.TemperedELBO(beta="x"), "TemperedELBO: beta takes a number, got 'x'")
    with pytest.raises(TypeError, match=r"own: n takes a whole number, got 'x'"):
        own("x")  # a message that is not of the package is Python's own as well


def test_classes_and_functions_of_a_package_are_checked_and_abstract_ones_are_not():
    class Part:
        def __init__(self, size: int) -> None:
            self.size = size

    def grown(size: int) -> int:
        return size + 1

    namespace = {"__all__": ["Part", "grown", "left"], "Part": Part, "grown": grown, "left": len}
    check_public(namespace, but=("left",))
    assert namespace["Part"](3).size == 3
    assert namespace["grown"](3) == 4
    refuses(lambda: namespace["Part"]("x"), "Part: size")
    refuses(lambda: namespace["grown"](None), "grown: size")


@settings(max_examples=60, deadline=None)
@given(value=NO_NUMBERS | st.sampled_from([math.nan, -1, 1.5, True, int, -(10**30), b"x", torch.zeros(2)]))
@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda v: nn.UNet((1, 4, 4), heads=v), "heads"),
        (lambda v: nn.CausalRecurrent(symbols=3, width=v), "width"),
        (lambda v: nn.GridDecoder(v, (1, 4, 4)), "features"),
        (lambda v: distributions.NormalMixture(2, components=v), "components"),
        (lambda v: distributions.Categorical(v), "count"),
        (lambda v: models.PPCA(4, v), "latent"),
        (lambda v: models.VQVAE((1, 4, 4), 2, codes=v), "codes"),
        (lambda v: models.KDE(4, total=v), "total"),
    ],
    ids=["UNet", "CausalRecurrent", "GridDecoder", "NormalMixture", "Categorical", "PPCA", "VQVAE", "KDE"],
)
def test_sizes_of_components_are_whole_numbers(build, name, value):
    refuses(lambda: build(value))


@pytest.mark.parametrize("size", [10**15, 10**30])
@pytest.mark.parametrize(
    "build",
    [lambda n: distributions.VampPrior(n), lambda n: nn.Dense(n, 3), lambda n: models.PPCA(n, 2)],
    ids=["prior", "network", "story"],
)
def test_sizes_that_no_memory_holds_are_refused_in_one_line(build, size):
    refuses(lambda: build(size), "too large")


STORY = models.PPCA(4, 2)


@settings(max_examples=60, deadline=None)
@given(value=NO_NUMBERS | st.sampled_from([0, -1, 1.5, math.nan, math.inf]))
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda v: inference.log_weights(STORY, X, v), "num_samples"),
        (lambda v: inference.log_likelihood(STORY, X, v), "num_samples"),
        (lambda v: inference.posterior(STORY, X, v), "num_samples"),
        (lambda v: diagnostics.importance_weights(STORY, X, v), "num_samples"),
        (lambda v: diagnostics.khat_threshold(v), "num_samples"),
        (lambda v: diagnostics.elbo_surgery(STORY, X, num_samples=v), "num_samples"),
        (lambda v: inference.log_weights(STORY, X, 2, seed=v if v else -1), "seed"),
        (lambda v: inference.held_out_elbo(STORY, X, 2, seed=v if v else -1), "seed"),
    ],
    ids=[
        "log_weights", "log_likelihood", "posterior", "importance_weights", "khat_threshold", "elbo_surgery",
        "seed of weights", "seed of an ELBO",
    ],
)  # fmt: skip
def test_numbers_of_draws_and_seeds_are_refused_by_name(call, name, value):
    refuses(lambda: call(value), name)


@pytest.mark.parametrize("count", [math.inf, 1e30, math.nan, 2.5])
def test_a_number_of_draws_that_is_not_whole_starts_nothing(count):
    started = []

    @checked
    def draws(n: Count) -> None:
        started.append(n)

    refuses(lambda: draws(count), "draws: n takes a whole number")
    assert not started
