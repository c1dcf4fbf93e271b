"""Diffusion: a random timestep is the full chain on average; with the optimal denoiser the bound is nearly tight."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from pyrogen import fit
from pyrogen.catalog import CATALOG, rebuild
from pyrogen.distributions import (
    Bernoulli,
    CosineSchedule,
    DiscretizedCategorical,
    DiscretizedLogistic,
    LinearBetaSchedule,
    LinearLogSNRSchedule,
    NoiseSchedule,
    PredictNoise,
    PredictV,
    PredictX,
)
from pyrogen.inference import ImportanceWeightedELBO, NoWeights, adam, held_out_elbo, log_likelihood, log_weights
from pyrogen.inference.compile import compiled_step
from pyrogen.inference.persistence.config import describe_story
from pyrogen.models import ConditionalDiffusion, Diffusion
from pyrogen.nn import UNet
from tests.helpers.statistics import assert_within

PREDICTIONS = (PredictNoise(), PredictV(), PredictX())
COVARIANCE = torch.tensor([[1.0, 0.6], [0.6, 1.0]], dtype=torch.float64)


class Optimal(nn.Module):
    """E[x | z_t] of x ~ N(0, COVARIANCE), in closed form."""

    def __init__(self, schedule: NoiseSchedule) -> None:
        super().__init__()
        self.schedule = schedule
        self.idle = nn.Parameter(torch.zeros(()))

    def forward(self, z: Tensor, time: Tensor, label: None = None) -> Tensor:
        snr = (self.schedule.high + time * (self.schedule.low - self.schedule.high)).exp()[..., None, None]
        alpha = (snr / (1 + snr)).sqrt()
        gain = alpha * COVARIANCE @ torch.linalg.inv(alpha**2 * COVARIANCE + (1 - alpha**2) * torch.eye(2).double())
        return (gain @ z[..., None])[..., 0]


def optimal(depth: int, schedule: NoiseSchedule) -> Diffusion:
    network = Optimal(schedule)
    return Diffusion(2, depth, schedule=schedule, prediction=PredictX(), network=network).double()


def expected_bound(depth: int, schedule: NoiseSchedule) -> float:
    """The bound's mean over x ~ N(0, COVARIANCE), by hand: the optimal error has eigenvalues c / (1 + SNR c)."""
    c, snr = torch.linalg.eigvalsh(COVARIANCE), schedule.log_snr(depth).double().exp()
    error = (c / (1 + snr[:, None] * c)).sum(-1)
    steps = 0.5 * (snr[:-1] - snr[1:]) * error[1:]
    last = snr[-1] / (1 + snr[-1])
    top = 0.5 * (last * c + (1 - last) - 1 - (1 - last).log()).sum()
    reading = -0.5 * 2 * (math.log(2 * math.pi / float(snr[0])) + 1)
    return float(reading - top - steps.sum())


def entropy() -> float:
    return float(MultivariateNormal(torch.zeros(2).double(), COVARIANCE).entropy())


@pytest.mark.parametrize("schedule", [CosineSchedule, LinearBetaSchedule, LinearLogSNRSchedule])
def test_bound_meets_the_exact_likelihood_of_gaussian_data_with_many_timesteps(schedule: type[NoiseSchedule]) -> None:
    """E log p(x) is minus the entropy, and the gap falls as 1 / T; the program's ELBO is the bound by hand.

    What of the gap does not fall is the first level's noise, which p(x | z_1) does not know to be small beside the
    data's own: it goes as sigma_1^2, and is nothing at a log-SNR of 9.
    """
    gaps = [-entropy() - expected_bound(depth, schedule(9.0, -9.0)) for depth in (1000, 4000)]
    assert gaps[0] / gaps[1] == pytest.approx(4, rel=0.15)
    at = schedule(5.0, -9.0)
    gaps = [-entropy() - expected_bound(depth, at) for depth in (10, 100, 1000)]
    assert gaps[0] > 5 * gaps[1] > 25 * gaps[2] > 0
    assert gaps[2] < 0.06
    truth = MultivariateNormal(torch.zeros(2).double(), COVARIANCE)
    for depth in (10, 100, 1000):
        x = truth.sample((20, 500))
        story = optimal(depth, at)
        # What is left to chance in x itself is taken off by its exact log-likelihood.
        runs = [
            held_out_elbo(story, rows, 1, seed=i)[0] - float(truth.log_prob(rows).mean()) for i, rows in enumerate(x)
        ]
        found = torch.tensor(runs, dtype=torch.float64)
        assert_within(
            found.mean(), expected_bound(depth, at) + entropy(), found.std() / math.sqrt(20), what=f"T={depth}"
        )


