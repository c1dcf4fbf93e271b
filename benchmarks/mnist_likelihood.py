"""Test likelihoods on MNIST: VAEs of many kinds, autoregressive models, a flow, a diffusion, discrete codes.

    python benchmarks/mnist_likelihood.py vae iwae      # train, or go on training; then evaluate and record
    python benchmarks/mnist_likelihood.py --list

Weights are chosen by the validation objective alone; the test split is read once, when training is over. A run that was
stopped, even killed, goes on when the same command is given again. Settings are in `mnist/runs.py`.
"""

from __future__ import annotations

import argparse
import functools
import math
from pathlib import Path
from typing import Any

import torch
from mnist.runs import EVENT, RUNS, Settings
from named_runs import chosen, command
from recording import Row, environment, read, record, table

from pyrogen import data, fit
from pyrogen.data import Columns
from pyrogen.inference import Fit, NoWeights, held_out_elbo, log_likelihood
from pyrogen.inference.optim.lr_schedules import cosine
from pyrogen.models import VQVAE

PIXELS = {"static": "static", "dynamic": "dynamic", "dequantized": "256 levels, dequantized", "none": "256 levels"}
NAME, SEED = "mnist_likelihood", 0
KEY = ("device", "run", "k")


def train(settings: Settings, splits: data.Splits, out: Path, device: str) -> Fit:
    """Train, or go on training, in the folder `out`."""
    steps = settings.epochs * math.ceil(splits.train.rows / settings.batch_size)
    torch.manual_seed(SEED)
    return fit(
        settings.story(),
        _columns(splits.train, settings),
        validation=_columns(splits.validation, settings),
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        objective=settings.objective() if settings.objective else None,
        optimizer=functools.partial(torch.optim.AdamW, lr=settings.rate, weight_decay=0.0, fused=True),
        schedule=cosine(steps),
        ema=settings.ema,
        precision=settings.precision,
        seed=SEED,
        device=device,
        out=out,
        compile=True,
        resume=True,
    )


def _columns(split: Columns, settings: Settings) -> Columns:
    """What the story sees of a split, drawn anew for each batch where the split is."""
    return Columns({name: split[name] for name in settings.columns}, split.transform)


def evaluate(run: Fit, settings: Settings, splits: data.Splits, k: int) -> Row:
    """The figures on the test split, nats per image, and how they were come by."""
    figures = _figures(run, _columns(splits.test, settings), k, splits.log_scale)
    best = run.history[(run.best_epoch or 1) - 1]
    nats = -figures["test_elbo"] if figures["test_nll"] is None else figures["test_nll"]
    grey = settings.binarize in ("dequantized", "none")
    return {
        "protocol": {
            "data": "mnist",
            "split": "test",
            "n": splits.test.rows,
            "binarize": settings.binarize,
            "binarize_seed": splits.seed,
            "binarize_note": "our own draw, not Larochelle's file",
            "estimate": figures.pop("kind"),
            "seed": SEED,
            "chosen_on": "validation objective",
        },
        "k": k,
        **figures,
        "bits_per_dim": nats / (math.prod(EVENT) * math.log(2)) if grey else None,
        "codes": str(run.story.usage(splits.test["x"])) if isinstance(run.story, VQVAE) else None,
        "best_epoch": run.best_epoch,
        "best_validation": best["validation_elbo"] - splits.log_scale,
        "train_then": best["train_elbo"],
        "epochs": len(run.history),
        "training_seconds": run.history[-1]["seconds"],
        "mode": run.mode,
        "curve": _curve(run.history, splits.log_scale),
    }


def _figures(run: Fit, test: Columns, k: int, log_scale: float) -> Row:
    """Test likelihood, exact or importance-weighted, and ELBO, nats on the scale of grey levels; None where none is."""
    try:
        found = log_likelihood(run.story, test, max(k, 1), seed=SEED)
    except NoWeights:
        elbo, kind, nll = held_out_elbo(run, test, max(k, 2), seed=SEED), "elbo", (None, None)
    else:
        elbo, kind, (value, error) = found.mean_elbo(), found.kind, found.mean()
        nll = (None, None) if kind == "elbo" else (log_scale - value, error)
    bound = (elbo[0] - log_scale, elbo[1]) if math.isfinite(elbo[0]) else (None, None)
    names = ("test_nll", "test_nll_error", "test_elbo", "test_elbo_error")
    return {**dict(zip(names, (*nll, *bound), strict=True)), "kind": kind}


