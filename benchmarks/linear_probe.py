"""What codes are worth: a linear classifier of digits on the codes of every story that has any.

    python benchmarks/linear_probe.py            # all of them; those recorded already are skipped
    python benchmarks/linear_probe.py vae ppca   # these, anew

Each story of the catalog is trained on digits as `pyrogen train NAME --data digits` trains it. The codes of training
and test data (`pyrogen.inference.encode`, all layers side by side) are scaled to unit variance, and scikit-learn's
logistic regression is trained on the first and scored on the second. Beside it stand the pixels as each story saw them.
The codes of a story that is told the label say what the label does not: a low score is what it is for.
"""

from __future__ import annotations

import argparse
import warnings
from typing import Any

import torch
from recording import environment, read, record, table
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from pyrogen.catalog import CATALOG
from pyrogen.cli.data_protocol import describe_preparation, prepare, required_preparation
from pyrogen.cli.parsing import parse_objective
from pyrogen.data import Columns, Splits, load
from pyrogen.inference import adam, encode, fit
from pyrogen.inference.program.rng import seeded

NAME, KEY = "linear_probe", ("story", "seed")
Row = dict[str, Any]


def trained(name: str, seed: int) -> tuple[Any, Splits]:
    """The story as the command line trains it, and its data."""
    entry, raw = CATALOG[name], load("digits")
    with seeded(seed):
        told = {"event_shape": raw.event_shape, "classes": raw.classes, "levels": raw.levels}
        story = entry.make({}, **told, total=raw.train.rows)
    splits = prepare(raw, required_preparation(story, raw))
    options = dict(entry.training)
    options["optimizer"] = adam(options.pop("lr", 1e-3))
    if "objective" in options:
        options["objective"] = parse_objective(options["objective"])
    return fit(story, splits.train, validation=splits.validation, seed=seed, device="cpu", **options), splits


def features(run: Any, columns: Columns, seed: int) -> Tensor | None:
    """Codes (N, units); None where the story has none."""
    with seeded(seed):
        rows = columns.batch()
    try:
        codes = encode(run, rows)
    except ValueError as error:
        if "has no codes" in str(error):
            return None
        raise
    parts = codes.values() if isinstance(codes, dict) else [codes]
    return torch.cat([part.flatten(1) for part in parts], 1)


def probe(train: Tensor, train_y: Tensor, test: Tensor, test_y: Tensor) -> float:
    """Accuracy on the test data, in per cent."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000)).fit(train.numpy(), train_y.numpy())
    return 100 * float(model.score(test.numpy(), test_y.numpy()))


def measure(name: str, seed: int) -> Row | None:
    """Train, encode and probe; None for a story without codes."""
    run, splits = trained(name, seed)
    codes = [features(run, part, seed) for part in (splits.train, splits.test)]
    if codes[0] is None or codes[1] is None:
        return None
    y = splits.train["y"], splits.test["y"]
    with seeded(seed):
        pixels = [part.batch()["x"].flatten(1) for part in (splits.train, splits.test)]
    return {
        "story": name,
        "seed": seed,
        "units": codes[0].shape[1],
        "accuracy": probe(codes[0], y[0], codes[1], y[1]),
        "pixels": probe(pixels[0], y[0], pixels[1], y[1]),
        "told": "y" in run.story.signatures()[1].columns,
        "protocol": describe_preparation(splits),
        "rows": [len(y[0]), len(y[1])],
        "seconds": run.history[-1]["seconds"] if run.history else 0.0,
        **environment(torch.device("cpu")),
    }


def render(rows: list[Row]) -> str:
    """The table."""
    told = "the story is told the label, which its codes need not hold"
    body = table(
        sorted(rows, key=lambda row: -row["accuracy"]),
        {
            "story": lambda row: row["story"],
            "units": lambda row: str(row["units"]),
            "codes, accuracy %": lambda row: f"{row['accuracy']:.1f}",
            "pixels, accuracy %": lambda row: f"{row['pixels']:.1f}",
            "data": lambda row: row["protocol"],
            "note": lambda row: told if row["told"] else "",
        },
    )
    head = "A linear classifier on the codes of 360 test digits, each story trained on 1,257 by its defaults.\n"
    return f"# Linear probe\n\n{head}One test digit is 0.28 %; the standard error of 95 % is 1.1 %.\n\n{body}"


def main() -> None:
    """Measure what is asked for, or what is not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stories", nargs="*", metavar="NAME", help="stories of `pyrogen list`; default: all")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    done = {row["story"] for row in read(NAME) if row["seed"] == asked.seed}
    for name in asked.stories or [name for name in CATALOG if name not in done]:
        with warnings.catch_warnings(action="ignore"):
            row = measure(name, asked.seed)
        if row is None:
            print(f"{name:18} no codes")
            continue
        record(NAME, row, KEY, render)
        print(f"{name:18} {row['units']:4} units  {row['accuracy']:.1f} %  (pixels {row['pixels']:.1f} %)", flush=True)


if __name__ == "__main__":
    main()
