"""Flows against exact densities: the exponential, planted ones, integrals on a grid, and Pyro's own transforms."""

import math

import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import transforms as pyro_transforms
from pyro.distributions.transforms import AffineTransform, ExpTransform
from torch import Tensor

from pyrogen import fit
from pyrogen.distributions import (
    Affine,
    Autoregressive,
    BijectionConfig,
    Coupling,
    Logit,
    MultiScale,
    NormalMixture,
    Spline,
    StandardNormal,
)
from pyrogen.inference import adam, cosine
from pyrogen.models import ConditionalFlow, Flow
from tests.helpers.statistics import assert_within

KINDS: dict[str, BijectionConfig] = {
    "affine_coupling": Coupling(Affine(), 4, (16,)),
    "spline_coupling": Coupling(Spline(), 3, (16,)),
    "affine_autoregressive": Autoregressive(Affine(), 3, (16,)),
    "spline_autoregressive": Autoregressive(Spline(), 2, (16,)),
}
PYROS = {
    "affine_coupling": lambda: [pyro_transforms.affine_coupling(2, [16]), pyro_transforms.permute(2)],
    "spline_coupling": lambda: [pyro_transforms.spline_coupling(2, hidden_dims=[16])],
    "affine_autoregressive": lambda: [pyro_transforms.affine_autoregressive(2, [16])],
    "masked_autoregressive": lambda: [pyro_transforms.affine_autoregressive(2, [16]).inv],
    "spline_autoregressive": lambda: [pyro_transforms.spline_autoregressive(2, [16]).inv],
    "mixed": lambda: [pyro_transforms.spline(2), Coupling(Affine(), 2, (8,)), AffineTransform(1.0, 2.0)],
}
MINUS_LOG = [ExpTransform().inv, AffineTransform(0.0, -1.0)]


class Banana:
    """x_1 ~ N(0, 1), x_2 given x_1 ~ N(x_1^2, 0.5^2)."""

    def sample(self, n: int) -> Tensor:
        first, noise = torch.randn(2, n).unbind()
        return torch.stack([first, first.square() + 0.5 * noise], 1)

    def log_prob(self, x: Tensor) -> Tensor:
        first, second = x.unbind(-1)
        return dist.Normal(0.0, 1.0).log_prob(first) + dist.Normal(first.square(), 0.5).log_prob(second)


class Mixture:
    """One half of N((-2, 0), 0.5^2 I) and one of N((2, 1), diag(1, 0.3)^2)."""

    def __init__(self) -> None:
        means, scales = torch.tensor([[-2.0, 0.0], [2.0, 1.0]]), torch.tensor([[0.5, 0.5], [1.0, 0.3]])
        normals = dist.Normal(means, scales).to_event(1)
        self.density = dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), normals)

    def sample(self, n: int) -> Tensor:
        return self.density.sample((n,))

    def log_prob(self, x: Tensor) -> Tensor:
        return self.density.log_prob(x)


def trained(story: Flow, data: object, steps: int = 400, rate: float = 0.01) -> Flow:
    run = fit(story, data, steps=steps, batch_size=512, optimizer=adam(rate), schedule=cosine(steps), compile=False)
    return run.story


def integral(story: Flow) -> Tensor:
    """Of the density, by the midpoint rule on a grid of [-12, 12]^2 with cells of 0.04."""
    ends = torch.arange(-12, 12, 0.04) + 0.02
    with torch.no_grad():
        return story.log_prob(torch.cartesian_prod(ends, ends)).double().exp().sum() * 0.04**2


