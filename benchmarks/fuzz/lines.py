"""Command lines of `train`, `sample`, `evaluate`, `diagnose` and the rest: options that are right, and one fault."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fuzz.case import Case, Outcome, Right, accepted, refused
from fuzz.world import RUNS, World

Values = tuple[list[str], list[str]]
_COUNTS = ["0", "-1", "1.5", "x", "", "nan", "1e2", "None", "0x1"]
TRAIN: dict[str, Values] = {
    "--epochs": (["1", "2"], _COUNTS),
    "--steps": (["1", "3"], _COUNTS),
    "--batch-size": (["1", "7", "1000"], _COUNTS),
    "--lr": (["0.001", "1e-2"], ["-1", "nan", "inf", "x", "1e400", "", "1,5"]),
    "--clip-norm": (["1", "0.5"], ["0", "-1", "nan", "inf", "x", ""]),
    "--ema": (["0.9", "0.5"], ["0", "1", "1.5", "-0.1", "nan", "x", ""]),
    "--patience": (["1", "3"], _COUNTS),
    "--restarts": (["1", "2"], _COUNTS),
    "--seed": (["0", "7", "9223372036854775807"], ["-1", "9223372036854775808", "x", "1.5", ""]),
    "--device": (["cpu", "auto"], ["gpu", "cuda:x", "", "cpu:x", "meta", "CPU0", "x" * 300]),
    "--precision": (["float32", "float64", "bfloat16"], ["float16", "32", "", "FLOAT"]),
    "--objective": (
        ["elbo", "beta=4", "warmup=1", "freebits=0.1", "iwae=3", "meanfield", "meanfield,beta=0.5"],
        [
            "elbow",
            "beta",
            "beta=x",
            "beta=-1",
            "beta=nan",
            "iwae=0",
            "iwae=1.5",
            "iwae=-1",
            "beta=1,beta=2",
            "",
            "iwae=3,beta=2",
            ",",
            "elbo=3",
            "warmup=-1",
            "freebits=-1",
            "freebits=inf",
            "iwae=nan",
            "iwae=inf",
        ],
    ),
    "--binarize": (["none"], ["x", "True", "", "Static "]),
}
"""Options of `train` by what is right, and what is wrong usage."""
_KEPT_NUMBERS = ("--seed", "--batch-size", "--ema", "--clip-norm", "--patience", "--epochs", "--steps")
"""Options whose numbers config.json holds as they were given."""
NAMES = ["$x_1$", "<b>b</b>", "\x1b[31mred", "a b", "[bold]", "ü", "%s{0}", "-", "a\nb", "$\\frac{", "'q\""]
"""Names that a user may choose for files: mathematics, HTML, terminal escapes, format strings."""


def misspelt(rng: random.Random, word: str) -> str:
    """A word with a letter doubled or left out, so that it is no longer the word."""
    place = rng.randrange(3, len(word))
    return word[:place] + (word[place] * 2 if rng.random() < 0.5 else "") + word[place + 1 :]


def train(world: World, rng: random.Random) -> Case:
    """A command line of `train` with right options, and in most of them one fault."""
    out = world.fresh()
    line = ["train", "ppca", "--data", str(world.data["points"]), "--set", "latent=2", "--out", str(out)]
    names = rng.sample([name for name in TRAIN if name not in ("--epochs", "--steps")], rng.randint(0, 3))
    if "--restarts" in names and rng.random() < 0.8:
        names.remove("--restarts")
    chosen = {rng.choice(["--epochs", "--steps"]): rng.choice("12")} | {
        name: rng.choice(TRAIN[name][0]) for name in names
    }
    if rng.random() < 0.3:
        given = [part for pair in chosen.items() for part in pair]
        return Case("options", [*line, *given], accepted(_trained_with(out, chosen)))
    return rng.choice(_FAULTS)(world, rng, line, chosen, out)


def _trained_with(out: Path, chosen: dict[str, str]) -> Callable[[Outcome], str]:
    def check(outcome: Outcome) -> str:
        config = json.loads((out / "config.json").read_text())
        options, lengths = config["options"], config["limit"]
        for name, value in chosen.items():
            kept = (options | lengths).get(name.lstrip("-").replace("-", "_"))
            right: Any = value if name == "--precision" else json.loads(value) if name in _KEPT_NUMBERS else kept
            if kept != right:
                return f"{name} {value} is kept as {kept!r}"
        epochs = int(chosen.get("--epochs", 1))
        history = (out / "history.jsonl").read_text().splitlines()
        return "" if len(history) == epochs or "--steps" in chosen else f"{len(history)} epochs of {epochs}"

    return check


def _flat(chosen: dict[str, str]) -> list[str]:
    return [part for pair in chosen.items() for part in pair]


Fault = Callable[[World, random.Random, list[str], dict[str, str], Path], Case]


def _bad_value(world: World, rng: random.Random, line: list[str], chosen: dict[str, str], out: Path) -> Case:
    name = rng.choice(list(TRAIN))
    given = {k: v for k, v in chosen.items() if {k, name} != {"--epochs", "--steps"}} | {
        name: rng.choice(TRAIN[name][1])
    }
    word = name if name != "--device" else "device"
    return Case(f"bad {name}", [*line, *_flat(given)], refused(word, status=2), (out,))


def _unknown_option(world: World, rng: random.Random, line: list[str], chosen: dict[str, str], out: Path) -> Case:
    known = rng.choice([*TRAIN, "--resume", "--data-dir", "--no-progress", "--set"])
    wrong = misspelt(rng, known)
    while wrong in TRAIN or wrong == known or wrong in ("--set", "--data"):
        wrong = misspelt(rng, known) + "z"
    return Case("unknown option", [*line, *_flat(chosen), wrong, "1"], refused(wrong, status=2), (out,))


def _missing(world: World, rng: random.Random, line: list[str], chosen: dict[str, str], out: Path) -> Case:
    which = rng.choice(["NAME", "--data", "--out", "value"])
    given = [*line, *_flat(chosen)]
    if which == "NAME":
        del given[1]
        return Case("no NAME", given, refused("NAME", status=2), (out,))
    if which == "value":
        name = rng.choice(list(TRAIN))
        given = [*line, *_flat({k: v for k, v in chosen.items() if k != name}), name]
        return Case("no value", given, refused(name, status=2), (out,))
    place = given.index(which)
    return Case(f"no {which}", given[:place] + given[place + 2 :], refused(which, status=2), (out,))


def _twice(world: World, rng: random.Random, line: list[str], chosen: dict[str, str], out: Path) -> Case:
    name = rng.choice(list(chosen))
    other = rng.choice([value for value in TRAIN[name][0] if value != chosen[name]] or ["1"])
    return Case("option twice", [*line, *_flat(chosen), name, other], refused(name, "twice", status=2), (out,))


def _names(world: World, rng: random.Random, line: list[str], chosen: dict[str, str], out: Path) -> Case:
    given = [*line, *_flat(chosen)]
    if rng.random() < 0.5:
        story = rng.choice([each for each, *_ in RUNS.values() if ":" not in each and len(each) > 4])
        given[1] = misspelt(rng, story) + ("q" if rng.random() < 0.2 else "")
        if given[1] in dict.fromkeys(each for each, *_ in RUNS.values()):
            given[1] = "no_story"
        return Case("unknown story", given, refused(given[1], status=2), (out,))
    place = given.index("--data") + 1
    if rng.random() < 0.5:
        given[place] = misspelt(rng, rng.choice(["digits", "photographs", "linear_gaussian"])) + "q"
        return Case("unknown data", given, refused(given[place], status=2), (out,))
    name = rng.choice([n for n in NAMES if "\n" not in n and "\x1b" not in n])
    given[place] = str(world.folder / f"{name}{rng.choice(['.npz', '.csv', '.txt', '/'])}")
    return Case("missing data", given, refused("no such file"), (out,))


def _out(world: World, rng: random.Random, line: list[str], chosen: dict[str, str], out: Path) -> Case:
    given = [*line, *_flat(chosen)]
    place = given.index("--out") + 1
    kind = rng.choice(["empty", "nobody", "file", "in a file", "used"])
    run = world.runs["ppca"]
    given[place] = {"empty": " ", "nobody": "~nobody_here/run", "file": str(world.own)}.get(kind, str(run))
    if kind == "in a file":
        given[place] = str(world.own / "run")
    status = 2 if kind in ("empty", "nobody") else 1
    words = {"used": ("--resume",), "file": (world.own.name,), "in a file": (world.own.name,)}.get(kind, ("--out",))
    return Case(f"--out {kind}", given, refused(*words, status=status), (run, world.own))


def _together(world: World, rng: random.Random, line: list[str], chosen: dict[str, str], out: Path) -> Case:
    kinds: list[tuple[list[str], Right]] = [
        (["--epochs", "1", "--steps", "1"], refused("--steps", status=2)),
        (["--download", "--steps", "1"], refused("--download", status=2)),
        (["--strip", "--steps", "1"], refused("--strip")),
        (["--data-dir", str(world.folder), "--steps", "1"], refused("--data-dir", "no effect", status=2)),
        (["--steps", "1", "surplus"], refused("surplus", status=2)),
    ]
    more, right = rng.choice(kinds)
    return Case("together", [*line, *more], right, (out,))


def _stepless(world: World, rng: random.Random, line: list[str], chosen: dict[str, str], out: Path) -> Case:
    story = rng.choice(["gaussian", "pca", "kmeans", "kde"])
    names = ("--epochs", "--steps", "--lr", "--batch-size", "--objective", "--patience", "--ema", "--clip-norm")
    name = rng.choice(names)
    value = next(v for v in TRAIN[name][0] if v != "elbo")
    settings = {"pca": ["--set", "latent=2"], "kmeans": ["--set", "clusters=2"]}.get(story, [])
    given = ["train", story, "--data", str(world.data["points"]), "--out", str(out), *settings, name, value]
    return Case(f"{story} {name}", given, refused(name, "no effect", status=2), (out,))


def _story_file(world: World, rng: random.Random, line: list[str], chosen: dict[str, str], out: Path) -> Case:
    file = world.fresh(".py")
    kinds: list[tuple[str, str | None, Right]] = [
        (f"{world.own}:Nothing", None, refused("Nothing", status=2)),
        (f"{world.own}:nn", None, refused("nn", status=2)),
        (f"{world.own}:", None, refused(world.own.name, status=2)),
        (str(world.own), None, refused("Class", status=2)),
        (f"{file}:A", None, refused("does not exist")),
        (f"{world.own}:Broken", None, refused("undefined", "line")),
        (f"{file}:A", "class A(:\n", refused(file.name)),
        (f"{file}:A", "raise ValueError('mine')\n", refused("mine", file.name)),
        (f"{file}:A", "import sys; sys.exit(0)\n", refused("sys.exit")),
        (f"{file}:A", "import no_such_module\n", refused("no_such_module")),
        (f"{file}:A", "A = 3\n", refused("A", status=2)),
        (f"{file}:A", "\x00", refused(file.name)),
        (f"{file}:A", "def f(): return f()\nf()\n", refused("nested")),
    ]
    name, content, right = rng.choice(kinds)
    if content is not None:
        file.write_text(content)
    given = ["train", name, "--data", str(world.data["points"]), "--out", str(out), "--steps", "1"]
    # What a user's file raises is told with its type and line, and is not pyrogen's own text.
    return Case("story file", given, replace(right, of_user=True), (out,))


_FAULTS: list[Fault] = [_bad_value] * 6 + [
    _unknown_option,
    _missing,
    _twice,
    _names,
    _out,
    _together,
    _stepless,
    _story_file,
]


def sample(world: World, rng: random.Random) -> Case:
    """A command line of `sample`."""
    name = rng.choice(["ppca", "vae", "conditional_vae", "made", "language_model", "gan", "flow", "mean", "gaussian"])
    run, n, out = world.runs[name], rng.choice([1, 3, 8]), world.fresh(".npz")
    story = ["--story", str(world.own) + ":Mean"] if name == "mean" else []
    line = ["sample", str(run), "-n", str(n), "--out", str(out), *story]
    if rng.random() < 0.35:
        seed = rng.choice(["0", "5", str(2**63 - 1)])
        given = ["--given", "y=1"] if name == "conditional_vae" and rng.random() < 0.5 else []
        return Case(f"sample {name}", [*line, "--seed", seed, *given], accepted(_drawn(out, n, bool(given))), (run,))
    bad: list[tuple[list[str], Right]] = [
        (["-n", rng.choice(["0", "-1", "x", "1.5", ""])], refused("-n", status=2)),
        (["--seed", rng.choice(["-1", "x", "1e3", str(2**63)])], refused("--seed", status=2)),
        (["--device", rng.choice(["gpu", "cuda:x", "", "meta"])], refused("device", status=2)),
        (["--out", rng.choice(["a.pdf", "a", "a.npz.gz", "a.NPY"])], refused("--out", status=2)),
        (["--out", ""], refused("--out", status=2)),
        (["--out", str(world.own / "a.npz")], refused(world.own.name)),
        (["--given", "y"], refused("--given", status=2)),
        (["--given", "q=1"], refused("q", status=2)),
        (["--draw", "q=1"], refused("--draw", status=2)),
        (["--draw", "steps=5", "--begin", "0.5"], refused("--draw", status=2)),
        (["--story", "mean"], refused("--story", status=2)),
        (["--story", f"{world.own}:Broken"], refused("Broken")),
        (["surplus"], refused("surplus", status=2)),
        ([misspelt(rng, "--device") + "s", "cpu"], refused("no such option", status=2)),
    ]
    if name == "conditional_vae":
        values = ["3", "-1", "1.5", '"a"', "[0,1]", "[0,0,0,0,0]", "null", "{}", "1e3", "9" * 30, "[[0]]", "true"]
        bad += [(["--given", f"y={rng.choice(values)}"], refused("y", status=2))] * 4
    if name in ("made", "language_model"):
        bad += [(["--begin", rng.choice(["0", "1", "-0.5", "nan", "inf", "2"])], refused("--begin", status=2))] * 2
    more, right = rng.choice(bad)
    if name == "mean" and "--story" in more:
        line = line[:-2]
    return Case(f"sample {name}, bad", _replaced(line, more), right, (run, out))


def _replaced(line: list[str], more: list[str]) -> list[str]:
    """A line with an option's value replaced, or the option added; none is given twice."""
    if more[0] in line and more[0].startswith("-"):
        place = line.index(more[0])
        line = line[:place] + line[place + 2 :]
    return [*line, *more]


