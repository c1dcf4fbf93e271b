"""Run folders with a damaged file, through `load` and the commands, which refuse it by name where they read it."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fuzz.case import Case, Outcome, Right, accepted, refused
from fuzz.world import RUNS, World, options
from pyrogen import load

READ = ("config.json", "weights.safetensors", "history.jsonl")
"""What `load` reads; `resume.safetensors` is the checkpoint."""
FILES = (*READ, "resume.safetensors")


def damaged(world: World, rng: random.Random) -> Case:
    """A copy of a run with one file damaged, and what is then done with it."""
    kind, name = rng.choice(list(RUNS)), rng.choice(FILES)
    kept, run = world.runs[kind], world.fresh()
    shutil.copytree(kept, run)
    how = rng.choice([each for each in _DAMAGES if each not in _OF_JSON or name == "config.json"])
    if not (run / name).exists() or (
        not (run / name).stat().st_size and how in ("cut", "flipped", "longer", "emptied")
    ):
        name = "config.json"
    if how == "swapped" and not (run / name).stat().st_size:
        how = "noise"  # records of later epochs than the weights may follow, and here there are none before
    words = _DAMAGES[how](run / name, rng, world)
    act = rng.choice(["load", "load", "resume", "sample", "evaluate", "diagnose"])
    right = _right(name, how, act, words, run, kept)
    call, right = _act(world, kind, act, run, right, rng)
    return Case(f"{kind}: {name} {how}, {act}", call, right, (run,))


def _right(name: str, how: str, act: str, words: tuple[str, ...], run: Path, kept: Path) -> Right:
    """What must come of it: by which files the operation reads."""
    if act != "resume":
        named = run.name if how == "swapped" else name  # what is swapped is whole, and of another story or run
        return refused(named, *words) if name in READ else accepted()
    if how == "swapped" and name in ("config.json", "resume.safetensors"):
        return refused("another run")
    if name in ("config.json", "weights.safetensors") or (name, how) == ("history.jsonl", "deleted"):
        return accepted(_restored(run, kept)) if how not in ("folder",) else refused(name)
    if (name, how) == ("resume.safetensors", "deleted"):
        return refused("no checkpoint")  # weights as Fit.save leaves them are not trained anew
    return refused(name, *words)


def _restored(run: Path, kept: Path) -> Callable[[Outcome], str]:
    """A resumed run has the files that it had before they were damaged."""

    def check(outcome: Outcome) -> str:
        return "" if _weights(run) == _weights(kept) else "the weights are others than before the damage"

    return check


def _weights(run: Path) -> bytes:
    state: Any = (
        load(run).story.state_dict()
        if json.loads((run / "config.json").read_text())["story"]["class"].startswith("pyrogen.")
        else {}
    )
    return b"".join(
        tensor.detach().cpu().numpy().tobytes() for tensor in state.values() if isinstance(tensor, torch.Tensor)
    )


def _act(world: World, kind: str, act: str, run: Path, right: Right, rng: random.Random) -> tuple[Any, Right]:
    """The call or command line."""
    story = ["--story", world.story(kind)] if kind == "mean" else []
    if act == "load":
        if kind != "mean":
            return (lambda: load(run)), right
        act = "sample"
    if act == "resume":
        _, data, settings = RUNS[kind]
        line = ["train", world.story(kind), "--data", str(world.data[data]), "--out", str(run), *options(settings)]
        return [*line, "--device", "cpu", "--resume"], right
    lines = {
        "sample": ["sample", str(run), "-n", "2", "--out", str(world.fresh(".npz"))],
        "evaluate": ["evaluate", str(run), "-k", "2"],
        "diagnose": ["diagnose", str(run), "--budget", "quick"],
    }
    if not right.status and (act == "diagnose" or kind in ("kmeans", "pca", "gan")):
        return lines["sample" if kind == "gan" else "evaluate"] + story, right
    return lines[act] + story, right


Damage = Callable[[Path, random.Random, World], tuple[str, ...]]


def _cut(path: Path, rng: random.Random, world: World) -> tuple[str, ...]:
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])
    return ()


def _flipped(path: Path, rng: random.Random, world: World) -> tuple[str, ...]:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return ()


def _deleted(path: Path, rng: random.Random, world: World) -> tuple[str, ...]:
    path.unlink()
    return ()


def _emptied(path: Path, rng: random.Random, world: World) -> tuple[str, ...]:
    path.write_bytes(b"" if path.stat().st_size else b"\x00")
    return ()


def _swapped(path: Path, rng: random.Random, world: World) -> tuple[str, ...]:
    """Another run's file of the same name, which is whole."""
    others = [run for run in world.runs.values() if (run / path.name).exists()]
    own = path.read_bytes()
    others = [run for run in others if (run / path.name).read_bytes() != own]
    path.write_bytes((rng.choice(others) / path.name).read_bytes())
    return ()