@pytest.mark.parametrize("shape", [(), (3,)], ids=["number", "vector"])
def test_minus_log_of_a_uniform_number_is_the_exponential(shape: tuple[int, ...]) -> None:
    story = Flow(shape, MINUS_LOG, base=dist.Uniform(0.0, 1.0))
    exact = dist.Exponential(torch.ones(shape)).to_event(len(shape))
    x = exact.sample((500,))
    torch.testing.assert_close(story.log_prob(x), exact.log_prob(x), rtol=1e-5, atol=1e-6)
    draws = story.sample(20_000)
    assert (draws >= 0).all()
    assert_within(draws.mean(0), torch.ones(shape), torch.full(shape, 20_000**-0.5))
    assert_within(
        (draws > 1).float().mean(0), torch.full(shape, math.exp(-1)), torch.full(shape, (0.2326 / 20_000) ** 0.5)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_integrates_to_one(kind: str) -> None:
    story = trained(Flow(2, KINDS[kind]), Mixture().sample(512), steps=60)
    assert abs(integral(story) - 1) < 1e-3


@pytest.mark.parametrize(
    ("planted", "kind", "nats"),
    [
        (Banana, Coupling(Spline(), 4, (32,)), 0.03),
        (Banana, Autoregressive(Affine(), 2, (32,)), 0.03),
        (Mixture, Coupling(Spline(), 4, (32,)), 0.05),
        (Mixture, Autoregressive(Spline(), 2, (32,)), 0.05),
    ],
    ids=["banana-coupling", "banana-autoregressive", "mixture-coupling", "mixture-autoregressive"],
)
def test_recovers_a_planted_density(planted: type, kind: BijectionConfig, nats: float) -> None:
    """KL(planted, flow), estimated on data of their own, is below so many nats, and not below 0."""
    truth = planted()
    story = trained(Flow(2, kind), truth.sample(8192))
    x = truth.sample(4096)
    with torch.no_grad():
        gap = truth.log_prob(x) - story.log_prob(x)
    kl, error = gap.mean(), gap.std() / len(x) ** 0.5
    assert -4.27 * error < kl < nats, (kl, error)
    # and the other way around, on its own draws
    draws = story.sample(4096)
    with torch.no_grad():
        gap = story.log_prob(draws) - truth.log_prob(draws)
    assert gap.mean() < 0.2, gap.mean()


def test_a_flow_of_one_number_learns_its_density() -> None:
    truth = Mixture().density.component_distribution.base_dist
    x = truth.sample((4096,))[:, :, 0].flatten()
    story = trained(Flow((), Coupling(Spline(), 2)), x, steps=200)
    grid = torch.arange(-12, 12, 0.002)
    with torch.no_grad():
        log_q = story.log_prob(grid)
        log_p = truth.log_prob(torch.stack([grid, grid], -1)[:, None, :].expand(-1, 2, -1))[..., 0].logsumexp(1)
    log_p = log_p - math.log(2)
    assert abs(log_q.exp().sum() * 0.002 - 1) < 1e-3
    assert (log_p.exp() * (log_p - log_q)).sum() * 0.002 < 0.03


@pytest.mark.parametrize("kind", ["spline_coupling", "affine_autoregressive"])
def test_a_conditional_flow_learns_a_density_for_each_label(kind: str) -> None:
    means, scales = torch.tensor([[-3.0, 0.0], [0.0, 1.0], [2.0, 2.0]]), torch.tensor([[0.5], [1.0], [0.2]])
    y = torch.arange(6144) % 3
    x = means[y] + scales[y] * torch.randn(6144, 2)
    story = trained(ConditionalFlow(2, classes=3, transforms=KINDS[kind]), {"x": x[:4096], "y": y[:4096]}, steps=300)
    x, y = x[4096:], y[4096:]
    exact = dist.Normal(means[y], scales[y]).to_event(1).log_prob(x)
    with torch.no_grad():
        gap = exact - story.log_prob(x, y)
    assert -0.01 < gap.mean() < 0.05, gap.mean()
    draws = story.sample(2000, y=2)
    assert_within(draws.mean(0), means[2], torch.tensor(0.02))


def test_a_conditional_flow_learns_what_a_vector_does() -> None:
    y = torch.randn(6144, 2)
    x = torch.stack([y.sum(1), y[:, 0].square()], 1) + 0.3 * torch.randn(6144, 2)
    story = ConditionalFlow(2, condition=2, transforms=Coupling(Spline(), 3, (32,)))
    trained(story, {"x": x[:4096], "y": y[:4096]}, steps=400)
    x, y = x[4096:], y[4096:]
    exact = dist.Normal(torch.stack([y.sum(1), y[:, 0].square()], 1), 0.3).to_event(1).log_prob(x)
    with torch.no_grad():
        gap = exact - story.log_prob(x, y)
    assert -0.02 < gap.mean() < 0.1, gap.mean()


@pytest.mark.parametrize("kind", PYROS)
def test_pyros_transforms_train_as_they_are(kind: str) -> None:
    """On one batch of all data too, where Pyro's caches, kept from step to step, would hold the last step's graph."""
    x = Mixture().sample(512)
    story = Flow(2, PYROS[kind]())
    before = {name: value.detach().clone() for name, value in story.named_parameters()}
    with torch.no_grad():
        start = story.log_prob(x).mean()
    run = fit(story, x, steps=60, batch_size=512, optimizer=adam(0.01), compile=False)
    assert before
    for name, value in run.story.named_parameters():
        assert not torch.equal(value, before[name]), name
    with torch.no_grad():
        assert run.story.log_prob(x).mean() > start + 0.1
    inside = run.story.flow.transforms
    if kind != "mixed":
        stock = dist.TransformedDistribution(dist.Normal(torch.zeros(2), torch.ones(2)).to_event(1), inside)
        torch.testing.assert_close(run.story.log_prob(x), stock.log_prob(x.clone()))


@pytest.mark.parametrize("make", ["conditional_affine_coupling", "conditional_spline_autoregressive"])
def test_pyros_conditional_transforms_are_told_of_the_label(make: str) -> None:
    transform = getattr(pyro_transforms, make)(2, 3, hidden_dims=[16])
    story = ConditionalFlow(2, classes=3, transforms=[transform.inv])
    x, y = torch.randn(7, 2), torch.arange(7) % 3
    context = torch.eye(3)[y]
    stock = dist.TransformedDistribution(
        dist.Normal(torch.zeros(2), torch.ones(2)).to_event(1), [transform.condition(context).inv]
    )
    torch.testing.assert_close(story.log_prob(x, y), stock.log_prob(x))
    fit(story, {"x": x, "y": y}, steps=3, compile=False)
    with pytest.raises(ValueError, match="needs a context: use ConditionalFlow"):
        Flow(2, transform)


def test_a_base_may_be_learned() -> None:
    story = trained(Flow(2, Coupling(Affine(), 1, (8,)), base=NormalMixture(2, 8)), Mixture().sample(4096))
    x = Mixture().sample(4096)
    with torch.no_grad():
        gap = Mixture().log_prob(x) - story.log_prob(x)
    assert gap.mean() < 0.05


def test_log_prob_of_the_data_as_given_behind_a_logit() -> None:
    """On [0, 1] the density integrates to the share of draws that stay there; none leaves it by more than 0.056."""
    x = torch.rand(2048, 1).square()
    story = trained(Flow(1, [Coupling(Spline(), 2), Logit(0.05)]), x, steps=300)
    inside = torch.arange(0.00005, 1, 0.0001)[:, None]
    with torch.no_grad():
        mass = story.log_prob(inside).double().exp().sum() * 0.0001
        gap = (-torch.log(2 * x.sqrt()) - story.log_prob(x)[:, None]).mean()
    draws = story.sample(20_000)
    stayed = ((draws >= 0) & (draws <= 1)).double().mean()
    assert 0.97 < mass < 0.9999
    assert_within(stayed, mass, (mass * (1 - mass) / 20_000) ** 0.5)
    furthest = 0.05 / (1 - 2 * 0.05)
    assert (draws > -furthest - 1e-6).all()
    assert (draws < 1 + furthest + 1e-6).all()
    assert gap < 0.06


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 4, 6)])
def test_images_by_default_are_taken_scale_by_scale(shape: tuple[int, ...]) -> None:
    """One Gaussian image is matched: correlations of neighbours are learned, and evaluation is exact."""
    story = Flow(shape, MultiScale(Affine(), 2, 2, width=16))
    size = math.prod(shape)
    factor = torch.eye(size) + 0.5 * torch.randn(size, size) / size**0.5
    truth = dist.MultivariateNormal(torch.ones(size), scale_tril=torch.linalg.cholesky(factor @ factor.T))
    x = truth.sample((1500,))
    independent = dist.Normal(x.mean(0), x.std(0)).to_event(1).log_prob(x).mean()
    trained(story, x.reshape(-1, *shape), steps=120, rate=5e-3)
    held_out = truth.sample((1500,))
    with torch.no_grad():
        found = story.log_prob(held_out.reshape(-1, *shape)).mean()
    assert independent < found < truth.log_prob(held_out).mean()
    assert story.sample(3).shape == (3, *shape)
    assert isinstance(Flow(shape).flow.transforms[0], MultiScale)
    assert isinstance(Flow((1, 5, 5)).flow.transforms[0], Coupling)


