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
from pyrogen.cli.convergence import describe_convergence
from pyrogen.cli.data_protocol import (
    DEQUANTIZED,
    describe_preparation,
    likelihood_support,
    preparation_mode,
    reload_data,
)
from pyrogen.cli.open_run import load_run
from pyrogen.cli.options import DataDir, Device, Directory, Seed, StoryFile
from pyrogen.data import Splits
from pyrogen.diagnostics import sample_quality, suited_features
from pyrogen.inference import NoWeights, held_out_elbo, log_likelihood
from pyrogen.inference.program.rng import seeded
from pyrogen.messages import printable
from pyrogen.story import Story

_DRAWS = 100


def evaluate(
    directory: Directory,
    split: Annotated[Literal["train", "validation", "test"], typer.Option(help="Split of the data.")] = "test",
    k: Annotated[
        int | None, typer.Option("-k", min=1, help="Importance samples for each datum.", show_default="100")
    ] = None,
    seed: Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    data: Annotated[
        str | None, typer.Option("--data", metavar="DATA", help="Other data, prepared as those of the run.")
    ] = None,
    data_dir: DataDir = None,
    story: StoryFile = None,
    device: Device = "auto",
) -> None:
    """Estimate the log-likelihood of a split of the data; for a GAN, the quality of its samples."""
    with redirect_stdout(sys.stderr if as_json else sys.stdout):  # whatever a user's own file prints
        run = load_run(directory, story, device)
        splits = reload_data(run.story, run.config, data, data_dir)
        with seeded(splits.seed):
            columns = splits.split(split).batch()
        quality = None
        if isinstance(run.story, Adversarial):
            features = suited_features(splits.train)
            quality = sample_quality(run.story, columns, features=features, seed=seed, training=splits.train)
        report, elbo_error = _report(run.story, splits, split, columns, k or _DRAWS, seed)
    if line := describe_convergence(run.history, run.best_epoch, splits.train):
        print(f"{run.story.name} has {line}", file=sys.stderr)
    if k is not None and report["kind"] in ("exact", None):
        reason = "the log-likelihood is exact" if report["kind"] else "there is no likelihood"
        print(f"-k {k} has no effect: {reason}", file=sys.stderr)
    report["sample_quality"] = None if quality is None else quality.to_dict()
    if report["kind"] is None:
        print(f"pyrogen: {run.story.name} has no density: {run.story.unsupported['density']}", file=sys.stderr)
    if as_json:
        print(json.dumps(report, allow_nan=False))
    elif report["kind"] is not None:
        _print_report(run.story, report, elbo_error, splits)
    elif quality is not None:
        title = f"{run.story.name} on {splits.name}, {split} split, {describe_preparation(splits)}"
        print(printable(f"{title}\n{quality}"))


def _report(
    story: Story, splits: Splits, split: str, columns: dict[str, Tensor], k: int, seed: int
) -> tuple[dict[str, Any], float | None]:
    """What `--json` prints, and the Monte Carlo error of the ELBO."""
    estimates: dict[str, Any] = dict.fromkeys(("log_likelihood", "log_likelihood_error", "elbo", "elbo_error", "kind"))
    estimates["k"] = 0
    if "density" not in story.unsupported:
        estimates |= _estimates(story, columns, k, seed)
    else:
        getattr(story, "check", lambda _: None)(columns)
    for name in ("log_likelihood", "elbo"):
        if estimates[name] is not None:
            estimates[name] -= splits.log_scale
    report = {
        "log_likelihood": estimates["log_likelihood"],
        "log_likelihood_error": estimates["log_likelihood_error"],
        "elbo": estimates["elbo"],
        "bits_per_dim": _bits_per_dim(story, splits, estimates),
        "k": estimates["k"],
        "n": len(next(iter(columns.values()))),
        "data": splits.name,
        "split": split,
        "binarize": preparation_mode(splits.protocol()),
        "seed": seed,
        "kind": estimates["kind"],
        "sample_quality": None,
    }
    return report, estimates["elbo_error"]


def _estimates(story: Story, columns: dict[str, Tensor], k: int, seed: int) -> dict[str, Any]:
    """Means over the data, in nats, with their Monte Carlo errors, as far as they are known."""
    try:
        likelihood = log_likelihood(story, columns, k, seed=seed)
    except NoWeights:
        return {**_elbo(*held_out_elbo(story, columns, k, seed=seed)), "k": k, "kind": "elbo"}
    estimates = {"k": likelihood.k, "kind": likelihood.kind, **_elbo(*likelihood.mean_elbo())}
    if likelihood.kind == "elbo":
        return estimates
    value, error = likelihood.mean()
    if not math.isfinite(value):
        bad = (~likelihood.value.isfinite()).nonzero()
        raise ValueError(
            f"the log-likelihood of {len(bad)} of {len(likelihood.value)} data is not finite, the first in row "
            f"{int(bad[0])}: the density of the story is 0 or infinite there"
        )
    return {"log_likelihood": value, "log_likelihood_error": error, **estimates}


def _elbo(elbo: float, error: float) -> dict[str, float | None]:
    finite = math.isfinite(elbo)
    return {"elbo": elbo if finite else None, "elbo_error": error if finite else None}


def _bits_per_dim(story: Story, splits: Splits, estimates: dict[str, Any]) -> float | None:
    """Bits per dimension, where the estimate is of a probability of grey levels; a bound where the estimate is one."""
    nats = estimates["elbo"] if estimates["kind"] == "elbo" else estimates["log_likelihood"]
    if nats is None or splits.levels is None or "x" not in splits.train:
        return None
    if preparation_mode(splits.protocol()) != DEQUANTIZED:
        support = likelihood_support(story, splits.train)
        if support is None or not support.is_discrete:
            return None
    return -nats / (math.prod(splits.event_shape or ()) * math.log(2))


def _print_report(story: Story, report: dict[str, Any], elbo_error: float | None, splits: Splits) -> None:
    preparation = describe_preparation(splits)
    print(printable(f"{story.name} on {report['data']}, {report['split']} split ({report['n']:,} data), {preparation}"))
    scale = ", on the scale of grey levels" if splits.log_scale else ""
    draws = f"k = {report['k']}, seed {report['seed']}"
    if report["log_likelihood"] is not None:
        method = "exact" if report["kind"] == "exact" else f"{report['kind']}, {draws}"
        print(_line("log-likelihood", report["log_likelihood"], report["log_likelihood_error"], f"{method}{scale}"))
    if report["elbo"] is not None:
        print(_line("ELBO", report["elbo"], elbo_error, f"{draws}{scale}"))
    if report["bits_per_dim"] is not None:
        print(f"{'bits per dim':<15} {report['bits_per_dim']:10.4f}")
    print(printable(f"nats per datum{_scored_columns(story)}, larger is better; +- is the Monte Carlo error"))


def _scored_columns(story: Story) -> str:
    """The columns whose density is evaluated, where there are others to condition on."""
    spec = story.training_spec
    if spec is None or not set(spec.sites) < set(spec.columns):
        return ""
    given = [str(name) for name in spec.columns if name not in spec.sites]
    return f" of {', '.join(spec.sites)} given {', '.join(given)}"


def _line(name: str, value: float, error: float | None, method: str) -> str:
    return f"{name:<15} {value:10.4f} +- {error:.4f}  ({method})"
