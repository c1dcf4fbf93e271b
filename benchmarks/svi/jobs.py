"""What `time_to_elbo.py` trains, and how far."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
from pyro.infer.autoguide import AutoNormal
from torch import Tensor

from pyrogen import data
from svi.case import Columns
from svi.networks import dense_program
from svi.statistical import FEATURES, regression_data

__all__ = ["JOBS", "Job"]


@dataclasses.dataclass(frozen=True)
class Job:
    """What is trained, and how far.

    Args:
        about: in words.
        columns: from the data folder and whether to be quick to training and validation columns.
        program: makes model and guide.
        batch_size: rows in a step.
        epochs: the most.
        target: validation ELBO, nats per datum; the second one where it is to be quick.
    """

    about: str
    columns: Callable[[str | None, bool], tuple[Columns, Columns]]
    program: Callable[[], tuple[Any, Any]]
    batch_size: int
    epochs: int
    target: tuple[float, float]


def mnist(folder: str | None, quick: bool) -> tuple[Columns, Columns]:
    """MNIST, statically binarized: 50,000 and 10,000 images, or 10,000 and 2,000."""
    splits = data.load("mnist", folder, "static", seed=0)
    train, validation = (split["x"].flatten(1) for split in (splits.train, splits.validation))
    return ({"x": train[:10000]}, {"x": validation[:2000]}) if quick else ({"x": train}, {"x": validation})


def regression(_: str | None, quick: bool) -> tuple[Columns, Columns]:
    """Rows of ten features and a response: 10,000 and 2,000, whether it is to be quick or not."""
    columns = regression_data(12000)
    return {n: c[:10000] for n, c in columns.items()}, {n: c[10000:] for n, c in columns.items()}


def regression_program() -> tuple[Any, Any]:
    """Bayesian linear regression on batches, with a mean-field guide."""

    def model(x: Tensor, y: Tensor, total: int, index: Tensor) -> None:
        w = pyro.sample("w", dist.Normal(x.new_zeros(FEATURES), 1.0).to_event(1))
        b = pyro.sample("b", dist.Normal(0.0, 1.0))
        s = pyro.sample("s", dist.HalfNormal(1.0))
        with pyro.plate("data", total, subsample=index):
            pyro.sample("y", dist.Normal(x @ w + b, s), obs=y)

    return model, AutoNormal(model)


JOBS = {
    "mnist_vae_400_20": Job(
        "VAE 784-400-20 on statically binarized MNIST, batch 128",
        mnist,
        functools.partial(dense_program, (400,), 20),
        128,
        40,
        (-104.0, -150.0),
    ),
    "regression": Job(
        "AutoNormal regression, 10 features, 10,000 rows, batch 100",
        regression,
        regression_program,
        100,
        200,
        (-0.25, -0.6),
    ),
}
