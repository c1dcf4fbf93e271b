"""A run that was stopped goes on to the last bit as one that was not."""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import nn

from pyrogen import Story, fit, load
from pyrogen.inference import ImportanceWeightedELBO, TemperedELBO, adam, cosine
from pyrogen.inference.persistence.checkpoint import load_tree
from pyrogen.inference.training.loop import Loop
from tests.helpers.checkpoints import assert_same_checkpoint
from tests.helpers.processes import running
from tests.helpers.stories import Topics, schools, schools_model


class Everything(Topics):
    """Dropout, batch normalization, and a parameter that the model makes itself."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Dropout(0.3), nn.Linear(10, 8), nn.BatchNorm1d(8), nn.SiLU(), nn.Linear(8, 6))

    def model(self, x, n):
        scale = pyro.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
        with pyro.plate("data", n):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), scale).to_event(1))
            return pyro.sample("x", dist.Poisson(self.decoder(z).exp()).to_event(1), obs=x)


def counts():
    return torch.poisson(torch.full((90, 10), 2.0), generator=torch.Generator().manual_seed(1))


def everything(out, seed, **options):
    torch.manual_seed(seed)
    story = Everything()
    chosen = {"epochs": 6, "batch_size": 25, "ema": 0.9, "schedule": cosine(24), "clip_norm": 5.0, "seed": seed}
    return fit(story, {"x": counts()}, validation={"x": counts()[:20]}, out=out, **{**chosen, **options})


def same(first, second):
    """Histories, weights and checkpoints of two run folders are equal, wall-clock seconds apart."""
    for one, other in zip(histories(first), histories(second), strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    for name in ("weights.safetensors", "resume.safetensors"):
        trees = [load_tree(Path(folder, name))[0] for folder in (first, second)]
        assert_same_checkpoint(*trees, name)


def histories(folder):
    return [json.loads(line) for line in Path(folder, "history.jsonl").read_text().splitlines()]


class Stop(Exception):
    pass


@pytest.fixture
def stopped_after(monkeypatch):
    """Stops a run after so many steps, having written a checkpoint after each."""

    def stop(steps, run):
        checkpoint, taken = Loop.after_step, []

        def after_each(loop):
            loop.save()
            taken.append(loop.step)
            if len(taken) == steps:
                raise Stop

        with monkeypatch.context() as patch:
            patch.setattr(Loop, "after_step", after_each)
            with pytest.raises(Stop):
                run()
        assert Loop.after_step is checkpoint

    return stop


@pytest.mark.parametrize("steps", [1, 3, 4, 7, 16, 23])
def test_from_a_checkpoint_after_any_step(steps, tmp_path, seed, stopped_after):
    everything(tmp_path / "whole", seed)
    stopped_after(steps, lambda: everything(tmp_path / "cut", seed))
    everything(tmp_path / "cut", seed, resume=True)
    same(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize(
    "objective", [TemperedELBO(beta=2.0, warmup=3), ImportanceWeightedELBO(4)], ids=["beta", "iwae"]
)
def test_with_other_objectives(objective, tmp_path, seed, stopped_after):
    everything(tmp_path / "whole", seed, objective=objective)
    stopped_after(9, lambda: everything(tmp_path / "cut", seed, objective=objective))
    everything(tmp_path / "cut", seed, objective=objective, resume=True)
    same(tmp_path / "whole", tmp_path / "cut")


def test_a_pair_with_an_autoguide(tmp_path, seed, stopped_after):
    def run(out, resume=False):
        pair = (schools_model, AutoNormal(schools_model))
        return fit(pair, schools(), steps=60, optimizer=adam(0.02), seed=seed, out=tmp_path / out, resume=resume)

    run("whole")
    with_epochs = tmp_path / "cut"
    stopped_after(1, lambda: run("cut"))
    assert with_epochs.exists()
    run("cut", resume=True)
    same(tmp_path / "whole", tmp_path / "cut")


def test_more_epochs_go_on_where_fewer_ended(tmp_path, seed):
    everything(tmp_path / "whole", seed)
    everything(tmp_path / "more", seed, epochs=2)
    everything(tmp_path / "more", seed, epochs=6, resume=True)
    same(tmp_path / "whole", tmp_path / "more")


def test_a_finished_run_has_nothing_to_do(tmp_path, seed):
    first = everything(tmp_path / "run", seed)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    again = everything(tmp_path / "run", seed, resume=True)
    assert again.history == first.history
    assert again.best_epoch == first.best_epoch
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}


def test_resume_where_there_is_nothing_starts_afresh(tmp_path, seed):
    everything(tmp_path / "whole", seed)
    everything(tmp_path / "new", seed, resume=True)
    same(tmp_path / "whole", tmp_path / "new")
    # A run killed before its first checkpoint leaves a folder without one.
    for name in ("resume.safetensors", "weights.safetensors"):
        (tmp_path / "new" / name).unlink()
    everything(tmp_path / "new", seed, resume=True)
    same(tmp_path / "whole", tmp_path / "new")


def test_the_checkpoint_alone_suffices(tmp_path, seed):
    everything(tmp_path / "run", seed)
    names = ("config.json", "weights.safetensors", "history.jsonl")
    before = {name: (tmp_path / "run" / name).read_bytes() for name in names}
    for name in names:
        (tmp_path / "run" / name).unlink()
    everything(tmp_path / "run", seed, resume=True)
    assert before == {name: (tmp_path / "run" / name).read_bytes() for name in names}


def test_a_used_folder_is_not_touched_without_resume(tmp_path, seed):
    everything(tmp_path / "run", seed)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(ValueError, match=r"already holds a run: pass resume=True"):
        everything(tmp_path / "run", seed)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"batch_size": 30}, r"options.batch_size was 25 and is now 30"),
        ({"ema": 0.5}, r"options.ema"),
        ({"schedule": cosine(30)}, r"options.schedule"),
        ({"optimizer": adam(0.1)}, r"options.optimizer"),
        ({"objective": TemperedELBO(beta=3.0)}, r"options.objective"),
        ({"precision": "bfloat16"}, r"options.precision"),
    ],
)
def test_changed_options_are_refused(changed, named, tmp_path, seed):
    everything(tmp_path / "run", seed, epochs=2)
    with pytest.raises(ValueError, match=named):
        everything(tmp_path / "run", seed, epochs=6, resume=True, **changed)


def test_other_data_are_refused(tmp_path, seed):
    run = {"epochs": 1, "out": tmp_path / "run", "resume": True}
    fit(Topics(), counts(), **run)
    with pytest.raises(ValueError, match=r"data.training.0.crc32"):
        fit(Topics(), counts() + 1, **{**run, "epochs": 2})
    with pytest.raises(ValueError, match=r"story.class"):
        fit(Everything(), counts(), **{**run, "epochs": 2})


KILLED = """
import sys, torch
sys.path.insert(0, {root!r})
torch.set_num_threads(1)
from tests.inference.training import test_resume
from pyrogen.inference.training import loop
from pyrogen.inference.training.loop import Loop
loop.SECONDS_BETWEEN_CHECKPOINTS, loop.SECONDS_BEFORE_CHECKPOINT_WITHIN_EPOCH = 0.05, 0.03
after_step = Loop.after_step
def first(self):
    Loop.after_step = after_step
    print("training", flush=True)
    after_step(self)