def stories(kind: str) -> tuple[Diffusion, Diffusion, dict[str, Tensor]]:
    """The full chain, one timestep a step with the same weights, and data."""
    torch.manual_seed(4)
    make: Callable[..., Diffusion]
    if kind == "vectors":
        data = {"x": torch.randn(60, 2).double() * torch.tensor([3.0, 0.5]) + 1}
        make = partial(Diffusion, 2, 9, hidden=(16,), schedule=LinearBetaSchedule(5, -5))
    elif kind == "binary":
        data = {"x": torch.bernoulli(torch.full((60, 1, 3, 4), 0.3)).double()}
        parts = {"likelihood": Bernoulli(), "hidden": (16,), "schedule": CosineSchedule(2.2, -5)}
        make = partial(Diffusion, (1, 3, 4), 9, **parts)
    else:
        data = {"x": torch.randint(5, (60, 1, 3, 4)).double() / 4, "y": torch.randint(3, (60,))}
        network = UNet((1, 3, 4), (4,), labels=3, heads=2, width=8) if kind == "unet" else None
        parts = {"likelihood": DiscretizedCategorical(5), "schedule": LinearLogSNRSchedule(5, -5), "label_dropout": 0.5}
        parts |= {"network": network, "hidden": (16,)}
        make = partial(ConditionalDiffusion, (1, 3, 4), 3, 4, **parts)
    full, one = make(timesteps_per_datum=None).double(), make(timesteps_per_datum=1).double()
    with torch.no_grad():
        for parameter in full.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    full.prepare(data)
    one.load_state_dict(full.state_dict())
    return full, one, data


@pytest.mark.parametrize("kind", ["vectors", "binary", "conditional"])
def test_the_elbo_of_one_timestep_a_step_has_the_full_chains_mean(kind: str) -> None:
    full, one, data = stories(kind)
    args = (*(column.repeat(4, *[1] * (column.dim() - 1)) for column in data.values()), 240)
    runs = {}
    for name, story, elbo, times in (
        ("chain", full, Trace_ELBO(), 20),
        ("closed form", full, TraceMeanField_ELBO(), 20),
        ("one level", one, Trace_ELBO(), 40),
        ("particles", one, Trace_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=2), 40),
    ):
        with story.predicting():
            found = torch.tensor([-elbo.loss(story.model, story.guide, *args) / 240 for _ in range(times)])
        runs[name] = found.mean(), found.std() / math.sqrt(times)
    for name in ("closed form", "one level", "particles"):
        error = math.hypot(float(runs[name][1]), float(runs["chain"][1]))
        assert_within(runs[name][0], runs["chain"][0], error, what=name)


def test_several_timesteps_have_the_same_mean_and_less_variance() -> None:
    _, one, data = stories("vectors")
    several = Diffusion(2, 9, hidden=(16,), schedule=LinearBetaSchedule(5, -5), timesteps_per_datum=7).double()
    several.load_state_dict(one.state_dict())
    (a, error), (b, less) = (held_out_elbo(story, data["x"], 100) for story in (one, several))
    assert_within(b, a, math.hypot(error, less))
    assert less < 0.6 * error


