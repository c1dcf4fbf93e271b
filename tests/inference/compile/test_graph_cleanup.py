"""Cleaned graphs: fewer operations, and the same bits in results, buffers and random numbers."""

import functools
import operator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from pyrogen.inference.compile.graph_cleanup import as_torch_calls, clean
from pyrogen.inference.compile.tracing import trace

UNARY = [
    torch.exp,
    torch.neg,
    torch.tanh,
    functional.softplus,
    torch.Tensor.clone,
    torch.Tensor.detach,
    lambda x: x.expand(3, 4),
    lambda x: x.view(3, 4),
    lambda x: x**2,
    lambda x: x**1,
    lambda x: x * 1,
    lambda x: torch.neg(torch.neg(x)),
    lambda x: x + torch.tensor(1.0),
    lambda x: x + torch.zeros_like(x) * 2,
    lambda x: x - x.sum(),
    lambda x: x / x.std(),
    lambda x: x.to(x.dtype),
    lambda x: torch.where(x > 0, x, 0.1 * x),
    lambda x: x.t().t(),
    lambda x: x.clone().mul_(0.5),
    lambda x: x.clone().clamp_(min=0.1),
    lambda x: torch.cat([x[:1], x[1:]]),
    lambda x: torch.cumsum(x, -1),
    lambda x: x + torch.randn(4),
    lambda x: functional.dropout(x, 0.5, training=True),
    lambda x: x.logsumexp(-1, keepdim=True).expand(3, 4),
]
BINARY = [torch.add, torch.sub, torch.mul, torch.maximum, lambda a, b: a @ b.t() @ a]

programs = st.lists(st.tuples(st.integers(0, len(UNARY) - 1), st.integers(0, len(BINARY) - 1)), min_size=1, max_size=8)


def bits(tensors):
    return [(tensor.shape, tensor.dtype, tensor.detach().contiguous().numpy().tobytes()) for tensor in tensors]


def gradients(steps, weight, x):
    """Loss and gradients of a chain of operations, each applied twice, so that there is something to merge."""
    values = [x * weight]
    for unary, binary in steps:
        values.append(BINARY[binary](UNARY[unary](values[-1]), UNARY[unary](values[len(values) // 2])))
    loss = functools.reduce(operator.add, [value.mean() for value in values])
    return [loss.detach(), *torch.autograd.grad(loss, [weight])]


@settings(max_examples=150, deadline=None)
@given(programs)
def test_the_bits_of_any_program_stay(steps):
    weight = nn.Parameter(torch.linspace(-0.5, 0.5, 4))
    function = functools.partial(gradients, steps, weight)
    x = torch.linspace(-1, 1, 12).reshape(3, 4)
    graph = trace(function, [x])
    before = len(graph.graph.nodes)
    clean(graph)
    assert len(graph.graph.nodes) <= before
    native = as_torch_calls(graph, [x, *graph.captured])
    for seed, given_x in ((1, x), (2, x.flip(0) + 0.1)):
        runs = []
        for call in (function, graph, lambda x: native(x, *graph.captured)):
            torch.manual_seed(seed)
            runs.append([*bits(call(given_x)), torch.randn(1).item()])
        assert runs[1] == runs[0]
        assert runs[2] == runs[0]


def count(graph, name):
    return sum(name in str(node.target) for node in graph.graph.nodes)


def test_repetitions_constants_and_copies_go():
    def function(x):
        constant = torch.log(torch.tensor(2.0)) * torch.ones(3)
        return [x.exp() + constant, x.detach().exp() * constant.clone(), (x * 1).exp()]

    graph = trace(function, [torch.ones(3)])
    clean(graph)
    assert [count(graph, name) for name in ("exp", "log", "ones", "detach", "mul.Tensor")] == [1, 0, 0, 0, 1]


def test_numbers_of_other_types_are_not_merged():
    graph = trace(lambda x: [x + 1, x + 1.0, x * 0.0, x * -0.0], [torch.ones(2, dtype=torch.long)])
    clean(graph)
    results = graph(torch.ones(2, dtype=torch.long))
    assert [r.dtype for r in results[:2]] == [torch.long, torch.float32]
    assert torch.signbit(results[3]).all()
    assert not torch.signbit(results[2]).any()


def test_what_is_read_before_and_after_a_write_is_not_merged():
    buffer = torch.zeros(2)

    def function(x):
        before = buffer * 2
        buffer.add_(x)
        return [before, buffer * 2, buffer.view(2) * 2]

    graph = trace(function, [torch.ones(2)])
    clean(graph)
    buffer.zero_()
    assert [result.tolist() for result in graph(torch.ones(2))] == [[0, 0], [2, 2], [2, 2]]


def test_two_passes_of_batch_normalization_count_twice():
    norm = nn.BatchNorm1d(3)
    graph = trace(lambda x: [norm(x), norm(x)], [torch.randn(5, 3)])
    clean(graph)
    norm.reset_running_stats()
    x = torch.randn(5, 3)
    with torch.no_grad():
        graph(x)
    other = nn.BatchNorm1d(3)
    other(x)
    other(x)
    assert torch.equal(norm.running_mean, other.running_mean)
    assert norm.num_batches_tracked == 2


@pytest.mark.parametrize(
    "function",
    [
        lambda x, w: [x, x],
        lambda x, w: [w, torch.ones(2)],
        lambda x, w: [(x + 1).expand(2), x + 1],
        lambda x, w: (lambda y: [y[:1], y[1:]])(x + 1),
    ],
    ids=["input", "captured", "expanded", "views"],
)
def test_each_result_has_memory_of_its_own(function):
    """Whoever receives a gradient may write to it, as clipping does."""
    x, weight = torch.ones(1), torch.ones(2)
    graph = trace(lambda x: function(x, weight), [x])
    clean(graph)
    expected = [tensor.clone() for tensor in function(x, weight)]
    for _ in range(2):
        results = graph(x)
        for result, value in zip(results, expected, strict=True):
            assert torch.equal(result, value)
        for result in results:
            result.mul_(7.0)
    assert (x.tolist(), weight.tolist()) == ([1.0], [1.0, 1.0])