Loop.after_step = first
test_resume.everything({out!r}, 0, epochs={epochs}, resume=True)
"""


def start(out):
    root = str(Path(__file__).parents[3])
    code = KILLED.format(root=root, out=str(out), epochs=EPOCHS)
    env = {**os.environ, "PYTHONWARNINGS": "ignore"}
    return running([sys.executable, "-c", code], env=env)


def test_killed_at_random_moments(tmp_path, seed):
    """SIGKILL at random moments of one run, again and again: it ends as the run that was never killed."""
    finish(start(tmp_path / "whole"))
    moments, reached = random.Random(seed), []
    for _ in range(KILLS):
        with start(tmp_path / "killed") as process:
            assert process.stdout.readline() == b"training\n"
            time.sleep(moments.uniform(0.0, 0.5))
            process.send_signal(signal.SIGKILL)
            process.communicate()
        assert process.returncode == -signal.SIGKILL
        checkpoint = tmp_path / "killed" / "resume.safetensors"
        reached.append(load_tree(checkpoint)[0]["step"] if checkpoint.exists() else 0)
    assert reached == sorted(reached)
    assert 0 < reached[-1] < 4 * EPOCHS
    finish(start(tmp_path / "killed"))
    same(tmp_path / "whole", tmp_path / "killed")


KILLS, EPOCHS = 3, 1000
"""In the default suite, where a start costs seconds; `pytest -m slow` kills 20 times."""


@pytest.mark.slow
def test_killed_at_twenty_random_moments(tmp_path, seed, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "KILLS", 20)
    monkeypatch.setattr(sys.modules[__name__], "EPOCHS", 6000)
    test_killed_at_random_moments(tmp_path, seed)


def finish(started):
    with started as process:
        _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()


def test_loaded_weights_are_the_selected_ones(tmp_path, seed):
    run = everything(tmp_path / "run", seed)
    loaded = load(tmp_path / "run", into=Everything())
    assert loaded.history == run.history
    assert loaded.best_epoch == run.best_epoch
    weights = {**run.story.trainable(), **run.story.saved_buffers()}
    for name, tensor in {**loaded.story.trainable(), **loaded.story.saved_buffers()}.items():
        assert torch.equal(tensor, weights[name]), name
    assert isinstance(loaded.story, Story)


def test_more_steps_go_on_where_fewer_ended(tmp_path, seed):
    """Also where the first limit cut an epoch in two, or fell on its end."""
    for first in (6, 8, 9):
        whole, parts = tmp_path / f"whole{first}", tmp_path / f"parts{first}"
        everything(whole, seed, epochs=None, steps=14, objective=TemperedELBO(warmup=3))
        everything(parts, seed, epochs=None, steps=first, objective=TemperedELBO(warmup=3))
        everything(parts, seed, epochs=None, steps=14, objective=TemperedELBO(warmup=3), resume=True)
        same(whole, parts)


def test_a_saved_story_without_a_checkpoint_is_not_overwritten(tmp_path, seed):
    run = everything(tmp_path / "run", seed)
    run.save(tmp_path / "saved")
    before = {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()}
    with pytest.raises(ValueError, match="holds weights and no checkpoint to continue from"):
        everything(tmp_path / "saved", seed, resume=True)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()}


def test_other_validation_data_are_refused(tmp_path, seed):
    run = {"epochs": 1, "out": tmp_path / "run"}
    fit(Topics(), counts(), validation=counts()[:20], **run)
    with pytest.raises(ValueError, match=r"data.validation"):
        fit(Topics(), counts(), **{**run, "epochs": 2, "resume": True})


def test_callbacks_that_draw_do_not_change_the_run(tmp_path, seed):
    quiet = everything(tmp_path / "quiet", seed)
    drawing = everything(tmp_path / "drawing", seed, callbacks=[lambda run, _: run.story.sample(3)])
    for one, other in zip(quiet.history, drawing.history, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


def test_a_refused_run_leaves_no_folder(tmp_path):
    with pytest.raises(ValueError, match="cannot take these columns"):
        fit(Topics(), torch.ones(5, 7), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