def test_every_timestep_is_drawn_equally_often_for_every_datum() -> None:
    story, x = Diffusion(1, 7, hidden=(4,)), torch.zeros(4, 1)
    counts = torch.zeros(4, 8)
    for _ in range(600):
        t = _timesteps(story, x)
        counts[torch.arange(4), t] += 1
        assert len(set(t.tolist())) == 4  # a batch has different timesteps
    assert counts[:, :2].sum() == 0
    assert_within(counts[:, 2:], 100, math.sqrt(600 * 5 / 36))


def _timesteps(story: Diffusion, x: Tensor) -> Tensor:
    """The timesteps that one run of the guide drew, (n,), by its noise."""
    trace = poutine.trace(story.guide).get_trace(x, len(x))
    scale = trace.nodes["z"]["fn"].base_dist.scale.reshape(len(x))
    return (scale[:, None] - story.noising.sigmas).abs().argmin(1) + 1


def test_full_chains_guide_is_the_one_that_adds_noise() -> None:
    """q(z_T | x) prod q(z_{t-1} | z_t, x) = q(z_1 | x) prod q(z_t | z_{t-1}), each step adding noise to the last."""
    full, _, data = stories("vectors")
    x, noising = data["x"], full.noising
    trace = poutine.trace(full.guide).get_trace(x, 60)
    z = {0: full._standardized(x), **{t: trace.nodes[f"z{t}"]["value"] for t in range(1, 10)}}
    alphas = torch.cat([torch.ones(1).double(), noising.alphas])
    sigmas = torch.cat([torch.zeros(1).double(), noising.sigmas])
    forward = torch.zeros(60).double()
    for t in range(1, 10):
        ratio = alphas[t] / alphas[t - 1]
        scale = (sigmas[t] ** 2 - ratio**2 * sigmas[t - 1] ** 2).sqrt()
        forward += torch.distributions.Normal(ratio * z[t - 1], scale).log_prob(z[t]).sum(-1)
    trace.compute_log_prob()
    backward = sum(trace.nodes[f"z{t}"]["log_prob"] for t in range(1, 10))
    torch.testing.assert_close(backward, forward, rtol=1e-4, atol=1e-4)


def test_the_full_chain_has_importance_weights_and_single_timesteps_have_none() -> None:
    full, one, data = stories("vectors")
    found = log_likelihood(full, data["x"], 20, seed=0)
    assert found.kind == "importance-weighted"
    assert found.mean()[0] > found.mean_elbo()[0]
    for act in (
        lambda: log_weights(one, data["x"], 3),
        lambda: log_likelihood(one, data["x"], 3),
        lambda: fit(one, data["x"], steps=1, objective=ImportanceWeightedELBO(3), precision="float64"),
    ):
        with pytest.raises(NoWeights, match=r"^plate 'timesteps' draws 1 of its 8 members .* Use the held-out ELBO$"):
            act()