def _curve(history: list[dict[str, Any]], log_scale: float) -> list[tuple[int, float, float]]:
    """Epoch, seconds and validation ELBO, some thirty times."""
    every = math.ceil(len(history) / 30)
    return [(r["epoch"], r["seconds"], round(r["validation_elbo"] - log_scale, 3)) for r in history[every - 1 :: every]]


def render(rows: list[Row]) -> str:
    """The results as a page."""
    columns = {
        "run": lambda r: r["run"],
        "device": lambda r: r["device"],
        "pixels": lambda r: PIXELS[r["protocol"]["binarize"]],
        "k": lambda r: str(r["k"]) if r["k"] else r["protocol"]["estimate"],
        "test NLL": lambda r: _with_error(r, "test_nll"),
        "target": lambda r: f"{r['target'][0]:.2f} ({r['target'][1]})" if r["target"] else "none known",
        "test ELBO": lambda r: _with_error(r, "test_elbo"),
        "bits per dim": lambda r: f"{r['bits_per_dim']:.3f}" if r.get("bits_per_dim") else "",
        "validation": lambda r: f"{r['best_validation']:.2f}",
        "best epoch": lambda r: f"{r['best_epoch']} of {r['epochs']}",
        "training": lambda r: f"{r['training_seconds'] / 60:.1f} min",
        "threads": lambda r: str(r["threads"]),
        "torch": lambda r: r["versions"]["torch"],
        "date": lambda r: r["date"],
    }
    runs = {r["run"]: r["settings"]["about"] for r in rows}
    return (
        "# MNIST: test likelihoods\n\n"
        "Written by `benchmarks/mnist_likelihood.py` from `mnist_likelihood.json`, which holds the rest.\n"
        "Nats per image, 10,000 test images; NLL is exact, or importance-weighted with k draws, ± Monte Carlo error.\n"
        "Static: training images are drawn once; dynamic: anew for each batch. Test images are drawn once in both, by\n"
        "a draw of our own, not Larochelle's file. Weights are chosen on the validation split alone, by the objective\n"
        "in the column `validation`. Training ends with the epochs of `mnist/runs.py`, meant for an hour at most of\n"
        "one thread of a CPU; times are of a machine that often did other work; the targets took longer.\n\n"
        + table(rows, columns)
        + "\n"
        + "".join(f"- {run}: {about}\n" for run, about in runs.items())
    )


def _with_error(row: Row, name: str) -> str:
    return "" if row[name] is None else f"{row[name]:.2f} ± {row[name + '_error']:.3f}"


def main() -> None:
    """Parse the command line, train, evaluate, record."""
    parser = command(__doc__, RUNS)
    parser.add_argument("--list", action="store_true", help="list the runs and leave")
    parser.add_argument("-k", type=int, nargs="+", help="draws for each test image (those of the target)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--data-dir", help="folder of the data sets (else PYROGEN_DATA)")
    options = chosen(parser, RUNS)
    if options.list:
        print("\n".join(f"{name:12} {s.epochs:4} epochs, {s.binarize:11}  {s.about}" for name, s in RUNS.items()))
        return
    for name in options.runs:
        run_and_record(name, options)


def run_and_record(name: str, options: argparse.Namespace) -> None:
    """One run, from wherever it stands to its rows."""
    settings = RUNS[name]
    splits = data.load("mnist", options.data_dir, seed=SEED, **settings.pixels())
    run = train(settings, splits, options.folder / f"mnist-{name}", options.device)
    about = {"run": name, "settings": settings.to_dict(), "target": settings.target, **environment(run.story.device)}
    for k in options.k or [settings.k]:
        if any(row["run"] == name and row["k"] == k and row["device"] == about["device"] for row in read(NAME)):
            print(f"{name} at k={k} is in results/{NAME}.json already: remove that row to evaluate it anew")
            continue
        row = {**about, **evaluate(run, settings, splits, k)}
        record(NAME, row, KEY, render)
        nll, elbo = (_with_error(row, figure) or "none" for figure in ("test_nll", "test_elbo"))
        print(f"{name}: test NLL {nll}, ELBO {elbo}, k={k}", flush=True)


if __name__ == "__main__":
    main()
