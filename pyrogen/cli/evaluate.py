"""`pyrogen evaluate`."""

from __future__ import annotations

import json
import math
import sys
from contextlib import redirect_stdout
from typing import Annotated, Any, Literal

import typer
from torch import Tensor

from pyrogen.adversarial import Adversarial
from pyrogen.cli.data_protocol import DEQUANTIZED, mode_of, preparation, rebuilt, support_of
from pyrogen.cli.open_run import opened
from pyrogen.cli.options import DataDir, Device, Directory, Draws, Seed, StoryFile
from pyrogen.data import Splits
from pyrogen.diagnostics import SampleQuality, sample_quality, suited_features
from pyrogen.inference import NoWeights, held_out_elbo, log_likelihood
from pyrogen.inference.program.rng import seeded
from pyrogen.story import Story

__all__ = ["evaluate"]

Split = Literal["train", "validation", "test"]


def evaluate(
    directory: Directory,
    split: Annotated[Split, typer.Option(help="Which part of the data.")] = "test",
    k: Draws = 100,
    seed: Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    data: Annotated[str | None, typer.Option(metavar="DATA", help="Other data, prepared alike.")] = None,
    data_dir: DataDir = None,
    story: StoryFile = None,
    device: Device = "auto",
) -> None:
    """Give the log-likelihood on a split of the data, with its protocol; of a GAN, how good its samples are."""
    with redirect_stdout(sys.stderr if as_json else sys.stdout):  # whatever a user's own file prints
        run = opened(directory, story, device)
        splits = rebuilt(run.story, run.config, data, data_dir)
        with seeded(splits.seed):
            columns = splits.split(split).batch()
        quality = _quality(run.story, splits, columns, seed)
        report, errors = _report(run.story, splits, split, columns, k, seed)
    report["sample_quality"] = None if quality is None else quality.to_dict()
    if report["kind"] is None:
        print(f"pyrogen: {run.story.name} has no density: {run.story.unsupported['density']}", file=sys.stderr)
    if as_json:
        print(json.dumps(report, allow_nan=False))
    elif report["kind"] is not None:
        _show(run.story, report, errors, splits)
    elif quality is not None:
        print(f"{run.story.name} on {splits.name}, {split} split, {preparation(splits)}\n{quality}")


def _quality(story: Story, splits: Splits, columns: dict[str, Tensor], seed: int) -> SampleQuality | None:
    """Samples held against the data, for a story that was made to sample and has no density."""
    if not isinstance(story, Adversarial):
        return None
    features = suited_features(splits.train)
    return sample_quality(story, columns, features=features, seed=seed, training=splits.train)


def _report(
    story: Story, splits: Splits, split: str, columns: dict[str, Tensor], k: int, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `--json` prints, and errors besides."""
    figures: dict[str, Any] = dict.fromkeys(("log_likelihood", "log_likelihood_error", "elbo", "elbo_error", "kind"))
    figures["k"] = 0
    if "density" not in story.unsupported:
        figures = _figures(story, columns, k, seed)
    for name in ("log_likelihood", "elbo"):
        if figures[name] is not None:
            figures[name] -= splits.log_scale
    report = {
        "log_likelihood": figures["log_likelihood"],
        "log_likelihood_error": figures["log_likelihood_error"],
        "elbo": figures["elbo"],
        "bits_per_dim": _bits(story, splits, figures),
        "k": figures["k"],
        "n": len(next(iter(columns.values()))),
        "data": splits.name,
        "split": split,
        "binarize": mode_of(splits.protocol()),
        "seed": seed,
        "kind": figures["kind"],
        "sample_quality": None,
    }
    return report, {"elbo": figures["elbo_error"]}


def _figures(story: Story, columns: dict[str, Tensor], k: int, seed: int) -> dict[str, Any]:
    """Means over the data, in nats, with their Monte Carlo errors."""
    without = {"log_likelihood": None, "log_likelihood_error": None}
    try:
        found = log_likelihood(story, columns, k, seed=seed)
    except NoWeights:
        elbo, error = held_out_elbo(story, columns, k, seed=seed)
        return {**without, **_elbo(elbo, error), "k": k, "kind": "elbo"}
    if found.kind == "elbo":
        return {**without, **_elbo(*found.mean_elbo()), "k": found.k, "kind": "elbo"}
    value, error = found.mean()
    if not math.isfinite(value):
        bad = int((~found.value.isfinite()).sum())
        raise ValueError(
            f"the log-likelihood of {bad} of {len(found.value)} data is not finite, the first in row "
            f"{int((~found.value.isfinite()).nonzero()[0])}: the story gives them no density"
        )
    told = {"log_likelihood": value, "log_likelihood_error": error, "k": found.k, "kind": found.kind}
    return told | _elbo(*found.mean_elbo())


def _elbo(elbo: float, error: float) -> dict[str, float | None]:
    there = math.isfinite(elbo)
    return {"elbo": elbo if there else None, "elbo_error": error if there else None}


def _bits(story: Story, splits: Splits, figures: dict[str, Any]) -> float | None:
    """Bits per dimension, where the figure is a probability of grey levels; a bound where the figure is one."""
    nats = figures["elbo"] if figures["kind"] == "elbo" else figures["log_likelihood"]
    if nats is None or splits.levels is None or "x" not in splits.train:
        return None
    if mode_of(splits.protocol()) != DEQUANTIZED:
        support = support_of(story, splits.train)
        if support is None or not support.is_discrete:
            return None
    return -nats / (math.prod(splits.event_shape or ()) * math.log(2))


def _show(story: Story, report: dict[str, Any], errors: dict[str, Any], splits: Splits) -> None:
    print(f"{story.name} on {report['data']}, {report['split']} split ({report['n']:,} data), {preparation(splits)}")
    scale = ", on the scale of grey levels" if splits.log_scale else ""
    draws = f"k = {report['k']}, seed {report['seed']}"
    if report["log_likelihood"] is not None:
        how = "exact" if report["kind"] == "exact" else f"{report['kind']}, {draws}"
        print(_line("log-likelihood", report["log_likelihood"], report["log_likelihood_error"], f"{how}{scale}"))
    if report["elbo"] is not None:
        print(_line("ELBO", report["elbo"], errors["elbo"], f"{draws}{scale}"))
    if report["bits_per_dim"] is not None:
        print(f"{'bits per dim':<15} {report['bits_per_dim']:10.4f}")
    print(f"nats per datum{_of(story)}, larger is better; +- is the Monte Carlo error")


def _of(story: Story) -> str:
    """What is scored, where a column is given and not scored."""
    sites, columns = (
        (story.training_spec.sites, story.training_spec.columns) if story.training_spec is not None else ((), {})
    )
    given = [str(name) for name in columns if name not in sites]
    return f" of {', '.join(sites)} given {', '.join(given)}" if given and set(sites) < set(columns) else ""


def _line(what: str, value: float, error: float, how: str) -> str:
    return f"{what:<15} {value:10.4f} +- {error:.4f}  ({how})"
