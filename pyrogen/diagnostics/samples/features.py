"""Features in which samples and data are compared: raw values, or a small classifier's."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrogen.annotations import Count, Seed
from pyrogen.data import Columns, user_cache
from pyrogen.inference import Fit, RunDirectory, adam, cosine, fit
from pyrogen.inference.program.input_checks import resolve_device
from pyrogen.inference.program.rng import seeded
from pyrogen.nn import ConvEncoder, Dense
from pyrogen.story import Story

_LEARNING_RATE = 3e-3
"""Of the classifier's training, at the start; it decays to 0."""
_BATCH_SIZE = 500
"""Rows that a network is applied to at once."""


class Features(Protocol):
    """A function from data to vectors; metrics in different features do not compare."""

    @property
    def name(self) -> str:
        """What the features are, in a few words that distinguish them from others, for reports."""

    def __call__(self, x: Tensor) -> Tensor:
        """Vectors (n, d) of data (n, *event shape)."""


@dataclass(frozen=True)
class Pixels:
    """The raw values of a datum, flattened.

    They suit points; distances between images in pixels say little of what is in them.

    Args:
        name: for reports, "raw values" by default.

    Example:
        >>> Pixels()(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 64])
    """

    name: str = "raw values"

    def __call__(self, x: Tensor) -> Tensor:
        """Vectors (n, d) of data (n, *event shape)."""
        return x.reshape(len(x), -1)


class SmallClassifier:
    """The last hidden layer of a small network that classifies the training data.

    Convolutional for images (channels, height, width), dense for all else. Each vector is scaled to mean 0 and standard
    deviation 1, so that no few of them dominate a mean of powers. The network is trained once by `fit` and saved as a
    run under a hash of its data and settings, where it is found the next time.

    Args:
        training: columns `x` (N, *event shape) and `y` (N,), int64 classes; rows without a class (-1) are left out.
        units: number of features d, 64 by default.
        steps: SVI steps on 128 rows each, 2,000 by default.
        seed: of training, 0 by default.
        folder: where networks are saved; None, the default: `features` in the user's cache
            (`pyrogen.data.user_cache`).
        device: "auto", the default, "cpu", "cuda", ...

    Raises:
        ValueError: there is no column `x` or `y`, or no row has a class.

    Example:
        >>> import tempfile
        >>> x = torch.randn(40, 2)
        >>> columns = {"x": x, "y": (x[:, 0] > 0).long()}
        >>> features = SmallClassifier(columns, units=3, steps=5, folder=tempfile.mkdtemp())
        >>> features(x).shape, features.probabilities(x).shape
        (torch.Size([40, 3]), torch.Size([40, 2]))
    """

    def __init__(
        self,
        training: Mapping[str, Tensor],
        *,
        units: int = 64,
        steps: Count = 2000,
        seed: Seed = 0,
        folder: str | Path | None = None,
        device: str = "auto",
    ) -> None:
        x, y = _labelled(training, seed)
        with seeded(seed):
            network = _Reader(tuple(x.shape[1:]), int(y.max()) + 1, units)
        key = _key(x, y, network, steps, _LEARNING_RATE, seed)
        self.name = f"classifier {key} ({units} units, {steps:,} steps on {len(y):,} labelled data)"
        run_directory = (user_cache() / "features" if folder is None else Path(folder)) / f"classifier-{key}"
        if not run_directory.exists():
            options: dict[str, Any] = {"optimizer": adam(_LEARNING_RATE), "schedule": cosine(steps), "progress": False}
            run = fit(network, {"x": x, "y": y}, steps=steps, seed=seed, device=device, **options)
            _save_whole(run, run_directory)
        Fit.read(RunDirectory(run_directory), network.to(resolve_device(device)))
        self._network = network

    def __call__(self, x: Tensor) -> Tensor:
        """Vectors (n, units) of data (n, *event shape)."""
        return apply_in_batches(self._network, self._network.features, x)

    def probabilities(self, x: Tensor) -> Tensor:
        """p(y | x) of the classifier.

        Args:
            x: (n, *event shape).

        Returns:
            (n, classes).
        """
        return apply_in_batches(self._network, lambda part: self._network.logits(part).softmax(-1), x)


