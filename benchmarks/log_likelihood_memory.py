"""Peak memory and time of `log_likelihood` on all 10,000 test images of MNIST.

    python benchmarks/log_likelihood_memory.py runs/mnist-baseline -k 1000

Weights are summed up in chunks of images and draws, so that memory should not depend on k, and time should be
proportional to it. Peak memory is that of the whole process, as the operating system tells it: one process measures
one k.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

import torch
from recording import Row, environment, record, table

import pyrogen
from pyrogen import data
from pyrogen.inference import log_likelihood

NAME, SEED = "log_likelihood_memory", 0
KEY = ("device", "threads", "story", "n", "k")


def peak_gib() -> float:
    """The largest resident set of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 2**30


def measure(folder: Path, data_dir: str | None, k: int) -> Row:
    """Evaluate the run in `folder` on the test split."""
    story = pyrogen.load(folder).story
    splits = data.load("mnist", data_dir, "static", seed=SEED)
    before, start = peak_gib(), time.perf_counter()
    result = log_likelihood(story, {"x": splits.test["x"]}, k, seed=SEED)
    seconds = time.perf_counter() - start
    value, error = result.mean()
    return {
        **environment(story.device),
        "story": f"{type(story).__name__}, {sum(p.numel() for p in story.parameters())} parameters",
        "data": {"data": "mnist", "split": "test", "binarize": "static", "binarize_seed": splits.seed},
        "n": len(result.value),
        "k": k,
        "seconds": round(seconds, 1),
        "draws_per_second": round(len(result.value) * k / seconds),
        "peak_gib_before": round(before, 3),
        "peak_gib": round(peak_gib(), 3),
        "test_nll": -value,
        "test_nll_error": error,
        "seed": SEED,
    }


def render(rows: list[Row]) -> str:
    """The results as a page."""
    columns = {
        "story": lambda r: r["story"],
        "images": lambda r: f"{r['n']:,}",
        "k": lambda r: f"{r['k']:,}",
        "peak": lambda r: f"{r['peak_gib']:.2f} GiB",
        "of it before": lambda r: f"{r['peak_gib_before']:.2f} GiB",
        "time": lambda r: f"{r['seconds'] / 60:.1f} min",
        "test NLL": lambda r: f"{r['test_nll']:.2f} ± {r['test_nll_error']:.3f}",
        "device": lambda r: r["device"],
        "threads": lambda r: str(r["threads"]),
        "date": lambda r: r["date"],
    }
    heading = "# Memory and time of `log_likelihood`, MNIST test split\n\n"
    source = (
        "Written by `benchmarks/log_likelihood_memory.py` from `log_likelihood_memory.json`, which holds the rest.\n"
    )
    return (
        heading
        + source
        + "Peak: the largest resident set of the process; before: with torch and data loaded. Where both are equal,\n"
        + "evaluating took no more than loading had.\n\n"
        + table(rows, columns)
    )


def main() -> None:
    """Parse the command line, measure, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the run folder of a story of pyrogen's own")
    parser.add_argument("-k", type=int, default=5000, help="draws for each test image (5000)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--data-dir", help="folder of the data sets (else PYROGEN_DATA)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    row = measure(options.folder, options.data_dir, options.k)
    record(NAME, row, KEY, render)
    print(f"k={row['k']}: peak {row['peak_gib']:.2f} GiB, {row['seconds']:.0f} s")


if __name__ == "__main__":
    main()
