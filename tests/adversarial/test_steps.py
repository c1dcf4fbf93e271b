"""Alternating updates: which network changes when, what is recorded, and exact resume."""

import math

import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import nn

from pyrogen import fit, load
from pyrogen.adversarial import GAN, VAEGAN, ConditionalGAN, Hinge, NonSaturating, Wasserstein
from pyrogen.inference import adam, cosine
from pyrogen.inference.persistence.checkpoint import load_tree
from pyrogen.inference.training import loop
from pyrogen.models import VAE
from pyrogen.nn import Critic
from tests.helpers.checkpoints import assert_same_checkpoint


def normalized(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.SiLU(), nn.Linear(8, outputs))


class Seer(Critic):
    """A critic with running statistics and spectral normalization."""

    def __init__(self, labels=0):
        super().__init__(2, (8,), labels=labels, spectral=True)
        self.layers.append(nn.BatchNorm1d(8))


STORIES = {
    "gan": lambda: GAN(2, 3, generator=normalized(3, 2), critic=Seer()),
    "conditional_gan": lambda: ConditionalGAN(2, 3, classes=2, generator=normalized(5, 2), critic=Seer(labels=2)),
    "vae_gan": lambda: VAEGAN(2, 3, generator=normalized(3, 2), encoder=normalized(2, 6), critic=Seer()),
}


def data(n=40):
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(1))
    return {"x": x, "y": (x[:, 0] > 0).long()}


def train(story, **options):
    return fit(story, data(), **{"steps": 4, "batch_size": 16, "progress": False, **options})


def everything(story):
    """Parameters and buffers by name, as they are."""
    return {name: tensor.clone() for name, tensor in story.state_dict().items()}


def changed(before, story):
    return {name for name, tensor in story.state_dict().items() if not torch.equal(tensor, before[name])}


class Turns:
    """Adam for both players, which notes after each step whose it was and what had changed since the one before."""

    def __init__(self, story):
        self.story, self.before, self.taken = story, {}, []

    def __call__(self, named):
        parameters, self.before = dict(named), everything(self.story)
        optimizer = torch.optim.Adam(parameters.items(), lr=1e-3)
        who = "critic" if all(name.startswith("critic.") for name in parameters) else "generator"
        optimizer.register_step_post_hook(lambda *_: self.note(who))
        return optimizer

    def note(self, who):
        self.taken.append((who, changed(self.before, self.story)))
        self.before = everything(self.story)


@pytest.mark.parametrize("game", [NonSaturating(), Wasserstein(critic_steps=1)], ids=lambda game: type(game).__name__)
@pytest.mark.parametrize("name", STORIES)
def test_an_update_changes_one_network_alone_to_the_bit(name, game):
    """Parameters, running statistics of batch normalization, vectors of spectral normalization."""
    story = STORIES[name]()
    turns = Turns(story)
    train(story, objective=game, optimizer=turns)
    assert [who for who, _ in turns.taken] == ["critic", "generator"] * 4
    parameters = {name for name, _ in story.named_parameters()}
    for who, moved in turns.taken:
        assert {name.startswith("critic.") for name in moved} == {who == "critic"}
        assert moved & parameters
        assert any(name.endswith("running_mean") for name in moved)
    assert any(name.endswith("_u") for _, moved in turns.taken for name in moved)


