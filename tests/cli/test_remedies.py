"""Remedies of a diagnosis on the command line: each is a command that runs as it is printed."""

import json
import re
import shlex
from pathlib import Path

import pytest

from pyrogen.catalog import CATALOG
from pyrogen.cli.report.commands import FILE, Commands, TrainCommand
from pyrogen.diagnostics import Remedy


def remedies(folder):
    """All remedies of a summary."""
    summary = json.loads((folder / "summary.json").read_text())
    return [remedy for finding in summary["findings"] for remedy in finding["remedies"]]


def python_start(out):
    """The lines that remedies in Python go on from, as they are printed."""
    lines = out.splitlines()
    start = lines.index("lines of Python go on from:") + 1
    return [line.strip() for line in lines[start:] if line.startswith("    ")]


def run_each(call, found, start, tmp_path):
    """Run all commands and lines; those that train anew are given one epoch more, and diagnose is quick."""
    for remedy in found:
        if remedy["command"] is None:
            exec("\n".join([*start, remedy["python"]]), {})
            continue
        words = shlex.split(remedy["command"])
        assert words[0] == "pyrogen"
        if words[1] == "diagnose":
            words[words.index("--budget") + 1 if "--budget" in words else len(words) :] = ["quick"]
        called = call(*words[1:])
        assert called.status == 0, (remedy["command"], called.err)


@pytest.mark.slow
def test_the_commands_of_a_vae_that_was_hardly_trained_run(call, tmp_path):
    out = tmp_path / "a run"
    options = ("--set", "hidden=[8]", "--set", "latent=3", "--steps", 3)
    assert call("train", "vae", "--data", "digits", *options, "--out", out).status == 0
    called = call("diagnose", out, "--budget", "quick")
    assert called.status == 0, called.err
    found = remedies(out / "diagnosis")
    commands = {remedy["command"] for remedy in found} - {None}
    assert any(" train vae " in f" {command} " and "--out" in command for command in commands)
    for command in commands:
        assert command in called.out
        assert str(out) in shlex.split(command)[-1] or str(out) in command.replace("'", "")
    unique = list({json.dumps(remedy, sort_keys=True): remedy for remedy in found}.values())
    start = python_start(called.out) if any(r["command"] is None for r in unique) else []
    run_each(call, unique, start, tmp_path)


@pytest.mark.slow
def test_the_lines_of_a_story_of_ones_own_run(call, tmp_path, own, bars):
    out, name = tmp_path / "run", f"{own}:Location"
    assert call("train", name, "--data", bars, "--epochs", 2, "--out", out).status == 0
    called = call("diagnose", out, "--story", name, "--budget", "quick")
    assert called.status == 0, called.err
    start = python_start(called.out)
    known: dict = {}
    exec("\n".join(start), known)
    assert known["data"]["x"].shape[0] == 210
    assert known["run"].story is known["story"]
    for remedy in remedies(out / "diagnosis"):
        if remedy["command"]:
            assert shlex.split(remedy["command"])[:2] in (
                ["pyrogen", "train"],
                ["pyrogen", "diagnose"],
                ["pyrogen", "sample"],
            )
        compile(remedy["python"], "remedy", "exec")


VAE = "pyrogen train vae --data digits --set hidden=[16] --epochs 3 --out runs/a --strip --resume"


def changed(options, command=VAE, out="runs/a"):
    found = TrainCommand.parse(shlex.split(command)[2:]).changed(options, Path(out))
    return None if found is None else str(found)


def test_a_changed_command_keeps_what_is_not_changed():
    anew = "pyrogen train vae --data digits --set 'hidden=[16]' --epochs 3 --strip"
    assert changed("--set posterior=flow") == f"{anew} --set posterior=flow --out runs/a-posterior-flow"
    assert changed("--patience 10") == f"{anew} --patience 10 --out runs/a-patience-10"
    assert changed("--epochs 6 --resume") == (
        "pyrogen train vae --data digits --set 'hidden=[16]' --strip --epochs 6 --resume --out runs/a"
    )
    assert changed("--steps 9 --resume").count("--epochs") == 0
    assert changed("--set hidden=[1000,1000]").count("hidden=") == 1
    assert changed("--set=prior=vamp").endswith("--set prior=vamp --out runs/a-prior-vamp")


@pytest.mark.parametrize(
    "options", ["--set guide=full", "--set components=40", "--set hidden=[16]", "--set prior=normal"]
)
def test_a_setting_that_the_story_lacks_or_has_already_is_no_remedy(options):
    assert changed(options) is None


@pytest.mark.parametrize("name", sorted(CATALOG))
def test_settings_are_offered_to_stories_that_have_them(name):
    command = TrainCommand(name, (("--data", "digits"), ("--out", "runs/a")))
    for setting in ("posterior=flow", "guide=full", "prior=vamp", "hidden=[1000,1000]", "components=40", "latent=3"):
        found = command.changed(f"--set {setting}", Path("runs/a"))
        offered = setting.partition("=")[0] in CATALOG[name].settings
        assert found is None or offered
    assert TrainCommand("own.py:Own", ()).changed("--set latent=3", Path("a")) is None


def test_a_command_is_read_as_it_is_written(tmp_path):
    command = TrainCommand.parse(shlex.split(VAE)[2:])
    assert TrainCommand.parse(shlex.split(str(command))[2:]) == command
    (tmp_path / FILE).write_text("pyrogen train 'my file.py:Own' --data 'a b.npz' --out 'c d' --resume\n")
    read = TrainCommand.of_run(tmp_path)
    assert (read.name, read.options[0]) == ("my file.py:Own", ("--data", "a b.npz"))
    for damaged in ("", "pyrogen train vae --data", "'"):
        (tmp_path / FILE).write_text(damaged)
        assert TrainCommand.of_run(tmp_path) is None or not TrainCommand.of_run(tmp_path).name
    assert TrainCommand.of_run(tmp_path / "nowhere") is None


def test_commands_name_folder_story_and_data(tmp_path):
    commands = Commands(tmp_path / "r", "own.py:Own", "other.npz", tmp_path / "sets", images=True)
    sample = commands.line(Remedy("look", "look()", command=("sample", "RUN", "--out", "SAMPLES")))
    assert shlex.split(sample) == [
        *("pyrogen", "sample", str(tmp_path / "r"), "--out", str(tmp_path / "r" / "samples.png")),
        *("--story", "own.py:Own"),
    ]
    start = commands.line(Remedy("use", "use()", command=("diagnose", "RUN/restart_3")))
    assert shlex.split(start) == [
        *("pyrogen", "diagnose", str(tmp_path / "r" / "restart_3"), "--story", "own.py:Own"),
        *("--data", "other.npz", "--data-dir", str(tmp_path / "sets")),
    ]
    assert commands.line(Remedy("longer", "longer()", ("--epochs 4 --resume",))) == ""  # no command was kept
    assert all(re.match(r"import|from|training|runs", line) for line in commands.preparation)
