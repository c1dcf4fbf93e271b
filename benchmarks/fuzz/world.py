"""What the inputs are about: small data, trained runs, and a user's own stories, in one folder."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import torch

from pyrogen.cli import main

OWN = '''"""A user's own stories."""
import pyro
import pyro.distributions as dist
import torch
from torch import nn
from pyrogen import Story


class Mean(Story):
    """Points around a point."""

    def __init__(self, event_shape, spread: float = 1.0):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(*event_shape))
        self.spread = spread

    def model(self, x, n):
        with pyro.plate("data", n):
            return pyro.sample("x", dist.Normal(self.loc, self.spread).to_event(self.loc.dim()), obs=x)

    def guide(self, x, n):
        pass


class Broken(Mean):
    """Fails."""

    def model(self, x, n):
        return undefined
'''

RUNS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "ppca": ("ppca", "points", ("latent=2", "--steps=2")),
    "gaussian": ("gaussian", "points", ()),
    "kmeans": ("kmeans", "points", ("clusters=3",)),
    "pca": ("pca", "points", ("latent=2",)),
    "vae": ("vae", "images", ("latent=2", "hidden=[8]", "--epochs=2", "--ema=0.9")),
    "conditional_vae": ("conditional_vae", "labelled_images", ("latent=2", "hidden=[8]", "--epochs=2")),
    "made": ("made", "images", ("hidden=[16]", "--epochs=2")),
    "language_model": ("language_model", "words", ("width=8", "layers=1", "--epochs=1")),
    "gan": ("gan", "points", ("latent=2", "hidden=[8]", "--epochs=2")),
    "flow": ("flow", "points", ("steps=1", "hidden=[8]", "bins=3", "--epochs=1")),
    "mean": ("OWN:Mean", "points", ("--epochs=2",)),
}
"""Trained runs: of which story, on which data, with which settings and options."""


def options(texts: tuple[str, ...]) -> list[str]:
    """Settings `key=value` and options `--name=value` as arguments."""
    return [part for text in texts for part in ([text] if text.startswith("--") else ["--set", text])]


class World:
    """The folder: `data` has a path for each data set, `runs` one for each run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.own, self.data = self.folder / "own_stories.py", self._data()
        self.own.write_text(OWN)
        self.runs = {name: self._run(name) for name in RUNS}
        self._made = 0

    def fresh(self, suffix: str = "") -> Path:
        """A path that does not exist."""
        self._made += 1
        return self.folder / f"made_{self._made}{suffix}"

    def story(self, name: str) -> str:
        """How the command line names the story of a run."""
        return RUNS[name][0].replace("OWN", str(self.own))

    def _data(self) -> dict[str, Path]:
        rng = np.random.default_rng(0)
        x = rng.normal(size=(60, 4)).astype(np.float32) @ rng.normal(size=(4, 4)).astype(np.float32)
        images = (rng.random((60, 1, 4, 4)) < 0.4).astype(np.float32)
        arrays: dict[str, dict[str, np.ndarray]] = {
            "points": {"x": x},
            "labelled": {"x": x, "y": np.arange(60) % 3},
            "images": {"x": images},
            "labelled_images": {"x": images, "y": np.arange(60) % 3},
            "series": {"x": rng.normal(size=(60, 5, 2)).astype(np.float32), "length": np.arange(60) % 3 + 3},
        }
        paths = {name: self.folder / f"{name}.npz" for name in arrays}
        for name, columns in arrays.items():
            with paths[name].open("wb") as file:
                np.savez(file, **columns)
        paths["words"] = self.folder / "words.txt"
        paths["words"].write_text("\n".join("".join(rng.choice(list("abc"), 4)) for _ in range(60)) + "\n")
        return paths

    def _run(self, name: str) -> Path:
        _, data, settings = RUNS[name]
        out, seen = self.folder / "runs" / name, io.StringIO()
        if not (out / "weights.safetensors").exists():
            line = ["train", self.story(name), "--data", str(self.data[data]), "--out", str(out), *options(settings)]
            with contextlib.redirect_stdout(seen), contextlib.redirect_stderr(seen):
                status = main([*line, "--device", "cpu"])
            assert status == 0, seen.getvalue()
        return out


def one_thread() -> None:
    """The results do not depend on how many cores there are."""
    torch.set_num_threads(1)
