"""What a sample of a diffusion costs, and what fewer steps lose: ancestral sampling against DDIM, digits.

    python benchmarks/diffusion_sampling.py                       # train as `pyrogen train diffusion` does, and measure
    python benchmarks/diffusion_sampling.py --schedule cosine     # another noise schedule
    python benchmarks/diffusion_sampling.py --draws 3 --n 500     # three sets of 500 samples by each sampler

Every sampler draws sets of samples from the same weights. Quality is the Frechet distance between normals fitted to
features of samples and of held-out digits (validation and test, which training did not see), the features being the
hidden layer of scikit-learn's classifier trained on training digits; beside it, how sure the classifier is of a sample.
What even perfect samples would score, for so few, is told by training digits in the samples' place. Samplers take
turns, so that times compare.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recording import environment, record, table
from sklearn.neural_network import MLPClassifier
from torch import Tensor

from pyrogen.catalog import CATALOG
from pyrogen.data import Splits, load
from pyrogen.inference import adam, fit, held_out_elbo
from pyrogen.inference.program.rng import seeded

NAME, KEY = "diffusion_sampling", ("schedule", "sampler", "seed")
SAMPLERS = {
    "ancestral, every level": {"steps": None, "eta": 1.0},
    "DDIM, 50 steps": {"steps": 50, "eta": 0.0},
    "ancestral, 50 steps": {"steps": 50, "eta": 1.0},
    "DDIM, 20 steps": {"steps": 20, "eta": 0.0},
    "DDIM, 10 steps": {"steps": 10, "eta": 0.0},
}
Row = dict[str, Any]


class Quality:
    """Features and certainty of a classifier of digits, and the distance of samples from held-out digits.

    Args:
        digits: the data as loaded.
        seed: of the classifier.
    """

    def __init__(self, digits: Splits, seed: int) -> None:
        x, y = digits.train["x"].flatten(1).numpy(), digits.train["y"].numpy()
        self.network = MLPClassifier((32,), alpha=0.1, max_iter=2000, random_state=seed).fit(x, y)
        held = torch.cat([digits.validation["x"], digits.test["x"]])
        held_y = torch.cat([digits.validation["y"], digits.test["y"]])
        self.accuracy = float(self.network.score(held.flatten(1).numpy(), held_y.numpy()))
        self.real = self.features(held)

    def features(self, x: Tensor) -> np.ndarray:
        """The hidden layer's outputs, (n, 32), in float64."""
        rows = x.flatten(1).numpy().astype(np.float64)
        return np.maximum(rows @ self.network.coefs_[0] + self.network.intercepts_[0], 0)

    def distance(self, x: Tensor) -> float:
        """|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) between samples and held-out digits."""
        a, b = self.features(x), self.real
        one, other = np.cov(a.T), np.cov(b.T)
        roots = np.linalg.eigvals(one @ other).real.clip(0) ** 0.5
        return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(one + other) - 2 * roots.sum())

    def certainty(self, x: Tensor) -> float:
        """Mean probability of the likeliest class."""
        return float(self.network.predict_proba(x.flatten(1).numpy()).max(1).mean())


def trained(schedule: str, epochs: int | None, seed: int, folder: Path) -> tuple[Any, Splits]:
    """The story as the command line trains it, kept in a folder and gone on with, and its data."""
    entry, digits = CATALOG["diffusion"], load("digits")
    with seeded(seed):
        told = {"event_shape": digits.event_shape, "classes": digits.classes, "levels": digits.levels}
        story = entry.make({"schedule": schedule}, **told, total=digits.train.rows)
    options = dict(entry.training)
    options["optimizer"] = adam(options.pop("lr"))
    options["epochs"] = epochs or options["epochs"]
    kept = {"out": folder, "resume": True, "seed": seed, "device": "cpu"}
    return fit(story, digits.train, validation=digits.validation, **kept, **options), digits


def measured(act: Callable[[], Tensor], quality: Quality) -> tuple[float, float, float]:
    """Seconds, distance and certainty of one set of samples."""
    begin = time.perf_counter()
    x = act()
    return time.perf_counter() - begin, quality.distance(x), quality.certainty(x)


