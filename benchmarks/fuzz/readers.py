"""Files of data through `pyrogen.data.load`, and through `pyrogen train`."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from fuzz.arrays import array, folder
from fuzz.case import Case, Outcome, Right, accepted, refused
from fuzz.lines import NAMES
from fuzz.tables import File, table, text
from fuzz.world import World
from pyrogen import data


def _made(world: World, rng: random.Random) -> File:
    make = rng.choice([table, table, array, array, folder, text])
    name = rng.choice([*NAMES, "plain", "plain"]).replace("/", "_")
    place = world.fresh()
    place.mkdir()
    return make(place / (name if name != "-" else "-a"), rng)


def _held(file: File) -> Any:
    def check(outcome: Outcome) -> str:
        if file.x is None:
            return ""
        splits = outcome.value
        read = np.concatenate([splits.split(part)["x"].numpy() for part in ("train", "validation", "test")])
        right = np.asarray(file.x).astype(read.dtype).reshape(len(read), -1)
        same = np.array_equal(np.sort(read.reshape(len(read), -1), axis=0), np.sort(right, axis=0))
        return "" if same else f"read {read[:2]}, wrote {right[:2]}"

    return check


def reader(world: World, rng: random.Random) -> Case:
    """A file through `pyrogen.data.load`."""
    file = _made(world, rng)
    right = accepted(_held(file)) if file.words is None else refused(*file.words)
    return Case(f"load {file.path.name!r}", lambda: data.load(file.path), right, (file.path.parent,))


def trained(world: World, rng: random.Random) -> Case:
    """A file through `pyrogen train`: nothing is written where it is refused."""
    file, out = _made(world, rng), world.fresh()
    line = ["train", "gaussian", "--data", str(file.path), "--out", str(out), "--set", "floor=0.1"]
    if file.path.suffix == ".txt" and file.words is None:
        line = ["train", "language_model", "--data", str(file.path), "--out", str(out), "--steps", "1"]
        line += ["--set", "width=4", "--set", "layers=1"]
    right: Right = accepted() if file.words is None else refused(*file.words)
    return Case(f"train on {file.path.name!r}", line, right, (out, file.path.parent))