def test_many_rows_are_scored_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    story, x, y = Flow(2), torch.randn(3, 5, 2), torch.arange(5) % 2
    told = ConditionalFlow(2, classes=2)
    whole, labelled = story.log_prob(x), told.log_prob(x[0], y)
    assert whole.shape == (3, 5)
    monkeypatch.setattr("pyrogen.models.flow.MAX_ELEMENTS", 4)
    torch.testing.assert_close(story.log_prob(x), whole)
    torch.testing.assert_close(told.log_prob(x[0], y), labelled)


def test_log_prob_takes_one_label_for_all_rows_and_refuses_what_is_none() -> None:
    story, x = ConditionalFlow(2, classes=3), torch.randn(5, 2)
    for two in (2, torch.tensor(2)):
        torch.testing.assert_close(story.log_prob(x, two), story.log_prob(x, torch.full((5,), 2)))
    told = ConditionalFlow(2, condition=2)
    torch.testing.assert_close(told.log_prob(x, [1.0, 2.0]), told.log_prob(x, torch.tensor([1.0, 2.0]).expand(5, 2)))
    with pytest.raises(ValueError, match="5 of 5 labels 'y' are none of 0 to 2, such as 7"):
        story.log_prob(x, torch.full((5,), 7))
    with pytest.raises(ValueError, match="1 labels 'y' for 5 rows, expected one for each, or one for all"):
        story.log_prob(x, torch.tensor([1]))
    with pytest.raises(ValueError, match=r"ConditionalFlow takes a column 'x' of shape \(n, 2\), got \(5, 3\)"):
        story.log_prob(torch.randn(5, 3), 1)


