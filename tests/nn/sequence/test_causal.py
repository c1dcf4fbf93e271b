"""Causal networks: no output depends on its own element or on later ones, in whole passes and incrementally."""

import itertools

import pytest
import torch

from pyrogen.nn import CausalRecurrent, CausalTransformer

LENGTH, SYMBOLS, FEATURES = 5, 3, 2
CASES = list(itertools.product(("recurrent", "transformer"), ("symbols", "vectors"), (0, 4)))


def build(kind, elements, context):
    options = {"outputs": 4, "width": 8, "layers": 2, "context": context}
    options |= {"symbols": SYMBOLS} if elements == "symbols" else {"features": FEATURES}
    network = CausalTransformer(LENGTH, heads=2, **options) if kind == "transformer" else CausalRecurrent(**options)
    return network.double()


def sequences(network, rows):
    if network.symbols:
        return torch.randint(SYMBOLS, (rows, LENGTH))
    return torch.randn(rows, LENGTH, FEATURES, dtype=torch.float64)


def contexts(network, rows):
    return [torch.randn(rows, network.context, dtype=torch.float64)] if network.context else []


@pytest.mark.parametrize("case", CASES, ids=str)
def test_outputs_depend_on_all_elements_before_and_on_the_context(case):
    network = build(*case)
    x, context = sequences(network, 1), contexts(network, 1)
    changed = x.repeat(LENGTH, *[1] * (x.dim() - 1))
    for i in range(LENGTH):
        changed[i, i] = (changed[i, i] + 1) % SYMBOLS if network.symbols else changed[i, i] + 1
    with torch.no_grad():
        outputs = network(changed, *(one.expand(LENGTH, -1) for one in context))
        moved = ((outputs - network(x, *context)).abs() > 1e-12).any(-1)
        assert torch.equal(moved, torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1))
        if context:
            assert ((network(x, context[0] + 1) - network(x, *context)).abs() > 1e-12).any(-1).all()


@pytest.mark.parametrize("case", CASES, ids=str)
@torch.no_grad()
def test_incremental_outputs_equal_those_of_a_whole_pass(case):
    network = build(*case)
    x, context = sequences(network, 3), contexts(network, 3)
    whole, step = network(x, *context), network.steps(3, *context)
    for position in range(LENGTH):
        so_far = x.clone()
        so_far[:, position:] = 0
        torch.testing.assert_close(step(position, so_far), whole[:, position], rtol=0, atol=1e-12)


def test_the_unit_is_that_of_an_element():
    assert build("recurrent", "symbols", 0).unit == ()
    assert build("transformer", "vectors", 0).unit == (FEATURES,)


def test_invalid_arguments_are_refused():
    for symbols, features in ((0, 0), (3, 2)):
        with pytest.raises(ValueError, match=f"exactly one of .* got symbols={symbols} and features={features}"):
            CausalRecurrent(symbols=symbols, features=features)
    with pytest.raises(ValueError, match="CausalTransformer was made for a context of 2 numbers: pass one"):
        CausalTransformer(4, symbols=3, context=2)(torch.zeros(1, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="heads must divide width"):
        CausalTransformer(4, symbols=3, width=9, heads=2)