def _folder(path: Path, rng: random.Random, world: World) -> tuple[str, ...]:
    path.unlink()
    path.mkdir()
    return ()


def _fifo(path: Path, rng: random.Random, world: World) -> tuple[str, ...]:
    path.unlink()
    os.mkfifo(path)
    return ()


def _link(path: Path, rng: random.Random, world: World) -> tuple[str, ...]:
    path.unlink()
    path.symlink_to(rng.choice(["/dev/zero", "/dev/null", path.name]))
    return ()


def _noise(path: Path, rng: random.Random, world: World) -> tuple[str, ...]:
    path.write_bytes(rng.choice([rng.randbytes(300), b"\xff\xfe{", b"null", b"[]", b"3", b"\x80\x04N.", b"{}", b'"a"']))
    return ()


def _longer(path: Path, rng: random.Random, world: World) -> tuple[str, ...]:
    content = path.read_bytes()
    path.write_bytes(rng.randbytes(8) + content)
    return ()


def _fields(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all fields of a JSON document."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [found for key, value in items for found in [(*path, key), *_fields(value, (*path, key))]]


def _edited(change: Callable[[Any, Any, random.Random], None]) -> Damage:
    def damage(path: Path, rng: random.Random, world: World) -> tuple[str, ...]:
        config = json.loads(path.read_text())
        *parents, last = rng.choice(_fields(config))
        place = config
        for key in parents:
            place = place[key]
        before = json.dumps(config)
        while json.dumps(config) == before:
            change(place, last, rng)
        path.write_text(json.dumps(config))
        return ()

    return damage


def _other_value(place: Any, key: Any, rng: random.Random) -> None:
    deep: Any = 0
    for _ in range(rng.choice([5, 300])):
        deep = [deep]
    values: list[Any] = [
        None,
        3,
        -1,
        1.5,
        "x",
        "",
        [],
        {},
        True,
        [None],
        {"a": []},
        float("nan"),
        10**400,
        deep,
        "\x1b[31m",
    ]
    place[key] = rng.choice(values)


def _no_field(place: Any, key: Any, rng: random.Random) -> None:
    del place[key]


def _more_field(place: Any, key: Any, rng: random.Random) -> None:
    if isinstance(place, dict):
        place[f"{key}_more"] = 1
    else:
        place.append(None)


def _format(place: int | str | None) -> Damage:
    def damage(path: Path, rng: random.Random, world: World) -> tuple[str, ...]:
        config = json.loads(path.read_text())
        config["format"] = place
        path.write_text(json.dumps(config))
        return ("format",) if not isinstance(place, int) or place > 3 else ()

    return damage


_DAMAGES: dict[str, Damage] = {
    "cut": _cut,
    "flipped": _flipped,
    "deleted": _deleted,
    "emptied": _emptied,
    "swapped": _swapped,
    "folder": _folder,
    "fifo": _fifo,
    "link": _link,
    "noise": _noise,
    "longer": _longer,
    "other value": _edited(_other_value),
    "field left out": _edited(_no_field),
    "field added": _edited(_more_field),
    "newer format": _format(99),
    "format of another type": _format("3"),
    "no format": _format(None),
}
_OF_JSON = ("other value", "field left out", "field added", "newer format", "format of another type", "no format")