def test_a_frozen_player_stays_and_takes_no_gradient():
    story = GAN(2, 3, hidden=(8,))
    gradients, turns, before = [], Turns(story), everything(story)
    for parameter in story.critic.parameters():
        parameter.register_hook(gradients.append)
    train(story, freeze="critic", optimizer=turns)
    assert not gradients
    assert [who for who, _ in turns.taken] == ["generator"] * 4
    assert all(moved for _, moved in turns.taken)
    assert not any(name.startswith("critic.") for name in changed(before, story))


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_so_many_steps_of_the_critic_for_one_of_the_generators(steps):
    story = GAN(2, 3, hidden=(8,))
    turns = Turns(story)
    train(story, steps=7, objective=Hinge(critic_steps=steps), optimizer=turns)
    cycle = ["critic", "generator", *["critic"] * (steps - 1)]
    expected = [who for _ in range(7) for who in cycle]
    assert [who for who, _ in turns.taken] == expected[: 7 + -(-7 // steps)]


def test_a_schedule_counts_the_steps_of_the_run_whoever_moves():
    rates = []
    train(
        GAN(2, 3, hidden=(8,)),
        steps=9,
        objective=Hinge(critic_steps=3),
        optimizer=adam(0.1),
        schedule=cosine(18),
        callbacks=[lambda _, record: rates.append(record["lr"])],
    )
    assert rates == pytest.approx([0.1 * 0.5 * (1 + math.cos(math.pi * step / 18)) for step in (3, 6, 9)])


class Point(nn.Module):
    """A generator of one place, whatever z."""

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.tensor([1.0]))

    def forward(self, z):
        return self.place.expand(*z.shape[:-1], 1)


class Slope(nn.Module):
    """A critic that is a line through 0."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([1.0]))

    def forward(self, x):
        return (x * self.slope).sum(-1)


@pytest.mark.parametrize(("r1", "expected"), [(0.0, 0.485), (1.0, 0.0)])
def test_the_game_of_two_points_reaches_its_end_by_r1(r1, expected):
    """Data all at 0 (Mescheder 2018): a place p and a slope s follow p' = s f(-ps), s' = -p f(ps) - r1 s, f logistic.

    About 0 both eigenvalues are -1/2 at r1 = 1: 30 units of time leave e^-15. At r1 = 0 they are +-i/2, and the radius
    falls by what is left of f alone: averaged over a round, (r^2)' = -r^4 / 8, so that r^-2 rises from 1/2 by 30/8.
    """
    story = GAN(1, 1, generator=Point(), critic=Slope())
    options = {"optimizer": lambda named: torch.optim.SGD([p for _, p in named], lr=0.1), "ema": 1e-9}
    fit(story, torch.zeros(8, 1), steps=300, objective=NonSaturating(r1=r1), progress=False, **options)
    radius = float(torch.cat([story.generator.place, story.critic.slope]).detach().norm())
    assert radius == pytest.approx(expected, rel=0.1, abs=1e-3)


def test_averaged_weights_of_the_generator_alone_are_kept():
    live = {}

    def look(fit, record):
        live.update(everything(fit.story))

    averaged = train(GAN(2, 3, hidden=(8,)), steps=3, batch_size=40, callbacks=[look]).story
    assert not changed(live, averaged)  # callbacks and figures see what is kept
    torch.manual_seed(0)
    one = train(GAN(2, 3, hidden=(8,)), steps=30, ema=1e-9).story
    torch.manual_seed(0)
    other = train(GAN(2, 3, hidden=(8,)), steps=30).story
    moved = changed(everything(one), other)
    assert moved
    assert all(name.startswith("generator.") for name in moved)


def test_history_holds_metrics_of_both_networks():
    record = train(GAN(2, 3, hidden=(8,)), validation=data()).history[-1]
    means = {"critic_loss", "critic_gradient", "critic_accuracy", "generator_loss", "generator_gradient"}
    assert set(record) == {"epoch", "step", "seconds", "lr", "diversity", "validation_accuracy"} | means
    assert 0 <= record["critic_accuracy"] <= 1
    assert record["critic_gradient"] > 0


def test_the_elbo_of_a_vae_gan_is_told_and_chooses_no_weights():
    run = train(VAEGAN(2, 3, hidden=(8,)), validation=data(), steps=6)
    assert {"train_elbo", "validation_elbo"} <= set(run.history[-1])
    assert run.best_epoch is None


@pytest.mark.parametrize("name", STORIES)
def test_a_resumed_run_goes_on_to_the_bit(name, tmp_path):
    options = {
        "batch_size": 16,
        "objective": Hinge(critic_steps=2, r1=0.1),
        "validation": data(),
        "schedule": cosine(40),
    }
    for out, stages in (("whole", (11,)), ("parts", (4, 8, 11))):  # an epoch takes 3
        for steps in stages:
            torch.manual_seed(3)
            resume = steps != stages[0]
            train(STORIES[name](), steps=steps, out=tmp_path / out, resume=resume, **options)
    whole, parts = (load_tree(tmp_path / out / "resume.safetensors")[0] for out in ("whole", "parts"))
    assert_same_checkpoint(whole, parts)


class Diverging(NonSaturating):
    """Not finite from the generator's seventh step on."""

    def generator(self, fake):
        calls.append(fake)
        return super().generator(fake) * (float("nan") if len(calls) >= 7 else 1.0)


calls: list[torch.Tensor] = []


def test_a_run_that_diverges_stops_with_the_last_good_checkpoint_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    calls.clear()
    story = GAN(2, 3, hidden=(8,))
    with pytest.raises(FloatingPointError, match="GAN: the generator's loss is nan at step 7: lower the learning rate"):
        train(story, steps=30, out=tmp_path / "run", objective=Diverging())
    kept, state = load(tmp_path / "run").story, load_tree(tmp_path / "run" / "resume.safetensors")[0]
    assert state["step"] == 6
    assert all(torch.isfinite(tensor).all() for tensor in kept.state_dict().values())
    assert all(torch.isfinite(tensor).all() for tensor in story.state_dict().values())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"objective": Trace_ELBO()}, "GAN has no svi: critic and generator minimize a loss each"),
        ({"compile": True}, "alternating updates of critic and generator are not compiled"),
        ({"patience": 2, "validation": data()}, "patience waits for a better validation ELBO"),
        ({"freeze": ("critic", "generator")}, "leaves no parameter to train"),
        ({"freeze": "criticc"}, "did you mean 'critic'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        train(GAN(2, 3, hidden=(8,)), **options)


def test_a_game_is_refused_for_a_story_that_trains_by_svi():
    x = torch.rand(20, 4).round()
    with pytest.raises(TypeError, match="VAE trains by SVI, and objective is a Hinge: pass a Pyro ELBO"):
        fit(VAE(4, 2, hidden=(8,)), x, objective=Hinge(), progress=False)


def test_a_parameter_without_a_gradient_is_refused():
    story = GAN(2, 3, hidden=(8,))
    story.critic.spare = nn.Parameter(torch.zeros(3))
    with pytest.raises(ValueError, match=r"'critic.spare' receives no gradient from the critic's loss"):
        train(story)


def test_other_precisions():
    for precision, dtype in (("float64", torch.float64), ("bfloat16", torch.float32)):
        story = train(GAN(2, 3, hidden=(8,)), precision=precision).story
        assert story.sample(2).dtype is dtype