def _save_whole(run: Fit, directory: Path) -> None:
    """Save a run under its name when it is complete; what killed processes of this machine left is removed."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    for left in directory.parent.glob(f".classifier-*.{socket.gethostname()}.*"):
        if not _is_running(left.suffix[1:]):
            shutil.rmtree(left, ignore_errors=True)
    temporary = directory.with_name(f".{directory.name}.{socket.gethostname()}.{os.getpid()}")
    try:
        run.save(temporary)
        with suppress(OSError):  # another process was faster
            temporary.rename(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _is_running(process: str) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except OSError:  # another user's
        return True
    return True


class _Reader(Story):
    """y | x ~ Categorical(softmax(W f(x))), f the features. Names in here are part of the key of saved networks."""

    unsupported = {"guide": "it has no latents"}

    def __init__(self, event_shape: tuple[int, ...], classes: int, units: int) -> None:
        super().__init__()
        image = len(event_shape) == 3
        network = ConvEncoder(event_shape, units) if image else Dense(event_shape, units, (256,))
        self.features = nn.Sequential(network, nn.LayerNorm(units, elementwise_affine=False))
        self.head = nn.Sequential(nn.SiLU(), nn.Linear(units, classes))

    def logits(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))

    def model(self, x: Tensor, y: Tensor | None, n: int) -> Tensor:
        with pyro.plate("data", n):
            return pyro.sample("y", dist.Categorical(logits=self.logits(x)), obs=y)

    def guide(self, x: Tensor, y: Tensor | None, n: int) -> None:
        pass


def suited_features(training: Mapping[str, Tensor]) -> SmallClassifier | Pixels:
    """The default features for a data set: a classifier's, where images have classes, else the raw values.

    Args:
        training: the training columns.

    Returns:
        The features; a classifier is trained if none is saved.
    """
    y, image = training.get("y"), training["x"].dim() == 4
    classes = y is not None and y.dim() == 1 and y.dtype == torch.int64
    return SmallClassifier(training) if image and classes else Pixels()


def validated_features(samples: Tensor, data: Tensor, min_rows: int) -> tuple[Tensor, Tensor]:
    """Check that two sets of features can be compared.

    Args:
        samples: features (n, d) of samples.
        data: features (N, d) of data.
        min_rows: number of rows that each must have.

    Returns:
        Both in double precision on the CPU.

    Raises:
        TypeError: they are complex.
        ValueError: they are not such matrices, not finite, or have too few rows.
    """
    for name, rows in {"samples": samples, "data": data}.items():
        if rows.is_complex():
            raise TypeError(f"{name}: expected real numbers, got {rows.dtype}: pass torch.view_as_real(x).flatten(1)")
        if rows.dim() != 2:
            raise ValueError(f"{name}: expected features (n, d), got {tuple(rows.shape)}: Pixels() flattens them")
        if len(rows) < min_rows:
            raise ValueError(f"{name}: at least {min_rows} rows are needed, got {len(rows)}")
        if not bool(rows.isfinite().all()):
            raise ValueError(f"{name}: {int((~rows.isfinite()).any(1).sum())} of {len(rows)} rows are not finite")
    if samples.shape[1] != data.shape[1]:
        raise ValueError(f"samples have {samples.shape[1]} features and data {data.shape[1]}: take the same of both")
    return samples.detach().cpu().double(), data.detach().cpu().double()


def apply_in_batches(network: nn.Module, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a function of a network to 500 rows at a time.

    Args:
        network: it chooses the device.
        function: of the network, from (n, ...) to (n, ...).
        x: (N, ...).

    Returns:
        (N, ...), on the CPU.
    """
    device = next(network.parameters()).device
    with torch.no_grad():
        return torch.cat([function(part.to(device, torch.float32)).cpu() for part in x.split(_BATCH_SIZE)])


def _labelled(training: Mapping[str, Tensor], seed: int) -> tuple[Tensor, Tensor]:
    """x and y of the rows that have a class, after the columns' transform."""
    if missing := [name for name in ("x", "y") if name not in training]:
        raise ValueError(f"training: there is no column '{missing[0]}' to learn classes from: use Pixels()")
    with seeded(seed):
        columns = training.batch() if isinstance(training, Columns) else training
    known = columns["y"] >= 0
    if not bool(known.any()):
        raise ValueError("training: column 'y' has no class (all are -1): use Pixels()")
    return columns["x"][known].float(), columns["y"][known]


def _key(x: Tensor, y: Tensor, *settings: Any) -> str:
    """Twelve hexadecimal digits of a hash of data and settings."""
    digest = hashlib.sha256(repr((x.shape, *settings)).encode())
    for column in (x, y):
        digest.update(column.contiguous().cpu().numpy().data)
    return digest.hexdigest()[:12]
