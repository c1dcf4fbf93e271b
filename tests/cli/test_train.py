"""`pyrogen train`: what it writes, what it prints, and how it resumes."""

import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

import pyrogen
from pyrogen import load
from tests.helpers.processes import running

ROOT = Path(pyrogen.__file__).parents[1]
SMALL = ("--set", "hidden=[16]", "--set", "latent=4")


def weights(folder):
    return load(folder).story.state_dict()


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_is_kept_and_summed_up(call, vae, tmp_path):
    out = tmp_path / "run"
    called = call("train", "vae", "--data", "digits", "--epochs", 2, "--out", out, *SMALL)
    assert (called.status, called.err) == (0, "")
    output = called.out.splitlines()
    assert output[0] == "vae on digits, static binarization (seed 0: our own draw), as the likelihood needs it"
    parameters = 64 * 16 + 16 + 16 * 8 + 8 + 4 * 16 + 16 + 16 * 64 + 64
    assert output[1] == f"trained VAE, {parameters:,} parameters, on 1,257 rows of digits"
    history = load(out).history
    best = max(record["validation_elbo"] for record in history)
    why = "a run of less than 60 steps does not earn back the time of tracing"
    assert f"2 epochs, 20 steps (eager: {why}; first after " in output[2]
    assert f"best validation ELBO {best:.2f} nats, at epoch 2" in output[2]
    assert re.fullmatch(
        r"active units \d of 4 \(variance of the posterior mean over 1,000 data above 0.01\).*", output[3]
    )
    assert output[4:] == [f"kept in {out}", f"next: pyrogen evaluate {out}"]


def test_the_config_describes_the_data(vae):
    config = json.loads((vae / "config.json").read_text())
    assert config["data"]["protocol"] == {
        "data": "digits",
        "binarize": "static",
        "dequantize": False,
        "levels": None,
        "seed": 0,
        "rows": {"train": 1257, "validation": 180, "test": 360},
        "source": "digits",
        "root": None,
        "label_frequencies": {"y": config["data"]["protocol"]["label_frequencies"]["y"]},
    }
    assert len(config["data"]["protocol"]["label_frequencies"]["y"]) == 10


def test_the_seed_determines_the_run_whatever_was_drawn_before(call, vae, tmp_path):
    torch.rand(7)
    for seed in (0, 1):
        call("train", "vae", "--data", "digits", "--epochs", 2, "--seed", seed, "--out", tmp_path / str(seed), *SMALL)
    assert same(weights(tmp_path / "0"), weights(vae))
    assert not same(weights(tmp_path / "1"), weights(vae))


def test_the_random_state_is_kept(call, tmp_path):
    state = torch.get_rng_state()
    call("train", "vae", "--data", "digits", "--steps", 1, "--out", tmp_path / "run", *SMALL)
    assert torch.equal(torch.get_rng_state(), state)


def test_resume(call, tmp_path):
    def train(out, *options):
        return call("train", "vae", "--data", "digits", "--out", tmp_path / out, *SMALL, *options)

    assert train("a", "--epochs", 2).status == 0
    files = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}

    def unchanged():
        return files == {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}

    used = train("a", "--epochs", 4)
    assert used.status == 1
    assert "already holds a run" in used.line
    assert unchanged()
    changed = train("a", "--epochs", 4, "--lr", 0.1, "--resume")
    assert changed.status == 1
    assert "lr was 0.001 and is now 0.1" in changed.line
    assert unchanged()
    finished = train("a", "--epochs", 2, "--resume")
    assert finished.status == 0
    assert f"nothing to do: {tmp_path / 'a'} is finished after 2 epochs" in finished.out
    assert unchanged()
    assert "4 epochs, 40 steps" in train("a", "--epochs", 4, "--resume").out
    assert train("b", "--epochs", 4, "--resume").status == 0
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_an_interrupt_prints_how_to_resume(call, tmp_path):
    out = tmp_path / "run"
    arguments = ["train", "vae", "--data", "digits", *SMALL, "--out", str(out)]
    command = [sys.executable, "-m", "pyrogen", *arguments, "--epochs", "5000"]
    with running(command, cwd=ROOT, text=True) as process:
        deadline = time.monotonic() + 120
        while not (out / "resume.safetensors").exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, output = process.communicate(timeout=60)
    assert process.returncode == 130
    assert output == f"pyrogen: interrupted; to resume: {' '.join(['pyrogen', *command[3:], '--resume'])}\n".replace(
        "hidden=[16]", "'hidden=[16]'"
    )
    taken = len((out / "history.jsonl").read_text().splitlines())
    assert call(*arguments, "--epochs", "1", "--resume").status == 0
    assert 1 <= len(load(out).history) <= taken


