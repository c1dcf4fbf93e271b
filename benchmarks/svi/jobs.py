"""What `time_to_answer.py` trains, and how far."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from torch import Tensor

from pyrogen import data
from svi.case import Columns
from svi.networks import SIDE, conv_program, dense_program
from svi.statistical import FEATURES, STATISTICAL, regression_data

__all__ = ["JOBS", "Job"]

GROUPS, ROWS_OF_GROUPS = 400, 4_000


@dataclasses.dataclass(frozen=True)
class Job:
    """What is trained, and how far.

    Args:
        about: in words.
        columns: from the data folder to training columns and, where there is a target, validation columns.
        program: makes model and guide.
        batch_size: rows in a step; None: all.
        steps: of the whole job; the most, where there is a target.
        objective: makes the Pyro ELBO.
        target: validation ELBO, nats per datum, at which the job ends; looked at after each epoch. None: there is none.
        numpyro: the name of the program in `numpyro_programs.py`.
    """

    about: str
    columns: Callable[[str | None], tuple[Columns, Columns | None]]
    program: Callable[[], tuple[Any, Any]]
    batch_size: int | None
    steps: int
    numpyro: str
    objective: Callable[[], Any] = Trace_ELBO
    target: float | None = None


def mnist(shape: tuple[int, ...], folder: str | None) -> tuple[Columns, Columns]:
    """MNIST, statically binarized: 50,000 and 10,000 images."""
    splits = data.load("mnist", folder, "static", seed=0)
    train, validation = (split["x"].reshape(-1, *shape) for split in (splits.train, splits.validation))
    return {"x": train}, {"x": validation}


def alone(columns: Callable[[], Columns], _: str | None) -> tuple[Columns, None]:
    """Training columns without validation."""
    return columns(), None


def scaled_regression() -> tuple[Any, Any]:
    """Bayesian linear regression on batches of 10,000 rows, with a mean-field guide."""

    def model(x: Tensor, y: Tensor, index: Tensor) -> None:
        w = pyro.sample("w", dist.Normal(x.new_zeros(FEATURES), 1.0).to_event(1))
        b = pyro.sample("b", dist.Normal(0.0, 1.0))
        s = pyro.sample("s", dist.HalfNormal(1.0))
        with pyro.plate("data", 10_000, subsample=index):
            pyro.sample("y", dist.Normal(x @ w + b, s), obs=y)

    return model, AutoNormal(model)


def groups_data() -> Columns:
    """Houses in 400 counties: whether measured in the basement, and the logarithm of radon, of known mechanism."""
    generator = torch.Generator().manual_seed(5)
    group = torch.randint(GROUPS, (ROWS_OF_GROUPS,), generator=generator)
    floor = (torch.rand(ROWS_OF_GROUPS, generator=generator) < 0.2).float()
    level = 1.5 + 0.3 * torch.randn(GROUPS, generator=generator)
    y = level[group] - 0.7 * floor + 0.75 * torch.randn(ROWS_OF_GROUPS, generator=generator)
    return {"group": group, "floor": floor, "y": y}


def groups_program() -> tuple[Any, Any]:
    """A level for each group, non-centred, and one slope, with a Gaussian guide of full covariance."""

    def model(group: Tensor, floor: Tensor, y: Tensor) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 10.0))
        tau = pyro.sample("tau", dist.HalfNormal(1.0))
        slope = pyro.sample("slope", dist.Normal(0.0, 10.0))
        sigma = pyro.sample("sigma", dist.HalfNormal(1.0))
        with pyro.plate("groups", GROUPS):
            level = pyro.sample("level", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(mu + tau * level[group] + slope * floor, sigma), obs=y)

    return model, AutoMultivariateNormal(model)


def schools(steps: int) -> Job:
    """Eight schools for some steps."""
    case = STATISTICAL["eight_schools"]
    about = f"eight schools, AutoNormal, {steps:,} steps"
    return Job(about, functools.partial(alone, case.data), case.program, None, steps, "eight_schools")


def regression(steps: int) -> Job:
    """Regression on batches for some steps."""
    about = f"AutoNormal regression, 10 features, 10,000 rows, batch 100, {steps:,} steps"
    columns = functools.partial(alone, functools.partial(regression_data, 10_000))
    return Job(about, columns, scaled_regression, 100, steps, "scaled_regression")


_mixture = STATISTICAL["gaussian_mixture"]
JOBS = {
    "eight_schools_200": schools(200),
    "eight_schools_1000": schools(1_000),
    "eight_schools": schools(5_000),
    "regression_500": regression(500),
    "regression": regression(4_900),
    "mixture": Job(
        "Gaussian mixture, 3 components, 200 rows, enumerated, 3,000 steps",
        functools.partial(alone, _mixture.data),
        _mixture.program,
        None,
        3_000,
        "gaussian_mixture",
        _mixture.objective,
    ),
    "groups": Job(
        "hierarchical model, 400 groups, 4,000 rows, AutoMultivariateNormal, 5,000 steps",
        functools.partial(alone, groups_data),
        groups_program,
        None,
        5_000,
        "groups",
    ),
    "conv_vae": Job(
        "VAE with two convolutions, batch 128, one MNIST epoch",
        lambda folder: (mnist((1, SIDE, SIDE), folder)[0], None),
        conv_program,
        128,
        391,
        "conv_vae",
    ),
    "mnist_vae": Job(
        "VAE 784-400-20 on statically binarized MNIST, batch 128, to a validation ELBO of -104",
        functools.partial(mnist, (SIDE * SIDE,)),
        functools.partial(dense_program, (400,), 20),
        128,
        40 * 391,
        "vae",
        target=-104.0,
    ),
    "eight_schools_40000": schools(40_000),
}
