"""GANs on MNIST: whether digits are read as they were asked for.

    python benchmarks/mnist_gan.py conditional_gan      # train, or go on training; then evaluate and record
    python benchmarks/mnist_gan.py                      # all of them

A run that was stopped, even killed, goes on when the same command is given again. Networks and options are those of the
command line, with as many latents and epochs, and the weight of R1, that are said below. Labels are read by a small
classifier of real training digits (`pyrogen.diagnostics.SmallClassifier`), whose own accuracy on real test digits
stands beside. How samples compare with those of other families is told by `sample_quality.py`, of the same run folders.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from named_runs import chosen, command
from recording import RESULTS, Row, environment, read, record, table

from pyrogen import data, fit
from pyrogen.adversarial import BETAS, EMA, RATE, NonSaturating
from pyrogen.catalog import CATALOG
from pyrogen.diagnostics import SmallClassifier
from pyrogen.inference import Fit, adam
from pyrogen.inference.program.rng import seeded
from pyrogen.plots import SampleStrip, save_image_grid
from pyrogen.story import Labelled

NAME, SEED = "mnist_gan", 0
KEY = ("device", "run")
RUNS: dict[str, dict[str, Any]] = {
    "gan": {"latent": 64},
    "conditional_gan": {"latent": 64},
    "vae_gan": {"latent": 32},
}
R1 = {"gan": 1.0, "conditional_gan": 0.05, "vae_gan": 0.05}
"""With 0.05 the critic of `gan` wins at once; with 2, one sample of `conditional_gan` in fourteen is read amiss."""
EPOCHS, BATCH, ASKED = 15, 128, 1000


def train(name: str, splits: data.Splits, out: Path, device: str) -> Fit:
    """Train, or go on training, in the folder `out`, which gets a strip of samples by epoch."""
    torch.manual_seed(SEED)
    story = CATALOG[name].make(RUNS[name], event_shape=splits.event_shape, classes=splits.classes)
    given = {"y": torch.arange(10)} if isinstance(story, Labelled) else {}
    return fit(
        story,
        splits.train,
        validation=splits.validation,
        epochs=EPOCHS,
        batch_size=BATCH,
        objective=NonSaturating(r1=R1[name]),
        optimizer=adam(RATE, betas=BETAS),
        ema=EMA,
        seed=SEED,
        device=device,
        out=out,
        resume=True,
        callbacks=[SampleStrip(out / "strip.png", 10, given=given)],
    )


def evaluate(run: Fit, splits: data.Splits) -> Row:
    """How the game ended, and how often a digit is read as the one that was asked for."""
    reader = SmallClassifier(splits.train)
    x, y = splits.test["x"], splits.test["y"]
    row: Row = {
        "reader": reader.name,
        "reader_accuracy": float((reader.probabilities(x).argmax(1) == y).double().mean()),
        "epochs": len(run.history),
        "steps": run.history[-1]["step"],
        "training_seconds": run.history[-1]["seconds"],
        "last": run.history[-1],
    }
    if isinstance(run.story, Labelled):
        asked = torch.arange(10).repeat_interleave(ASKED)
        with seeded(SEED):
            drawn = torch.cat([run.story.sample(ASKED, y=digit).cpu() for digit in range(10)])
        right = (reader.probabilities(drawn).argmax(1) == asked).double().reshape(10, ASKED).mean(1)
        share = float(right.mean())
        row |= {"asked": len(asked), "read_as_asked": share, "read_as_asked_by_digit": right.tolist()}
        row["read_as_asked_error"] = (share * (1 - share) / len(asked)) ** 0.5
    return row


def picture(run: Fit) -> torch.Tensor:
    """A hundred samples, the digits by columns where they can be asked for."""
    given = {"y": torch.arange(100) % 10} if isinstance(run.story, Labelled) else {}
    with seeded(SEED):
        drawn: torch.Tensor = run.story.sample(100, **given)
    return drawn


def render(rows: list[Row]) -> str:
    """The results as a page."""

    def as_asked(row: Row) -> str:
        if "read_as_asked" not in row:
            return ""
        return f"{100 * row['read_as_asked']:.2f} ± {100 * row['read_as_asked_error']:.2f} %"

    columns = {
        "run": lambda r: r["run"],
        "R1": lambda r: f"{r['settings']['r1']:g}",
        "read as asked": as_asked,
        "real test digits read right": lambda r: f"{100 * r['reader_accuracy']:.2f} %",
        "critic accuracy": lambda r: f"{r['last']['critic_accuracy']:.3f}",
        "diversity": lambda r: f"{r['last']['diversity']:.3f}",
        "training": lambda r: f"{r['epochs']} epochs, {r['steps']:,} steps, {r['training_seconds'] / 60:.1f} min",
        "device": lambda r: r["device"],
        "threads": lambda r: str(r["threads"]),
        "date": lambda r: r["date"],
    }
    return (
        "# GANs on MNIST\n\n"
        "Written by `benchmarks/mnist_gan.py` from `mnist_gan.json`, which holds the rest. Read as asked: 1,000\n"
        "samples of each digit, by a small classifier of real training digits. Critic accuracy: how often a real\n"
        "digit scores above a generated one; 0.5 is chance. Diversity: effective number of different samples over\n"
        "that of as many digits. Samples are in `mnist_gan_*.png`; `sample_quality.md` compares them with those of\n"
        "other families.\n\n" + table(rows, columns)
    )


def main() -> None:
    """Parse the command line, train, evaluate, record."""
    parser = command(__doc__, RUNS)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--data-dir", help="folder of the data sets (else PYROGEN_DATA)")
    options = chosen(parser, RUNS)
    splits = data.load("mnist", options.data_dir)
    for name in options.runs:
        run = train(name, splits, options.folder / f"mnist-{name}", options.device)
        settings = {**RUNS[name], "r1": R1[name]}
        about = {"run": name, "settings": settings, "seed": SEED, **environment(run.story.device)}
        if any(row["run"] == name and row["device"] == about["device"] for row in read(NAME)):
            print(f"{name} is in results/{NAME}.json already: remove that row to evaluate it anew")
            continue
        save_image_grid(RESULTS / f"{NAME}_{name}.png", picture(run), 10)
        row = {**about, **evaluate(run, splits)}
        record(NAME, row, KEY, render)
        print(f"{name}: read as asked {row.get('read_as_asked')}, diversity {row['last']['diversity']}", flush=True)


if __name__ == "__main__":
    main()
