"""What samples and data are compared in: their features."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyro
import pyro.distributions as dist
import safetensors.torch
import torch
from torch import Tensor, nn

from pyrogen.data import Columns, user_cache
from pyrogen.inference import Fit, RunDirectory, adam, cosine, fit
from pyrogen.inference.program.input_checks import resolve_device
from pyrogen.inference.program.rng import seeded
from pyrogen.nn import ConvEncoder, Dense
from pyrogen.story import Story

__all__ = ["Features", "Inception", "Pixels", "SmallClassifier", "feature_pair", "suited_features"]

_RATE = 3e-3
"""Of the classifier's training; it falls to 0."""
_ROWS = 500
"""Rows that a network is given at a time."""


class Features(Protocol):
    """A map from data to vectors, with the name that reports give: figures in other features do not compare."""

    @property
    def name(self) -> str:
        """What the features are, in a few words that tell them from others."""

    def __call__(self, x: Tensor) -> Tensor:
        """Vectors (n, d) of data (n, *event shape)."""


@dataclass(frozen=True)
class Pixels:
    """The numbers of a datum as they are, flattened.

    Distances between images by their pixels say little of what is in them; for points they are what one wants.

    Example:
        >>> Pixels()(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 64])
    """

    name: str = "raw values"

    def __call__(self, x: Tensor) -> Tensor:
        """Vectors (n, d) of data (n, *event shape)."""
        return x.reshape(len(x), -1)