@pytest.mark.parametrize(
    "schedule", [CosineSchedule(7.0, -8.0), LinearBetaSchedule(9.2, -10.0), LinearLogSNRSchedule()]
)
def test_schedules(schedule: NoiseSchedule) -> None:
    story = Diffusion(1, 1000, schedule=schedule, hidden=(4,)).double()
    table, noising = schedule.log_snr(1000).double(), story.noising
    assert (table.diff() < 0).all()
    assert (float(table[0]), float(table[-1])) == pytest.approx((schedule.high, schedule.low), abs=1e-4)
    torch.testing.assert_close(noising.alphas**2 + noising.sigmas**2, torch.ones(1000).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(noising.log_snr.exp(), noising.alphas**2 / noising.sigmas**2, rtol=1e-4, atol=0)
    assert (float(noising.times[0]), float(noising.times[-1])) == pytest.approx((0, 1), abs=1e-5)
    if isinstance(schedule, LinearBetaSchedule):  # DDPM's own: 1e-4 to 0.02 over 1,000 levels
        beta = torch.linspace(1e-4, 0.02, 1000).double()
        theirs = (1 - beta).log().cumsum(0)
        torch.testing.assert_close((noising.alphas**2).log()[100:], theirs[100:], rtol=0.03, atol=0)
    elif isinstance(schedule, LinearLogSNRSchedule):
        torch.testing.assert_close(table.diff(), torch.full((999,), -20 / 999).double(), rtol=1e-3, atol=0)
    else:  # the angle rises evenly
        angle = torch.atan(noising.sigmas / noising.alphas)
        torch.testing.assert_close(angle.diff(), angle.diff().mean().expand(999), rtol=1e-2, atol=1e-6)


def test_predictions_agree_on_x() -> None:
    alpha, sigma, x, noise = torch.tensor(0.6), torch.tensor(0.8), torch.randn(5), torch.randn(5)
    z = alpha * x + sigma * noise
    outputs = {PredictNoise(): noise, PredictV(): alpha * noise - sigma * x, PredictX(): x}
    for prediction in PREDICTIONS:
        torch.testing.assert_close(prediction.outputs(x, z, alpha, sigma), outputs[prediction])
        torch.testing.assert_close(prediction.x(outputs[prediction], z, alpha, sigma), x)


def test_the_simple_loss_weights_noise_equally_in_training_alone() -> None:
    """In training |e - e(z_t)|^2 / 2, which the zero function makes D / 2 on average; evaluated, the bound."""
    zero = UNet((1, 4, 4), (4,), heads=0, width=4)
    make = partial(Diffusion, (1, 4, 4), 50, prediction=PredictNoise(), network=zero)
    simple, bound, x = make(simple_loss=True).double(), make().double(), torch.randn(50, 1, 4, 4).double()
    runs = []
    for _ in range(40):
        guide = poutine.trace(simple.guide).get_trace(x, 50)
        model = poutine.trace(poutine.replay(simple.model, trace=guide)).get_trace(x, 50)
        model.compute_log_prob()
        runs.append(-model.nodes["divergences"]["log_prob_sum"].detach() / 50)
    assert_within(torch.stack(runs).mean(), 8.0, torch.stack(runs).std() / math.sqrt(40))
    assert held_out_elbo(simple, x, 2) == held_out_elbo(bound, x, 2)


def test_ddim_is_a_function_of_where_it_starts() -> None:
    _, one, _ = stories("vectors")
    z = torch.randn(5, 2).double()
    ends = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        ends.append(
            [list(one.reverse_trajectory(z, steps, eta))[-1][1] for steps, eta in ((None, 0.0), (4, 0.0), (4, 1.0))]
        )
    assert torch.equal(ends[0][0], ends[1][0])
    assert torch.equal(ends[0][1], ends[1][1])
    assert not torch.equal(ends[0][2], ends[1][2])
    assert [t for t, _ in one.reverse_trajectory(z, 4)] == [9, 7, 5, 3, 1]


@pytest.mark.parametrize(("steps", "eta"), [(None, 1.0), (None, 0.0), (50, 0.0), (50, 0.5)])
def test_samplers_draw_from_gaussian_data_with_the_optimal_denoiser(steps: int | None, eta: float) -> None:
    story = optimal(100, CosineSchedule(9.0, -9.0))
    x = story.draw(5000, steps, eta)
    error = ((1 + torch.tensor([[1.0, 0.36], [0.36, 1.0]])) / 5000).sqrt()
    assert_within(x.T @ x / 5000, COVARIANCE, error + 0.004)  # of timesteps that are left out


def test_draw_with_every_timestep_is_sample() -> None:
    full, one, _ = stories("vectors")
    draws = []
    for act in (lambda: one.sample(6), lambda: one.draw(6), lambda: full.draw(6)):
        torch.manual_seed(3)
        draws.append(act())
    assert torch.equal(draws[0], draws[1])
    assert torch.equal(draws[0], draws[2])
    assert full.sample(6).shape == (6, 2)


def test_samples_are_what_the_likelihood_gives() -> None:
    for kind, levels in (("binary", 2), ("conditional", 5)):
        for story in stories(kind)[:2]:
            given = {"y": 1} if kind == "conditional" else {}
            x = story.sample(4, **given) * (levels - 1)
            assert x.shape == (4, 1, 3, 4)
            torch.testing.assert_close(x, x.round())


def test_the_reconstruction_distribution_is_bayes_rule_with_a_flat_prior() -> None:
    _, story, _ = stories("conditional")
    z = torch.randn(7, 1, 3, 4).double()
    grid = torch.linspace(0, 1, 5).double()
    scaled = (grid - story.shift) / story.scale
    near = torch.distributions.Normal(story.noising.alpha(1) * scaled, story.noising.sigma(1)).log_prob(z[..., None])
    for level, x in enumerate(grid):
        expected = near.log_softmax(-1)[..., level].sum((1, 2, 3))
        torch.testing.assert_close(story.reconstruction(z).log_prob(x.expand(7, 1, 3, 4)), expected)


def test_guidance_goes_beyond_the_label_and_none_is_the_conditional() -> None:
    _, story, _ = stories("conditional")
    z, ends = torch.randn(3, 1, 3, 4).double(), {}
    with torch.no_grad():
        story.network.embedding.label.weight.mul_(20)
        for y, w in ((0, 0.0), (1, 0.0), (0, 3.0)):
            label = story.label(torch.tensor([y] * 3))
            visited = list(story.reverse_trajectory(z, 3, 0.0, label, w))
            guided = (1 + w) * story.denoise(z, 4, label) - w * story.denoise(z, 4)
            torch.testing.assert_close(visited[1][1], story.noising.reverse_moments(z, 4, 3, guided, 0.0)[0])
            ends[y, w] = visited[-1][1]
    assert not torch.allclose(ends[0, 0.0], ends[1, 0.0], atol=0.01)
    assert not torch.allclose(ends[0, 0.0], ends[0, 3.0], atol=0.01)
    assert story.draw(4, y=torch.tensor([0, 1, 2, 0]), steps=3, eta=0, guidance=1.0).shape == (4, 1, 3, 4)


def test_labels_are_dropped_in_training_alone() -> None:
    _, story, data = stories("conditional")
    seen: list[Tensor] = []
    story.network.register_forward_hook(lambda _, args, __: seen.append(args[2].detach()))
    story.model(*data.values(), 60)
    story.eval().model(*data.values(), 60)
    shares = [label.sum(-1).mean() for label in seen]
    assert_within(shares[0], 0.5, math.sqrt(0.25 / 60))
    assert shares[1] == 1


@pytest.mark.parametrize("kind", ["vectors", "unet"])
def test_single_timesteps_learn_resume_exactly_and_are_rebuilt(kind: str, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(compiled_step, "COMPILER", lambda graph, inputs, *_: torch.compile(graph, backend="aot_eager"))
    histories = {}
    for out, stages in (("whole", (2,)), ("parts", (1, 2))):
        for epochs in stages:
            _, one, data = stories(kind)
            rows = {key: c.float() if c.is_floating_point() else c for key, c in data.items()}
            options = {"out": tmp_path / out, "resume": epochs != stages[0], "ema": 0.9}
            run = fit(one.float(), rows, validation=rows, epochs=epochs, batch_size=32, **options)
        histories[out] = [{**record, "seconds": 0} for record in run.history]
    assert histories["whole"] == histories["parts"]
    if kind == "vectors":
        eager, made = (
            fit(stories(kind)[1].float(), rows, epochs=3, batch_size=32, compile=compile) for compile in (False, True)
        )
        assert made.mode == "compiled"
        assert [r["train_elbo"] for r in made.history] == pytest.approx([r["train_elbo"] for r in eager.history])
    again = rebuild(describe_story(run.story), tmp_path)
    again.load_state_dict(run.story.state_dict())
    assert held_out_elbo(again, rows, 1) == held_out_elbo(run.story, rows, 1)


def test_learning_raises_the_bound() -> None:
    x = torch.randn(512, 1).sign() * 2 + 0.2 * torch.randn(512, 2)
    story = Diffusion(2, 40, hidden=(32, 32), schedule=LinearLogSNRSchedule(5, -6), timesteps_per_datum=4)
    story.prepare({"x": x})
    before = held_out_elbo(story, x, 10)[0]
    run = fit(story, x, epochs=50, optimizer=adam(1e-2), compile=False)
    after, error = held_out_elbo(run, x, 10)
    assert after > before + 1.5 + 4 * error
    assert (run.story.draw(500, 20, 0.0).mean(1).abs() - 2).abs().mean() < 0.4


@pytest.mark.parametrize("timesteps_per_datum", [None, 1])
def test_numbers_of_no_dimension(timesteps_per_datum: int | None) -> None:
    x = torch.randn(40) + 3
    run = fit(Diffusion((), 6, hidden=(8,), timesteps_per_datum=timesteps_per_datum), x, steps=2)
    assert run.story.sample(5).shape == run.story.draw(5, 2, 0.0).shape == (5,)
    assert math.isfinite(held_out_elbo(run, x, 2)[0])


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_the_first_timestep_distinguishes_every_grey_level(levels: int) -> None:
    likelihood = Bernoulli() if levels == 2 else DiscretizedCategorical(levels)
    x = torch.randint(levels, (2000, 12)).double() / (levels - 1)
    story = Diffusion(12, likelihood=likelihood, hidden=(4,)).double()
    story.prepare({"x": x})
    lost = -story.reconstruction(story._marginal(x, 1).sample()).log_prob(x).mean()
    assert 0 <= lost < 12 * 0.005


def test_takes_what_prepare_saw() -> None:
    story = Diffusion((2, 3, 3), 10, hidden=(4,))
    x = torch.randn(500, 2, 3, 3) * torch.tensor([2.0, 5.0]).reshape(2, 1, 1) + 1
    story.prepare({"x": x})
    assert story.scale.shape == (2, 1, 1)
    torch.testing.assert_close(story._standardized(x).std((0, 2, 3), correction=0), torch.ones(2))
    flat = Diffusion(2, 10, hidden=(4,))
    flat.prepare({"x": torch.tensor([[1.0, 3.0], [1.0, 5.0]])})
    assert flat.scale.tolist() == [1.0, 1.0]
    assert flat.shift.tolist() == [1.0, 4.0]


def test_refuses_what_does_not_fit() -> None:
    for arguments, said in (
        ({"num_timesteps": 2}, r"^num_timesteps is a whole number of at least 3, got num_timesteps=2$"),
        ({"num_timesteps": 3.5}, r"at least 3, got num_timesteps=3.5$"),
        (
            {"num_timesteps": 9, "timesteps_per_datum": 1.0},
            r"^timesteps_per_datum is a whole number .*got timesteps_per_datum=1.0$",
        ),
        (
            {"num_timesteps": 9, "timesteps_per_datum": 8},
            r"^timesteps_per_datum is a whole number from 1 to 7, or None .* all 9, got timesteps_per_datum=8$",
        ),
        (
            {"num_timesteps": 9, "timesteps_per_datum": None, "simple_loss": True},
            r"^simple_loss=True weights timesteps that are drawn: set timesteps_per_datum=1",
        ),
        (
            {"likelihood": DiscretizedLogistic(17)},
            r"^Diffusion needs one of likelihood=Bernoulli.*likelihood=None, got DiscretizedLogistic$",
        ),
    ):
        with pytest.raises(ValueError, match=said):
            Diffusion(2, **arguments)
    with pytest.raises(ValueError, match=r"^CosineSchedule needs finite log-SNRs .*high=-1.0 and low=2$"):
        CosineSchedule(high=-1.0, low=2)
    with pytest.raises(ValueError, match=r"^label_dropout is a probability below 1, got label_dropout=1$"):
        ConditionalDiffusion(2, 3, label_dropout=1)
    story = ConditionalDiffusion((1, 3, 4), 3, 9, likelihood=DiscretizedCategorical(5), hidden=(4,))
    with pytest.raises(ValueError, match=r"none of 0 to 2, such as 3"):
        story.check({"x": torch.zeros(2, 1, 3, 4), "y": torch.tensor([0, 3])})
    with pytest.raises(ValueError, match="2 labels 'y' for 4 rows"):
        story.draw(4, y=torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"^a diffusion of 9 timesteps takes steps from 1 to 8, got steps=9$"):
        story.draw(4, y=0, steps=9)
    for ways, said in (
        ({"steps": 2.5}, r"takes steps from 1 to 8, got steps=2.5$"),
        ({"eta": 1.5}, r"^eta is a share of the noise, from 0 \(DDIM\) to 1 \(ancestral\), got eta=1.5$"),
        ({"eta": math.nan}, r"got eta=nan$"),
        ({"eta": "none"}, r"got eta='none'$"),
        ({"guidance": -1}, r"^guidance is a number of at least 0, got guidance=-1$"),
    ):
        with pytest.raises(ValueError, match=said):
            story.draw(4, y=0, **ways)
    with pytest.raises(
        ValueError,
        match=r"^guidance=3 needs predictions without a label, .*label_dropout=0 has not learned: train with",
    ):
        ConditionalDiffusion(2, 3, 9, label_dropout=0, hidden=(4,)).draw(4, y=0, guidance=3)
    with pytest.raises(ValueError, match=r"the 5 grey levels"):
        story.check({"x": torch.full((2, 1, 3, 4), 0.3), "y": torch.tensor([0, 1])})
    with pytest.raises(ValueError, match=r"^ConditionalDiffusion takes .*got \(2, 12\)"):
        story.check({"x": torch.zeros(2, 12), "y": torch.tensor([0, 1])})


GIVEN = {"event_shape": (1, 8, 8), "classes": 10, "levels": 17, "total": 100}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"conditional": True, "prediction": "noise", "schedule": "cosine", "simple_loss": True},
        {"network": "dense", "hidden": [16], "likelihood": "gaussian", "prediction": "x", "schedule": "linear"},
        {"likelihood": "bernoulli", "timesteps_per_datum": None, "num_timesteps": 5, "channels": [8], "blocks": 2},
    ],
)
def test_every_setting_builds_a_story_that_a_run_folder_describes(settings, tmp_path) -> None:
    story = CATALOG["diffusion"].make(settings, **GIVEN)
    described = describe_story(story)
    assert "opaque" not in str(described)
    assert describe_story(rebuild(described, tmp_path)) == described


def test_settings_start_where_grey_levels_are_distinguished() -> None:
    firsts = {}
    for name in ("categorical", "bernoulli", "gaussian"):
        firsts[name] = CATALOG["diffusion"].make({"likelihood": name}, **GIVEN).noising.log_snr[0]
    assert float(firsts["categorical"]) == pytest.approx(2 * math.log(48), abs=1e-4)
    assert float(firsts["bernoulli"]) == pytest.approx(2 * math.log(3), abs=1e-4)
    assert float(firsts["gaussian"]) == pytest.approx(10, abs=1e-4)
    with pytest.raises(ValueError, match="conditional=true needs labels y"):
        CATALOG["diffusion"].make({"conditional": True}, **{**GIVEN, "classes": None})
    with pytest.raises(ValueError, match="likelihood=categorical needs the number of grey levels"):
        CATALOG["diffusion"].make({"likelihood": "categorical"}, **{**GIVEN, "levels": None})
