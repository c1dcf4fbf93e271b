"""Recording of tensor operations: what a graph holds, and what is refused."""

import pytest
import torch
from torch import nn

from pyrogen.inference.compile.tracing import CannotTrace, trace


def test_a_graph_reads_what_the_function_reads_now():
    """Inputs, captured tensors and buffers are live; numbers are constants of the graph."""
    weight, total, factor = torch.tensor(2.0), torch.zeros(()), [3.0]

    def function(x):
        total.add_(x.sum())
        return [x * weight * factor[0], total.clone()]

    graph = trace(function, [torch.ones(2)])
    weight.fill_(5.0)
    total.zero_()
    factor[0] = 100.0
    scaled, running = graph(torch.tensor([1.0, 2.0]))
    assert scaled.tolist() == [15.0, 30.0]
    assert (running.item(), total.item()) == (3.0, 3.0)


def test_a_tensor_that_is_passed_twice_is_two_inputs():
    x = torch.ones(2)
    graph = trace(lambda a, b: [a - b], [x, x])
    assert graph(torch.ones(2), torch.zeros(2))[0].tolist() == [1.0, 1.0]


def test_random_numbers_are_drawn_anew_in_the_same_order():
    function = lambda x: [torch.randn(3) + x, torch.bernoulli(torch.full((3,), 0.5))]  # noqa: E731
    graph = trace(function, [torch.zeros(3)])
    torch.manual_seed(1)
    expected = function(torch.ones(3))
    torch.manual_seed(1)
    for mine, theirs in zip(graph(torch.ones(3)), expected, strict=True):
        assert torch.equal(mine, theirs)


def test_constants_may_be_read_in_python():
    """A tensor of numbers alone has the same value in each run."""

    def function(x):
        edges = torch.linspace(0.0, float(torch.tensor(2.0)), 3)
        return [x * edges[-1].item() if bool((edges.diff() > 0).all()) else x]

    assert trace(function, [torch.ones(1)])(torch.tensor([4.0]))[0].item() == 8.0


def reads(x):
    return [x * x.sum().item()]


def branches(x):
    return [x if x.sum() > 0 else -x]


def constant_that_was_written(x):
    total = torch.tensor(0.0)
    view = total.view(1)
    total.add_(x.sum())
    return [x * float(view)]


def lists(x):
    return [torch.tensor(x.tolist())]


def masked(x):
    return [x[x > 0]]


def nonzero(x):
    return [x[x.nonzero()[:, 0]]]


def own_generator(x):
    return [x + torch.randn(2, generator=torch.Generator().manual_seed(1))]


def fails(x):
    return [x + torch.ones(7)]


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (reads, "value of a tensor in Python"),
        (branches, "value of a tensor in Python"),
        (constant_that_was_written, "value of a tensor in Python"),
        (lists, "out of torch"),
        (masked, "boolean indexing"),
        (nonzero, "depends on values"),
        (own_generator, "generator of its own"),
        (fails, "RuntimeError: The size of tensor a"),
    ],
)
def test_what_a_graph_cannot_hold_is_refused(function, reason):
    with pytest.raises(CannotTrace, match=reason):
        trace(function, [torch.ones(2)])


@pytest.mark.parametrize(
    "change",
    [lambda p: p.requires_grad_(False), lambda p: setattr(p, "data", torch.ones(2, 2))],
    ids=["frozen", "shape"],
)
def test_a_graph_does_not_hold_where_a_captured_tensor_is_another(change):
    weight = nn.Parameter(torch.ones(3))
    graph = trace(lambda x: [x * weight.sum()], [torch.ones(2)])
    assert graph.holds()
    change(weight)
    assert not graph.holds()