class SmallClassifier:
    """The last hidden layer of a small network that tells the classes of the training data apart.

    Convolutional for images (channels, height, width), dense for all else. Each vector is scaled to mean 0 and standard
    deviation 1, so that no few of them rule a mean of powers. It is trained once by `fit` and kept in a
    run folder of its own, found again by what it was trained on and how.

    Args:
        training: columns `x` and `y`, int64 classes; rows without a class (-1) are left out.
        units: number of features d.
        steps: of training, each on 128 rows.
        seed: of training.
        folder: where networks are kept; None: `features` in the user's cache (`pyrogen.data.user_cache`).
        device: "auto", "cpu", "cuda", ...

    Raises:
        ValueError: there is no column `x` or `y`, or no class.

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
        steps: int = 2000,
        seed: int = 0,
        folder: str | Path | None = None,
        device: str = "auto",
    ) -> None:
        x, y = _labelled(training, seed)
        with seeded(seed):
            network = _Reader(tuple(x.shape[1:]), int(y.max()) + 1, units)
        key = _key(x, y, network, steps, _RATE, seed)
        self.name = f"classifier {key} ({units} units, {steps:,} steps on {len(y):,} labelled data)"
        kept = (user_cache() / "features" if folder is None else Path(folder)) / f"classifier-{key}"
        if not kept.exists():
            options: dict[str, Any] = {"seed": seed, "device": device, "progress": False}
            schedule, optimizer = cosine(steps), adam(_RATE)
            _keep(fit(network, {"x": x, "y": y}, steps=steps, optimizer=optimizer, schedule=schedule, **options), kept)
        Fit.read(RunDirectory(kept), network.to(resolve_device(device)))
        self._network = network

    def __call__(self, x: Tensor) -> Tensor:
        """Vectors (n, units) of data (n, *event shape)."""
        return _in_parts(self._network, self._network.features, x)

    def probabilities(self, x: Tensor) -> Tensor:
        """p(y | x), (n, classes)."""
        return _in_parts(self._network, lambda part: self._network.logits(part).softmax(-1), x)


class _Reader(Story):
    """y | x ~ Categorical(softmax(W f(x))), f the features."""

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


class Inception:
    """The 2048 pooled features of torchvision's Inception v3, from weights that are at hand; nothing is downloaded.

    Images are brought to 299 by 299 pixels and scaled as these weights want them. They are not the weights of the
    original FID (TensorFlow's, of 2015), whose figures do not compare.

    Args:
        weights: file of the state dict, `.safetensors` or what `torch.save` wrote (read without running code in it).
        device: "auto", "cpu", "cuda", ...

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no such weights.

    References:
        Szegedy et al. 2015, arXiv:1512.00567.
    """

    def __init__(self, weights: str | Path, device: str = "auto") -> None:
        from torchvision.models import inception_v3

        path = Path(weights).expanduser()
        state = {name: w for name, w in _state(path).items() if not name.startswith("AuxLogits.")}
        network = inception_v3(weights=None, aux_logits=False, init_weights=False)
        try:
            network.load_state_dict(state)
        except RuntimeError:
            raise ValueError(f"{path} does not hold the weights of torchvision.models.inception_v3") from None
        network.fc = nn.Identity()
        self._network = network.eval().to(resolve_device(device))
        with path.open("rb") as file:
            self.name = f"Inception v3 {hashlib.file_digest(file, 'sha256').hexdigest()[:8]} (torchvision)"

    def __call__(self, x: Tensor) -> Tensor:
        """Vectors (n, 2048) of images (n, 1 or 3, height, width) in [0, 1].

        Raises:
            ValueError: x holds no such images.
        """
        if x.dim() != 4 or x.shape[1] not in (1, 3) or x.min() < 0 or x.max() > 1:
            raise ValueError(f"Inception takes images (n, 1 or 3, height, width) in [0, 1], got {tuple(x.shape)}")
        return _in_parts(self._network, lambda part: self._network(_as_inception_wants(part)), x)


def _as_inception_wants(x: Tensor) -> Tensor:
    x = nn.functional.interpolate(x.expand(-1, 3, -1, -1), (299, 299), mode="bilinear", antialias=True)
    mean, scale = x.new_tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]  # of ImageNet
    return (x - mean) / scale


def suited_features(training: Mapping[str, Tensor]) -> SmallClassifier | Pixels:
    """The features to compare samples in where nothing else is said: a classifier's, where images come with classes.

    Args:
        training: the training columns.
    """
    y, image = training.get("y"), training["x"].dim() == 4
    classes = y is not None and y.dim() == 1 and y.dtype == torch.int64
    return SmallClassifier(training) if image and classes else Pixels()


def feature_pair(samples: Tensor, data: Tensor, least: int) -> tuple[Tensor, Tensor]:
    """Two sets of features (n, d) and (N, d) in double precision on the CPU, fit to be compared.

    Args:
        samples: features of what was generated.
        data: features of data.
        least: rows that each must have.

    Raises:
        ValueError: they are not such matrices, not finite, or have too few rows.
    """
    for name, rows in {"samples": samples, "data": data}.items():
        if rows.dim() != 2:
            raise ValueError(f"{name}: expected features (n, d), got {tuple(rows.shape)}: Pixels() flattens them")
        if len(rows) < least:
            raise ValueError(f"{name}: at least {least} rows are needed, got {len(rows)}")
        if not bool(rows.isfinite().all()):
            raise ValueError(f"{name}: {int((~rows.isfinite()).any(1).sum())} of {len(rows)} rows are not finite")
    if samples.shape[1] != data.shape[1]:
        raise ValueError(f"samples have {samples.shape[1]} features and data {data.shape[1]}: take the same of both")
    return samples.detach().cpu().double(), data.detach().cpu().double()


def _in_parts(network: nn.Module, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """What a function of a network makes of data, a few rows at a time on the network's device; put on the CPU."""
    device = next(network.parameters()).device
    with torch.no_grad():
        return torch.cat([function(part.to(device, torch.float32)).cpu() for part in x.split(_ROWS)])


def _labelled(training: Mapping[str, Tensor], seed: int) -> tuple[Tensor, Tensor]:
    """The rows that have a class, as training sees them."""
    if missing := [name for name in ("x", "y") if name not in training]:
        raise ValueError(f"training: there is no column '{missing[0]}' to learn classes from: use Pixels()")
    with seeded(seed):
        columns = training.batch() if isinstance(training, Columns) else training
    known = columns["y"] >= 0
    if not bool(known.any()):
        raise ValueError("training: column 'y' tells no class of any datum: use Pixels()")
    return columns["x"][known].float(), columns["y"][known]


def _keep(run: Fit, folder: Path) -> None:
    """Save a run under its name only when it is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as new:
        run.save(Path(new) / "run")
        (Path(new) / "run").rename(folder)


def _key(x: Tensor, y: Tensor, *settings: Any) -> str:
    """Twelve digits that tell these data and settings from others."""
    digest = hashlib.sha256(repr((x.shape, *settings)).encode())
    for column in (x, y):
        digest.update(column.contiguous().cpu().numpy().data)
    return digest.hexdigest()[:12]


def _state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: Inception needs a file of torchvision's inception_v3 weights")
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds no state dict")
    return state