@pytest.mark.parametrize(
    ("name", "options", "mode", "preparation"),
    [
        ("vae", [], "static", "static binarization (seed 0: our own draw), as the likelihood needs it"),
        ("vae", ["--binarize", "dynamic"], "dynamic", "dynamic binarization (held-out data static, seed 0)"),
        ("vae", ["--binarize", "threshold"], "threshold", "threshold binarization"),
        (
            "vae",
            ["--set", "likelihood=gaussian"],
            None,
            "dequantized (held-out data seed 0), as the likelihood needs it",
        ),
        ("vae", ["--set", "likelihood=gaussian", "--binarize", "none"], "none", "not binarized"),
        ("ppca", [], None, "dequantized (held-out data seed 0), as the likelihood needs it"),
    ],
)
def test_the_preparation_is_what_the_likelihood_needs(call, tmp_path, name, options, mode, preparation):
    called = call("train", name, "--data", "digits", "--steps", 1, "--out", tmp_path / "run", *options)
    assert called.status == 0
    assert called.out.splitlines()[0] == f"{name} on digits, {preparation}"
    protocol = load(tmp_path / "run").config["data"]["protocol"]
    assert (protocol["binarize"], protocol["dequantize"]) == (mode, mode is None)
    if mode is None:
        assert "nats on the scale of grey levels, at epoch 1" in called.out


def test_options_reach_the_run(call, tmp_path):
    options = ["--batch-size", 400, "--lr", 0.01, "--clip-norm", 5, "--ema", 0.9, "--precision", "float64"]
    options += ["--patience", 3, "--objective", "beta=2,warmup=4", "--no-progress", "--device", "cpu"]
    out = tmp_path / "run"
    assert call("train", "vae", "--data", "digits", "--epochs", 1, "--out", out, *SMALL, *options).status == 0
    config = load(out).config
    options_kept = config["options"]
    assert (options_kept["batch_size"], options_kept["clip_norm"], options_kept["ema"], options_kept["patience"]) == (
        400,
        5,
        0.9,
        3,
    )
    assert (options_kept["precision"], options_kept["device"]) == ("float64", "cpu")
    assert options_kept["optimizer"]["with"]["lr"] == 0.01
    assert options_kept["objective"]["class"].endswith("TemperedELBO")
    assert options_kept["objective"]["with"]["beta"] == 2
    assert config["limit"] == {"epochs": 1, "steps": None}


def test_what_suits_the_story_is_the_default(call, tmp_path):
    out = tmp_path / "run"
    assert call("train", "ppca", "--data", "linear_gaussian", "--steps", 2, "--out", out).status == 0
    config = load(out).config
    assert config["limit"] == {"epochs": None, "steps": 2}
    assert config["options"]["optimizer"]["with"]["lr"] == 5e-3


def test_a_story_of_ones_own(call, tmp_path, own, bars):
    out = tmp_path / "run"
    options = ["--set", "spread=0.25", "--epochs", 1]
    called = call("train", f"{own}:Classes", "--data", bars, "--out", out, *options)
    assert called.status == 0
    assert f"next: pyrogen evaluate {out} --story {own}:Classes" in called.out
    assert "Classes on " in called.out
    assert "not binarized, as the likelihood needs it" in called.out
    config = json.loads((out / "config.json").read_text())
    assert config["story"]["arguments"] == {"event_shape": [1, 4, 4], "classes": 2, "spread": 0.25}
    assert config["data"]["protocol"]["source"] == str(bars)
    assert config["data"]["protocol"]["label_frequencies"]["y"][0] > 140
    refused = call("evaluate", out)
    assert refused.status == 1
    assert "--story path/to/file.py:Class" in refused.line


def test_an_autoguide(call, tmp_path, own):
    out = tmp_path / "run"
    assert call("train", f"{own}:Location", "--data", "linear_gaussian", "--epochs", 1, "--out", out).status == 0
    evaluated = call("evaluate", out, "--story", f"{own}:Location", "-k", 3)
    assert evaluated.status == 0


def test_a_file_may_hold_what_python_files_hold(call, tmp_path, own, bars):
    """Dataclasses with postponed annotations look their module up by name."""
    settings = "@dataclass\nclass Settings:\n    spread: float = 1.0\n"
    path = tmp_path / "with_settings.py"
    path.write_text(
        f"from __future__ import annotations\nfrom dataclasses import dataclass\n{own.read_text()}\n{settings}"
    )
    assert call("train", f"{path}:Classes", "--data", bars, "--steps", 1, "--out", tmp_path / "run").status == 0


def test_restarts_are_kept_resumed_and_compared(call, tmp_path, own):
    out = tmp_path / "run"
    given = ("train", f"{own}:Location", "--data", "linear_gaussian", "--epochs", 2, "--out", out)
    trained = call(*given, "--restarts", 2)
    assert trained.status == 0
    assert "2 starts, validation ELBO" in trained.out
    assert (out / "restart_2" / "weights.safetensors").exists()
    kept = (out / "restart_2" / "weights.safetensors").read_bytes()
    resumed = call(*given, "--restarts", 3, "--resume")
    assert resumed.status == 0
    assert "3 starts" in resumed.out
    assert (out / "restart_2" / "weights.safetensors").read_bytes() == kept
    assert call("train", "vae", "--data", "digits", "--restarts", 0, "--out", tmp_path / "none").status != 0
