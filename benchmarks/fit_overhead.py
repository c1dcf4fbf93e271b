"""What `fit` adds to a step: its loop, batches, records and checks, beside the recorded step itself, in one run.

    python benchmarks/fit_overhead.py --keep     # recorded in results/

In runs whose steps are traced the time within the recorded step (loss, gradients,
optimizer) is taken out of that of all epochs but the first tenth, in which steps are traced.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch
from recording import Row, environment, record, table
from svi.case import RATE
from svi.jobs import JOBS

from pyrogen import fit
from pyrogen.inference import adam
from pyrogen.inference.compile.compiled_step import RecordedGradients

NAME = "fit_overhead"
MEASURED = ("regression", "eight_schools", "mixture")
"""Jobs of `time_to_answer.py`."""
EPOCHS, RUNS = 20, 5
STEPS_OF_WHOLE_DATA = 2_000


def measured(name: str) -> tuple[float, float]:
    """Seconds of a step within the recorded step, and of what `fit` does beside it."""
    within, ends, call, job = [0.0, 0], [], RecordedGradients.__call__, JOBS[name]

    def timed(step: RecordedGradients, batch: Any) -> float:
        began = time.perf_counter()
        loss = call(step, batch)
        within[0] += time.perf_counter() - began
        within[1] += 1
        return loss

    columns, _ = job.columns(None)
    epochs = EPOCHS if job.batch_size else STEPS_OF_WHOLE_DATA
    options: dict[str, Any] = {"optimizer": adam(RATE), "objective": job.objective(), "batch_size": job.batch_size}
    callbacks = [lambda *_: ends.append((time.perf_counter(), *within))]
    RecordedGradients.__call__ = timed  # type: ignore[method-assign]
    try:
        fit(job.program(), columns, epochs=epochs, seed=1, progress=False, callbacks=callbacks, **options)
    finally:
        RecordedGradients.__call__ = call  # type: ignore[method-assign]
    (start, first, steps), (end, last, all_steps) = ends[epochs // 10], ends[-1]
    taken = all_steps - steps
    return (last - first) / taken, (end - start - (last - first)) / taken


def row(name: str) -> Row:
    """Medians over runs."""
    runs = [measured(name) for _ in range(RUNS)]
    step, beside = (1e6 * statistics.median(times) for times in zip(*runs, strict=True))
    counts = {
        "job": name,
        "about": JOBS[name].about,
        "step_us": step,
        "beside_us": beside,
        "share": beside / step,
        "runs": RUNS,
    }
    return counts | environment(torch.device("cpu"))


def render(rows: list[Row]) -> str:
    """The results as a page."""
    columns = {
        "job": lambda r: r["about"],
        "recorded step, us": lambda r: f"{r['step_us']:.0f}",
        "fit beside it, us": lambda r: f"{r['beside_us']:.0f}",
        "ratio": lambda r: f"{r['share']:.2f}",
    }
    about = f"Medians of {RUNS} runs, traced steps, 1 thread. Made by `python benchmarks/{NAME}.py`."
    return f"# What fit adds to a step\n\n{about}\n\n{table(rows, columns)}"


def main() -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="record the result")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in MEASURED:
        found = row(name)
        print({key: found[key] for key in ("job", "step_us", "beside_us", "share")}, flush=True)
        if options.keep:
            record(NAME, found, ("job",), render)


if __name__ == "__main__":
    main()