def _drawn(out: Path, n: int, given: bool) -> Callable[[Outcome], str]:
    def check(outcome: Outcome) -> str:
        with np.load(out) as arrays:
            columns = {key: arrays[key] for key in arrays.files}
        short = [key for key, column in columns.items() if len(column) != n]
        broken = [key for key, column in columns.items() if not np.isfinite(column).all()]
        other = given and bool((columns["y"] != 1).any())
        return f"short {short}, not finite {broken}, y {other}" if short or broken or other else ""

    return check


def evaluate(world: World, rng: random.Random) -> Case:
    """A command line of `evaluate`; the figure of a Gaussian is known."""
    name = rng.choice(["ppca", "gaussian", "gaussian", "vae", "made", "flow", "mean", "kmeans", "pca"])
    run, split = world.runs[name], rng.choice(["train", "validation", "test"])
    story = ["--story", str(world.own) + ":Mean"] if name == "mean" else []
    line = ["evaluate", str(run), "--split", split, "-k", str(rng.choice([1, 5])), "--json", *story]
    if rng.random() < 0.4:
        return Case(f"evaluate {name}", line, accepted(_report(world, name, split)), (run,))
    bad: list[tuple[list[str], Right]] = [
        (["--split", rng.choice(["tests", "", "TEST ", "all"])], refused("--split", status=2)),
        (["-k", rng.choice(["0", "-1", "x", "1.5"])], refused("-k", status=2)),
        (["--seed", rng.choice(["-1", "x"])], refused("--seed", status=2)),
        (["--device", rng.choice(["gpu", "meta", "cpu:x"])], refused("device", status=2)),
        (["--data", "digts"], refused("digts", status=2)),
        (["--data", str(world.folder / "none.csv")], refused("none.csv")),
        (["--data", str(world.data["words"])], refused("words.txt")),
        (["--data", str(world.data["series"])], refused("x")),
        (["--data-dir", str(world.folder)], refused("--data-dir", "no effect", status=2)),
        (["--story", "x"], refused("--story", status=2)),
        (["surplus"], refused("surplus", status=2)),
    ]
    more, right = rng.choice(bad)
    if name == "mean" and "--story" in more:
        line = line[:-2]
    return Case(f"evaluate {name}, bad", _replaced(line, more), right, (run,))