def measure(asked: argparse.Namespace) -> list[Row]:
    """A row for training digits, and one for each sampler."""
    run, digits = trained(asked.schedule, asked.epochs, asked.seed, asked.folder / asked.schedule)
    quality, n = Quality(digits, asked.seed), asked.n
    elbo, error = held_out_elbo(run, digits.test, 100, seed=asked.seed)
    found: dict[str, list[tuple[float, float, float]]] = {"training digits": [], **{name: [] for name in SAMPLERS}}
    with seeded(asked.seed):
        run.story.draw(n, 2)  # warm
        for _ in range(asked.draws):
            rows = torch.randperm(digits.train.rows)[:n]
            found["training digits"].append(measured(lambda rows=rows: digits.train["x"][rows], quality))
            for name, options in SAMPLERS.items():
                found[name].append(measured(lambda options=options: run.story.draw(n, **options), quality))
    bits = -elbo / (math.prod(digits.event_shape or ()) * math.log(2))
    about = {"schedule": asked.schedule, "seed": asked.seed, "n": n, "sets": asked.draws, "epochs": len(run.history)}
    about |= {"elbo": elbo, "elbo_error": error, "bits_per_dim": bits, "accuracy": quality.accuracy}
    slowest = min(seconds for seconds, _, _ in found["ancestral, every level"])
    rows = []
    for name, sets in found.items():
        seconds, distance, certainty = (torch.tensor(column, dtype=torch.float64) for column in zip(*sets, strict=True))
        row = {"sampler": name, "seconds": float(seconds.min()), "times_faster": slowest / float(seconds.min())}
        row |= {"distance": float(distance.mean()), "distance_error": float(distance.std()) / math.sqrt(len(sets))}
        rows.append({**row, "certainty": float(certainty.mean()), **about, **environment(torch.device("cpu"))})
    return rows


def render(rows: list[Row]) -> str:
    """The table."""
    order = ["training digits", *SAMPLERS]
    sampled = [row for row in rows if row["sampler"] in SAMPLERS]
    body = table(
        sorted(rows, key=lambda row: (row["schedule"], order.index(row["sampler"]))),
        {
            "schedule": lambda row: row["schedule"],
            "samples": lambda row: row["sampler"],
            "seconds for a set": lambda row: f"{row['seconds']:.2f}" if row in sampled else "",
            "times faster": lambda row: f"{row['times_faster']:.1f}" if row in sampled else "",
            "Frechet distance": lambda row: f"{row['distance']:.2f} ± {row['distance_error']:.2f}",
            "certainty": lambda row: f"{row['certainty']:.3f}",
            "bits per dim": lambda row: f"{row['bits_per_dim']:.3f}" if row in sampled else "",
        },
    )
    first = rows[0]
    head = (
        f"{first['sets']} sets of {first['n']} samples by each sampler, all of the same weights. The Frechet distance\n"
        "is from 540 held-out digits, in the hidden layer of a classifier trained on training digits, which names\n"
        f"{100 * first['accuracy']:.1f} % of them; its error is that of the sets' mean, the weights being one run's.\n"
        "Bits per dimension are the bound on the 360 test digits, of 17 grey levels.\n"
    )
    return f"# Sampling a diffusion\n\n{head}\n{body}"


def main() -> None:
    """Train, sample, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedule", default="even", choices=("even", "cosine", "linear"))
    parser.add_argument("--epochs", type=int, help="default: the catalog's")
    parser.add_argument("--n", type=int, default=500, help="samples in a set")
    parser.add_argument("--draws", type=int, default=3, help="sets by each sampler")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/diffusion-digits"), help="where the runs are kept")
    for row in measure(parser.parse_args()):
        record(NAME, row, KEY, render)
        told = f"{row['seconds']:8.2f} s ({row['times_faster']:6.1f} times faster)"
        print(f"{row['sampler']:24} {told}  distance {row['distance']:.2f} +- {row['distance_error']:.2f}", flush=True)


if __name__ == "__main__":
    main()