def test_no_rows_have_no_density() -> None:
    assert Flow(2).log_prob(torch.zeros(0, 2)).shape == (0,)
    assert Flow((1, 4, 4)).log_prob(torch.zeros(3, 0, 1, 4, 4)).shape == (3, 0)
    assert ConditionalFlow(2, 3).log_prob(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)).shape == (0,)


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(TypeError, match=r"a flow needs transforms, such as Coupling\(\) or those of .*, got Linear"):
        Flow(2, torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"needs a base of event shape \(2,\), got \(3,\), which is transformed to"):
        Flow(2, Coupling(Affine()), base=StandardNormal(3))
    with pytest.raises(ValueError, match=r"needs a base of event shape \(2,\), got \(3,\), which is transformed to"):
        ConditionalFlow(2, 3, transforms=Coupling(Affine()), base=StandardNormal(3))
    with pytest.raises(ValueError, match="data: a flow needs a column 'x' of floating-point numbers, got int64"):
        fit(Flow(2), torch.arange(100).reshape(50, 2))
    with pytest.raises(ValueError, match=r"Flow takes a column 'x' of shape \(n, 2\), got \(5, 3\)"):
        fit(Flow(2), torch.randn(5, 3))
    with pytest.raises(ValueError, match=r"Logit is for data in \[0, 1\], but .x. has \d+ values outside \(first: 2\)"):
        fit(Flow(1, [Coupling(), Logit()]), torch.tensor([[0.5], [2.0]]))
    with pytest.raises(ValueError, match="pass classes="):
        ConditionalFlow(2)
    with pytest.raises(ValueError, match="asks for 'y'"):
        fit(ConditionalFlow(2, classes=3), {"x": torch.randn(5, 2)})
    with pytest.raises(ValueError, match="are none of 0 to 2, such as 7"):
        ConditionalFlow(2, classes=3).sample(5, y=7)
