"""Test likelihood of a dense VAE, 784-400-40, on statically binarized MNIST.

    python benchmarks/mnist_likelihood.py baseline      # train, or go on training; then evaluate and record
    python benchmarks/mnist_likelihood.py --list

The story is z ~ N(0, 1) in 40 dimensions, x | z ~ Bernoulli(decoder(z)), with one hidden layer of 400 in encoder and
decoder. Weights are chosen by the validation ELBO alone; the test split is read once, when training is over.
A run that was stopped goes on when the same command is given again.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import math
from pathlib import Path
from typing import Any

import torch
from recording import Row, environment, read, record, table
from torch import nn

from pyrogen import data, fit
from pyrogen.inference import Fit, TemperedELBO, log_likelihood
from pyrogen.inference.schedules import cosine
from pyrogen.models import VAE

NAME, SEED = "mnist_likelihood", 0
EVENT, LATENT, HIDDEN = (1, 28, 28), 40, 400
KEY = ("device", "run", "k")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What tells one run from another.

    Args:
        about: in words.
        epochs: of training; the rate falls over them along half a cosine.
        rate: Adam's first.
        batch_size: images in a step.
        weight_decay: decoupled (AdamW).
        noise: part of the pixels that the encoder does not see in training; it changes q alone.
        dropout: part of the hidden units left out in training: encoder, decoder.
        warmup: epochs over which the divergence term's weight rises from 0 to 1.
        ema: decay of the averaged weights, which are then what is validated and kept.
    """

    about: str
    epochs: int
    rate: float = 1e-3
    batch_size: int = 128
    weight_decay: float = 0.0
    noise: float = 0.0
    dropout: tuple[float, float] = (0.0, 0.0)
    warmup: float = 0.0
    ema: float | None = None


RUNS = {
    "baseline": Settings("plain ELBO, no regularization", epochs=150),
    "regularized": Settings(
        "plain ELBO, a tenth of pixels (encoder) and of hidden units (decoder) dropped in training",
        epochs=240,
        noise=0.1,
        dropout=(0.0, 0.1),
    ),
}


def story(settings: Settings) -> VAE:
    """The VAE; with dropout, which is the identity once it is trained, where the settings ask for it."""
    if not (settings.noise or any(settings.dropout)):
        return VAE(EVENT, LATENT, hidden=(HIDDEN,))

    def network(inputs: int, outputs: int, first: float, second: float) -> list[nn.Module]:
        hidden = [nn.Linear(inputs, HIDDEN), nn.SiLU(), nn.Dropout(second)]
        return [nn.Dropout(first), *hidden, nn.Linear(HIDDEN, outputs)]

    pixels = math.prod(EVENT)
    encoder = nn.Sequential(nn.Flatten(), *network(pixels, 2 * LATENT, settings.noise, settings.dropout[0]))
    decoder = nn.Sequential(*network(LATENT, pixels, 0.0, settings.dropout[1]), nn.Unflatten(-1, EVENT))
    return VAE(EVENT, LATENT, encoder=encoder, decoder=decoder)


def train(settings: Settings, splits: data.Splits, out: Path, device: str) -> Fit:
    """Train, or go on training, in the folder `out`."""
    steps = settings.epochs * math.ceil(len(splits.train["x"]) / settings.batch_size)
    torch.manual_seed(SEED)
    return fit(
        story(settings),
        {"x": splits.train["x"]},
        validation={"x": splits.validation["x"]},
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        objective=TemperedELBO(warmup=settings.warmup) if settings.warmup else None,
        optimizer=functools.partial(
            torch.optim.AdamW, lr=settings.rate, weight_decay=settings.weight_decay, fused=True
        ),
        schedule=cosine(steps),
        ema=settings.ema,
        seed=SEED,
        device=device,
        out=out,
        resume=True,
    )


def evaluate(run: Fit, splits: data.Splits, k: int) -> Row:
    """The figures on the test split, nats per image, and how they were come by."""
    test = log_likelihood(run.story, {"x": splits.test["x"]}, k, seed=SEED)
    value, error = test.mean()
    elbo, elbo_error = test.mean_elbo()
    best = run.history[(run.best_epoch or 1) - 1]
    return {
        "protocol": {
            "data": "mnist",
            "split": "test",
            "n": len(test.value),
            "binarize": "static",
            "binarize_seed": splits.seed,
            "binarize_note": "our own draw, not Larochelle's file",
            "estimate": test.kind,
            "seed": SEED,
            "chosen_on": "validation ELBO",
        },
        "k": k,
        "test_nll": -value,
        "test_nll_error": error,
        "test_elbo": elbo,
        "test_elbo_error": elbo_error,
        "best_epoch": run.best_epoch,
        "best_validation_elbo": best["validation_elbo"],
        "train_elbo_then": best["train_elbo"],
        "epochs": len(run.history),
        "training_seconds": run.history[-1]["seconds"],
    }


def render(rows: list[Row]) -> str:
    """The results as a page."""
    columns = {
        "run": lambda r: r["run"],
        "device": lambda r: r["device"],
        "k": lambda r: str(r["k"]),
        "test NLL": lambda r: f"{r['test_nll']:.2f} ± {r['test_nll_error']:.3f}",
        "test ELBO": lambda r: f"{r['test_elbo']:.2f} ± {r['test_elbo_error']:.3f}",
        "validation ELBO": lambda r: f"{r['best_validation_elbo']:.2f}",
        "best epoch": lambda r: f"{r['best_epoch']} of {r['epochs']}",
        "training": lambda r: f"{r['training_seconds'] / 60:.1f} min",
        "threads": lambda r: str(r["threads"]),
        "torch": lambda r: r["versions"]["torch"],
        "date": lambda r: r["date"],
    }
    runs = {r["run"]: r["settings"]["about"] for r in rows}
    return (
        "# MNIST, statically binarized: test likelihood of a dense VAE, 784-400-40\n\n"
        "Written by `benchmarks/mnist_likelihood.py` from `mnist_likelihood.json`, which holds the rest.\n"
        "Nats per image, 10,000 test images; NLL is importance-weighted, with k draws, ± Monte Carlo error.\n"
        "The binarization is our own draw, not Larochelle's file; weights are chosen on the validation split alone.\n\n"
        + table(rows, columns)
        + "\n"
        + "".join(f"- {run}: {about}\n" for run, about in runs.items())
    )


def main() -> None:
    """Parse the command line, train, evaluate, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", choices=RUNS, default="baseline")
    parser.add_argument("--list", action="store_true", help="list the runs and leave")
    parser.add_argument("-k", type=int, nargs="+", default=[200], help="draws for each test image (200)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--data-dir", help="folder of the data sets (else PYROGEN_DATA)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the run folders (runs)")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{name:12} {settings}" for name, settings in RUNS.items()))
        return
    torch.set_num_threads(options.threads)
    settings: Any = RUNS[options.run]
    splits = data.load("mnist", options.data_dir, "static", seed=SEED)
    run = train(settings, splits, options.runs / f"mnist-{options.run}", options.device)
    about = {"run": options.run, "settings": dataclasses.asdict(settings), **environment(run.story._device)}
    for k in options.k:
        if any(row["run"] == options.run and row["k"] == k and row["device"] == about["device"] for row in read(NAME)):
            print(f"{options.run} at k={k} is in results/{NAME}.json already: remove that row to evaluate it anew")
            continue
        row = {**about, **evaluate(run, splits, k)}
        record(NAME, row, KEY, render)
        print(f"{options.run}: test NLL {row['test_nll']:.2f} ± {row['test_nll_error']:.3f} at k={k}")


if __name__ == "__main__":
    main()
