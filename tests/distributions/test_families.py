"""Likelihoods and posteriors: their fields, and their densities by hand."""

import dataclasses
import json
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pyrogen.distributions import (
    Bernoulli,
    DiagonalNormal,
    DiscretizedCategorical,
    DiscretizedLogistic,
    Family,
    FullNormal,
    Gaussian,
    SharedScaleGaussian,
    stacked_shape,
    unstack,
)

FAMILIES: dict[str, Family] = {
    "bernoulli": Bernoulli(),
    "gaussian": Gaussian(),
    "gaussian_fixed": Gaussian(scale=0.3),
    "diagonal_normal": DiagonalNormal(),
    "diagonal_normal_fixed": DiagonalNormal(scale=1.0),
    "logistic": DiscretizedLogistic(17),
    "categorical": DiscretizedCategorical(5),
}
EVENTS = [(), (3,), (1, 4, 4), (3, 2, 5)]

Formula = Callable[[Tensor, list[Tensor]], Tensor]


def normal(x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    return -((x - mean) ** 2) / (2 * scale**2) - scale.log() - math.log(2 * math.pi) / 2


def logistic(x: Tensor, mean: Tensor, scale: Tensor, levels: int = 17) -> Tensor:
    """The difference of the distribution function at the edges of the level's bin, the outer ones at infinity."""
    half = 0.5 / (levels - 1)
    upper = torch.where(x > 1 - half, torch.inf, (x + half - mean) / scale).sigmoid()
    lower = torch.where(x < half, -torch.inf, (x - half - mean) / scale).sigmoid()
    return (upper - lower).log()


def categorical(x: Tensor, raw: list[Tensor]) -> Tensor:
    chosen = nn.functional.one_hot((x * (len(raw) - 1)).round().long(), len(raw)).movedim(-1, 0)
    return (torch.stack(raw).log_softmax(0) * chosen).sum(0)


BY_HAND: dict[str, Formula] = {
    "bernoulli": lambda x, raw: x * raw[0].sigmoid().log() + (1 - x) * (1 - raw[0].sigmoid()).log(),
    "gaussian": lambda x, raw: normal(x, raw[0], 1e-3 + raw[1].exp()),
    "gaussian_fixed": lambda x, raw: normal(x, raw[0], torch.tensor(0.3, dtype=torch.float64)),
    "diagonal_normal": lambda x, raw: normal(x, raw[0], 1e-6 + torch.where(raw[1] < 0, raw[1].exp(), 1 + raw[1])),
    "diagonal_normal_fixed": lambda x, raw: normal(x, raw[0], torch.tensor(1.0, dtype=torch.float64)),
    "logistic": lambda x, raw: logistic(x, raw[0], 1e-4 + raw[1].exp()),
    "categorical": categorical,
}
MEANS: dict[str, Callable[[list[Tensor]], Tensor]] = {
    "bernoulli": lambda raw: raw[0].sigmoid(),
    "categorical": lambda raw: (
        torch.stack(raw).softmax(0) * torch.linspace(0, 1, 5).reshape(5, *[1] * raw[0].dim())
    ).sum(0),
    "logistic": lambda raw: torch.stack(
        [k / 16 * logistic(torch.tensor(k / 16.0), raw[0], 1e-4 + raw[1].exp()).exp() for k in range(17)]
    ).sum(0),
}


@pytest.mark.parametrize("event_shape", EVENTS, ids=str)
@pytest.mark.parametrize("name", FAMILIES)
def test_density_is_the_one_by_hand(name: str, event_shape: tuple[int, ...]) -> None:
    family, lead = FAMILIES[name], (2, 5)
    size = family.size(event_shape)
    parts = math.prod(size) // math.prod(event_shape)
    raw = [torch.randn(*lead, *event_shape, dtype=torch.float64) for _ in range(parts)]
    outputs = torch.stack(raw, len(lead)).reshape(*lead, *size)
    distribution = family(outputs, event_shape)
    assert distribution.batch_shape == lead
    assert distribution.event_shape == event_shape
    x = distribution.sample()
    by_hand = BY_HAND[name](x, raw).flatten(2).sum(-1) if event_shape else BY_HAND[name](x, raw)
    torch.testing.assert_close(distribution.log_prob(x), by_hand, rtol=0, atol=1e-10)
    mean = MEANS[name](raw) if name in MEANS else raw[0]
    torch.testing.assert_close(family.point(distribution), mean)
    expanded = distribution.expand((3, *lead))
    torch.testing.assert_close(expanded.log_prob(x), distribution.log_prob(x).expand(3, *lead))
    assert expanded.sample().shape == (3, *lead, *event_shape)


@pytest.mark.parametrize("name", FAMILIES)
def test_is_rebuilt_from_its_fields_and_hashable(name: str) -> None:
    family = FAMILIES[name]
    assert type(family)(**json.loads(json.dumps(dataclasses.asdict(family)))) == family
    assert len({family, type(family)(**dataclasses.asdict(family))}) == 1


@pytest.mark.parametrize("name", FAMILIES)
def test_half_precision_outputs_are_scored_in_float32(name: str) -> None:
    """Autocast networks give bfloat16: the density is that of the rounded outputs, in full precision."""
    family = FAMILIES[name]
    outputs = torch.randn(5, *family.size((64,))).bfloat16()
    exact = family(outputs.double(), (64,))
    x = exact.sample()
    log_prob = family(outputs, (64,)).log_prob(x.float())
    assert log_prob.dtype == torch.float32
    torch.testing.assert_close(log_prob.double(), exact.log_prob(x.float().double()), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_refuses_outputs_of_another_size(name: str) -> None:
    with pytest.raises(ValueError, match=r"over \(1, 4, 4\) \(does the network end in nn.Unflatten.*got \(5, 7\)"):
        FAMILIES[name](torch.zeros(5, 7), (1, 4, 4))


def test_stacked_parts_come_back() -> None:
    parts = torch.randn(3, 5, 2, 4, 4)
    parts_again = unstack(torch.cat(list(parts), 1), 3, (2, 4, 4), "it")
    assert stacked_shape(3, (2, 4, 4)) == (6, 4, 4)
    assert torch.equal(torch.stack(parts_again), parts)


def test_bernoulli_is_exact_at_extreme_logits() -> None:
    logits = torch.tensor([200.0, -200.0], dtype=torch.float64, requires_grad=True)
    scores = Bernoulli()(logits, ()).log_prob(torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert torch.equal(scores.detach(), torch.tensor([-200.0, -200.0], dtype=torch.float64))
    scores.sum().backward()
    assert torch.equal(logits.grad, torch.tensor([-1.0, 1.0], dtype=torch.float64))


def test_learned_scales_have_a_floor() -> None:
    cases = ((Gaussian(), 1e-3, math.exp(2)), (Gaussian(floor=0.1), 0.1, math.exp(2)), (DiagonalNormal(), 1e-6, 3.0))
    for family, floor, large in cases:
        distribution = family(torch.tensor([[0.0, -1e4], [0.0, 2.0]]), (1,))
        torch.testing.assert_close(distribution.stddev, torch.tensor([[floor], [floor + large]]), atol=0, rtol=1e-6)
        assert distribution.log_prob(torch.zeros(1)).isfinite().all()


def test_bernoulli_refuses_grey_values() -> None:
    Bernoulli().check(torch.tensor([0.0, 1.0, 1.0]))
    with pytest.raises(
        ValueError, match=r"support \{0, 1\}, but 'x' has 2 other values \(first: 0.25\): pass binarize="
    ):
        Bernoulli().check(torch.tensor([[0.0, 0.25], [-1.0, 1.0], [float("nan"), 1.0]]))


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: Gaussian(scale=0.0), "scale=0.0"),
        (lambda: Gaussian(scale=-1.0), "scale=-1.0"),
        (lambda: Gaussian(floor=0), "floor=0"),
        (lambda: DiagonalNormal(floor=-1), "floor=-1"),
        (lambda: DiagonalNormal(scale=0), "scale=0"),
        (lambda: FullNormal(floor=-2), "floor=-2"),
        (lambda: SharedScaleGaussian(floor=-3), "floor=-3"),
        (lambda: DiscretizedLogistic(floor=-4), "floor=-4"),
        (lambda: Gaussian(scale=float("nan")), "scale=nan"),
    ],
)
def test_refuses_scales_that_are_not_positive(build: Callable[[], Family], named: str) -> None:
    with pytest.raises(ValueError, match=f"needs a positive .*got {named}"):
        build()


@pytest.mark.parametrize("shape", [(), (2, 1, 1), (2, 3, 4)])
def test_a_shared_scale_starts_at_the_datas_and_learns(shape: tuple[int, ...]) -> None:
    family, x = SharedScaleGaussian(shape), 3 * torch.randn(500, 2, 3, 4)
    family.prepare(x)
    distribution = family(torch.zeros(5, 2, 3, 4), (2, 3, 4))
    assert family.size((2, 3, 4)) == (2, 3, 4)
    torch.testing.assert_close(distribution.stddev, x.std(correction=0).add(1e-3).expand(5, 2, 3, 4))
    distribution.log_prob(x[:5]).sum().backward()
    assert family.raw_scale.grad is not None
    assert family.raw_scale.grad.shape == shape


def test_a_shared_scale_can_start_at_constant_data() -> None:
    family = SharedScaleGaussian()
    family.prepare(torch.ones(5, 2))
    assert family(torch.zeros(2), (2,)).stddev.tolist() == pytest.approx([2e-3, 2e-3])