def _report(world: World, name: str, split: str) -> Callable[[Outcome], str]:
    def check(outcome: Outcome) -> str:
        report = json.loads(outcome.out)
        rows = {"train": 42, "validation": 6, "test": 12}[split]
        if report["n"] != rows or report["split"] != split:
            return f"n {report['n']}, split {report['split']}"
        if (report["kind"] is None) != (name in ("kmeans", "pca")):
            return f"kind {report['kind']}"
        if name != "gaussian":
            return ""
        exact = _gaussian(world, split)
        return "" if abs(report["log_likelihood"] - exact) < 1e-3 else f"{report['log_likelihood']}, exact {exact}"

    return check


def _gaussian(world: World, split: str) -> float:
    """The mean log-likelihood of a split under the Gaussian of maximum likelihood, by its formula."""
    from pyrogen.data import load

    splits = load(str(world.data["points"]))
    train, x = (splits.split(part)["x"].double() for part in ("train", split))
    centred = train - train.mean(0)
    normal = torch.distributions.MultivariateNormal(train.mean(0), centred.T @ centred / len(train))
    return float(normal.log_prob(x).mean())


def other(world: World, rng: random.Random) -> Case:
    """Command lines of `list`, of `diagnose`, without a command, and of runs that are none."""
    run = world.runs[rng.choice(["ppca", "gaussian", "kmeans"])]
    missing = world.folder / "no" / rng.choice(["run", "r\x1b[0m", "<i>", "$r$", "ü", "a b"])
    command = rng.choice(["sample", "evaluate", "diagnose"])
    out: Any = ["--out", str(world.fresh(".npz"))] if command == "sample" else []
    kinds: list[tuple[list[str], Right]] = [
        (["list"], accepted(lambda o: "" if "ppca" in o.out else "no ppca")),
        (["list", "surplus"], refused("surplus", status=2)),
        (["list", "--json"], refused("--json", status=2)),
        (["--version"], accepted(lambda o: "" if o.out.startswith("pyrogen ") else o.out)),
        ([], accepted(lambda o: "" if "train" in o.out else o.out)),
        ([rng.choice(["train", "sample", "evaluate", "diagnose", "list"]), "--help"], accepted()),
        (
            [misspelt(rng, rng.choice(["train", "sample", "evaluate", "diagnose"])) + "q"],
            refused("No such command".lower(), status=2),
        ),
        ([misspelt(rng, "--version") + "q"], refused("no such option", status=2)),
        ([command, str(missing), *out], refused("does not exist")),
        ([command, str(world.folder), *out], refused("config.json")),
        ([command, str(world.own), *out], refused(world.own.name)),
        ([command, "", *out], refused("DIR", status=2)),
        ([command, "~nobody_here", *out], refused("nobody_here", status=2)),
        ([command, *out], refused("DIR", status=2)),
        (["diagnose", str(run), "--budget", rng.choice(["x", "", "QUICKLY", "1"])], refused("--budget", status=2)),
        (["diagnose", str(run), "--seed", rng.choice(["-1", "x"])], refused("--seed", status=2)),
        (["diagnose", str(run), "--device", "meta"], refused("device", status=2)),
        (["diagnose", str(run), "--data", "digts"], refused("digts", status=2)),
        (["diagnose", str(run), "--data", str(world.data["words"])], refused("words.txt")),
        (["diagnose", str(run), "--data-dir", str(world.folder)], refused("--data-dir", status=2)),
        (["diagnose", str(run), "--out", ""], refused("--out", status=2)),
        (["diagnose", str(run), "--story", "x"], refused("--story", status=2)),
        (["diagnose", str(run), "-k", "3"], refused("-k", status=2)),
    ]
    line, right = rng.choice(kinds)
    return Case("other", line, right, (run,))
