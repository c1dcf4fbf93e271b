"""How good samples are: any number of run folders on one data set, by the same metrics, features and sizes.

    python benchmarks/sample_quality.py runs/mnist-gan runs/mnist-vae runs/mnist-diffusion

Runs of images that are binary and of images that are grey meet on common ground: grey values of samples and data are
taken as probabilities, and drawn. A perfect sample stays perfect, and no run is told by its kind of pixels alone.
Samples stand against held-out test data in the features of a classifier trained on the training split; the validation
data stand for perfect samples. A diffusion is drawn by DDIM, in as many steps as `--steps` says.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from recording import Row, environment, record, table
from torch import Tensor

from pyrogen import load
from pyrogen.data import Splits
from pyrogen.data import load as load_data
from pyrogen.diagnostics import Features, Inception, Pixels, SmallClassifier, draw_samples, sample_quality
from pyrogen.inference import Fit
from pyrogen.inference.program.input_checks import resolve_device
from pyrogen.inference.program.rng import seeded
from pyrogen.models import Diffusion
from pyrogen.plots import sample_neighbours, save_picture
from pyrogen.story import Labelled

NAME, KEY, REFERENCE = "sample_quality", ("data", "features", "num_samples", "run", "sampler"), "validation data"


def binary(samples: Tensor, dequantized: bool, levels: int, seed: int) -> Tensor:
    """Zeros and ones by the grey values of samples; those of dequantized data lose their noise first."""
    grey = (samples * levels).floor() / (levels - 1) if dequantized else samples
    with seeded(seed):
        return torch.bernoulli(grey.clamp(0, 1))


def sampled(run: Fit, raw: Splits, options: argparse.Namespace) -> tuple[Tensor, str]:
    """Samples of a run, as many as are asked for, and how they were drawn."""
    n = options.num_samples or raw.test.rows
    if not isinstance(run.story, Diffusion):
        return draw_samples(run, raw.test, n, seed=options.seed), ""
    parts: list[Tensor] = []
    with seeded(options.seed):
        for rows in torch.arange(n).split(1000):
            given: Row = {"y": raw.test["y"][rows % raw.test.rows]} if isinstance(run.story, Labelled) else {}
            parts.append(run.story.draw(len(rows), **given, steps=options.steps, eta=0).cpu())
    return torch.cat(parts), f"DDIM, {options.steps} steps"


def drawn(folder: Path, raw: Splits, options: argparse.Namespace) -> tuple[Tensor, Row]:
    """Samples of a run on common ground, and what is told of it."""
    run = load(folder)
    run.story.to(resolve_device(options.device))
    protocol = run.config["data"]["protocol"] or {}
    if protocol.get("data", raw.name) != raw.name:
        raise SystemExit(f"{folder} was trained on {protocol['data']}, and --data is {raw.name}")
    start = time.perf_counter()
    samples, sampler = sampled(run, raw, options)
    seconds = time.perf_counter() - start
    told = {"story": type(run.story).__name__, "epochs": len(run.history)}
    told |= {"sampler": sampler, "sampling_seconds": seconds}
    dequantized = bool(protocol.get("dequantize"))
    return binary(samples, dequantized, raw.levels or 256, options.seed), {"run": folder.name, **told}


def chosen(name: str, splits: Splits, options: argparse.Namespace) -> Features:
    """The features by name: `classifier`, `pixels`, or a file of Inception's weights."""
    if name == "classifier":
        return SmallClassifier(splits.train, device=options.device)
    return Pixels() if name == "pixels" else Inception(name, options.device)


def render(rows: list[Row]) -> str:
    """The results as a page."""

    def figure(name: str, digits: int) -> Callable[[Row], str]:
        return lambda r: "" if r[name] is None else f"{r[name]:.{digits}f} ± {r[f'{name}_error']:.{digits}f}"

    columns: dict[str, Callable[[Row], str]] = {
        "data": lambda r: r["data"],
        "run": lambda r: r["run"],
        "story": lambda r: ", ".join(part for part in (r["story"], r["sampler"]) if part),
        "samples": lambda r: f"{r['num_samples']:,} / {r['num_data']:,}",
        "Frechet": figure("frechet_distance", 2),
        "kernel": figure("kernel_distance", 3),
        "precision": figure("precision", 3),
        "recall": figure("recall", 3),
        "density": figure("density", 3),
        "coverage": figure("coverage", 3),
        "two-sample accuracy": figure("two_sample_accuracy", 3),
        "memorization": figure("memorization", 3),
        "features": lambda r: r["features"],
        "date": lambda r: r["date"],
    }
    return (
        "# Sample quality\n\n"
        "Written by `benchmarks/sample_quality.py` from `sample_quality.json`, which holds the rest. Samples against\n"
        "held-out test data (their numbers in that order), grey values of both drawn to zeros and ones. Frechet,\n"
        "kernel: 0 is best. Two-sample accuracy: 1/2 where a classifier cannot tell samples from data. Memorization:\n"
        "the chance that a sample is nearer to the training data than a test datum is, 1/2 for fresh draws. ± is the\n"
        f"standard error. The {REFERENCE} stand for perfect samples. Figures compare within equal features and\n"
        "numbers alone.\n\n" + table(rows, columns)
    )


def main() -> None:
    """Parse the command line, sample every run, compare, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="RUN", help="run folders of `pyrogen train` or fit")
    parser.add_argument("--data", default="mnist", help="the data set of all runs (mnist)")
    parser.add_argument("--num-samples", type=int, help="samples of each run (as many as there are test data)")
    parser.add_argument("--steps", type=int, default=50, help="passes through a diffusion for a sample (50)")
    parser.add_argument("--features", default="classifier", help="classifier, pixels, or a file of Inception's weights")
    parser.add_argument("--pictures", type=Path, help="a folder for samples beside their nearest training images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--data-dir", help="folder of the data sets (else PYROGEN_DATA)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    raw = load_data(options.data, options.data_dir)
    splits = raw.binarized("static", options.seed)
    features = chosen(options.features, splits, options)
    perfect = splits.validation["x"][: options.num_samples]
    compare(perfect, {"run": REFERENCE, "story": "", "sampler": ""}, splits, features, options)
    for folder in options.folders:
        samples, told = drawn(folder, raw, options)
        compare(samples, told, splits, features, options)
        if options.pictures:
            picture = sample_neighbours(samples[:12], splits.train["x"], features)
            save_picture(options.pictures / f"{folder.name}.png", picture)


def compare(samples: Tensor, told: Row, splits: Splits, features: Features, options: argparse.Namespace) -> None:
    """Compare some samples with the test data, and record it."""
    quality = sample_quality(samples, splits.test, features=features, seed=options.seed, training=splits.train)
    print(f"{told['run']}: {quality}\n", flush=True)
    about = {"data": splits.name, "protocol": splits.protocol(), **environment(resolve_device(options.device))}
    record(NAME, {**told, **quality.to_dict(), **about}, KEY, render)


if __name__ == "__main__":
    main()
