"""Exact likelihoods of 8-bit colour: patches of two photographs, subpixel by subpixel, and pixel by pixel.

    python benchmarks/photographs.py                 # train, or go on training; then evaluate and record
    python benchmarks/photographs.py pixelcnn_pp --epochs 40

Stories are the catalog's, with its settings but for those in `RUNS`. Beside them stands what no model of neighbours is:
each subpixel by the frequencies of its colour's levels in the training patches. The test split is read when training is
over.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from named_runs import chosen, command
from recording import Row, environment, record, table

from pyrogen import data, fit
from pyrogen.catalog import CATALOG
from pyrogen.inference import Fit, adam, log_likelihood
from pyrogen.inference.optim.lr_schedules import cosine
from pyrogen.inference.program.rng import seeded

NAME, KEY, SEED = "photographs", ("run", "device"), 0
RUNS: dict[str, dict[str, Any]] = {
    "pixelcnn": {"likelihood": "categorical", "width": 36, "epochs": 20},
    "gated_pixelcnn": {"likelihood": "categorical", "width": 48, "epochs": 20},
    "pixelcnn_pp": {"components": 10, "epochs": 20},
}
BATCH = 64


def trained(name: str, splits: data.Splits, epochs: int, folder: Path) -> Fit:
    """The story, trained, or gone on with, in a folder."""
    settings = {key: value for key, value in RUNS[name].items() if key != "epochs"}
    with seeded(SEED):
        story = CATALOG[name].make(settings, event_shape=splits.event_shape, levels=splits.levels)
    steps = epochs * math.ceil(splits.train.rows / BATCH)
    kept = {"out": folder / f"photographs-{name}", "resume": True, "seed": SEED, "device": "cpu"}
    told = {"optimizer": adam(CATALOG[name].training["lr"]), "schedule": cosine(steps), "batch_size": BATCH}
    return fit(story, splits.train, validation=splits.validation, epochs=epochs, **told, **kept)


def frequencies(splits: data.Splits) -> float:
    """Bits per dimension of the test patches, each subpixel by its colour's frequencies in training."""
    counts = torch.stack([_counts(splits.train["x"][:, colour]) for colour in range(3)]) + 1.0
    found = torch.stack([_counts(splits.test["x"][:, colour]) for colour in range(3)])
    return -float((found * (counts / counts.sum(1, keepdim=True)).log2()).sum() / found.sum())


def _counts(x: torch.Tensor) -> torch.Tensor:
    return torch.bincount((x * 255).round().long().flatten(), minlength=256).double()


def measure(name: str, epochs: int | None, folder: Path) -> Row:
    """One run, from wherever it stands to its row."""
    splits = data.load("photographs")
    run = trained(name, splits, epochs or RUNS[name]["epochs"], folder)
    value, _ = log_likelihood(run, splits.test).mean()
    per_bit = math.prod(splits.event_shape or ()) * math.log(2)
    return {
        "run": name,
        "settings": RUNS[name],
        "protocol": {"data": "photographs", "split": "test", "n": splits.test.rows, "levels": 256, "estimate": "exact"},
        "test_nll": -value,
        "bits_per_dim": -value / per_bit,
        "frequencies_bits_per_dim": frequencies(splits),
        "epochs": len(run.history),
        "training_seconds": run.history[-1]["seconds"],
        "curve": [(r["epoch"], r["seconds"], round(-r["validation_elbo"] / per_bit, 4)) for r in run.history],
        **environment(torch.device("cpu")),
    }


def render(rows: list[Row]) -> str:
    """The table."""
    columns = {
        "run": lambda row: row["run"],
        "test NLL, nats": lambda row: f"{row['test_nll']:.1f}",
        "bits per dim": lambda row: f"{row['bits_per_dim']:.3f}",
        "frequencies alone": lambda row: f"{row['frequencies_bits_per_dim']:.3f}",
        "epochs": lambda row: str(row["epochs"]),
        "training": lambda row: f"{row['training_seconds'] / 60:.1f} min",
        "device": lambda row: row["device"],
        "threads": lambda row: str(row["threads"]),
        "date": lambda row: row["date"],
    }
    return (
        "# Patches of two photographs, 8-bit colour: exact likelihoods\n\n"
        "3 x 8 x 8 subpixels of 256 levels, 1,696 test patches. `pixelcnn`, `gated_pixelcnn`: subpixels in turn, red,\n"
        "green, blue, 256-way; `pixelcnn_pp`: whole pixels, mixtures of logistics. Weights are chosen on the\n"
        "validation split. Times are of a machine that did other work beside.\n\n" + table(rows, columns)
    )


def main() -> None:
    """Train, evaluate, record."""
    parser = command(__doc__, RUNS)
    parser.add_argument("--epochs", type=int)
    options = chosen(parser, RUNS)
    for name in options.runs:
        row = measure(name, options.epochs, options.folder)
        record(NAME, row, KEY, render)
        print(f"{name}: {row['bits_per_dim']:.3f} bits per dim", flush=True)


if __name__ == "__main__":
    main()
