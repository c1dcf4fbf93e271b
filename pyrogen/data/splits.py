"""Training, validation and test data with the protocol that a likelihood on them must name."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from pyrogen.data.columns import Columns, chunks
from pyrogen.data.draws import check_seed
from pyrogen.data.transforms import MODES, Dequantization, DynamicBinarization, binarized_once, dequantized_once
from pyrogen.messages import did_you_mean

_SPLITS = ("train", "validation", "test")


class Truth(Protocol):
    """The exact density of a synthetic data set."""

    @property
    def test_log_prob(self) -> Tensor:
        """Log p of each test row in nats, (N,), float64."""

    def log_prob(self, x: Tensor) -> Tensor:
        """The exact log density.

        Args:
            x: data (N, ...).

        Returns:
            Log p of each row in nats, (N,), float64.
        """


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set in three splits, and how it was prepared.

    Args:
        name: what the data are called in reports.
        train: named columns for training.
        validation: named columns for choosing between models.
        test: named columns for final figures alone.
        classes: number of classes of `y`; None, the default, without classes.
        levels: number of grey levels of `x`: 256 for 8-bit images, 17 for digits; None, the default, for other data.
        alphabet: the characters of a text, whose positions are the symbols of `x`; None, the default, for other data.
        binarize: `static`, `dynamic`, `threshold` or `none`; None, the default, where nothing was chosen.
        dequantize: whether uniform noise was added within the grey levels; False by default.
        seed: of the fixed draw of a binarization or of noise, 0 by default.
        truth: the exact density of a synthetic data set; None, the default, where it is not known.
        class_names: the names of the classes of `y`, in their order; None, the default, where they have none.
        notes: how a file was understood where that is not obvious, a line each; none by default.

    Example:
        >>> columns = Columns({"x": torch.tensor([[0.0, 1.0], [1.0, 1.0]])})
        >>> splits = Splits("two", columns, columns, columns, levels=256)
        >>> splits.binarized("static", seed=1).protocol()["binarize"]
        'static'
        >>> round(splits.dequantized().log_scale, 4)
        11.0904
    """

    name: str
    train: Columns
    validation: Columns
    test: Columns
    classes: int | None = None
    levels: int | None = None
    alphabet: str | None = None
    binarize: str | None = None
    dequantize: bool = False
    seed: int = 0
    truth: Truth | None = None
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "train", Columns(self.train, self.train.transform, self.protocol()))

    @property
    def event_shape(self) -> tuple[int, ...] | None:
        """Shape of one datum's `x`; None where there is no such column."""
        return tuple(self.train["x"].shape[1:]) if "x" in self.train else None

    @property
    def log_scale(self) -> float:
        """Nats to subtract from log p(x) for the original grey-level scale: D log(levels) if dequantized, else 0."""
        if not self.dequantize or self.levels is None:
            return 0.0
        return math.prod(self.event_shape or ()) * math.log(self.levels)

    def split(self, name: str) -> Columns:
        """The columns of one split.

        Args:
            name: `train`, `validation` or `test`.

        Returns:
            The columns.

        Raises:
            ValueError: the name is another one.
        """
        if name not in _SPLITS:
            raise ValueError(f"split: expected {', '.join(_SPLITS)}, got {name!r}{did_you_mean(name, _SPLITS)}")
        return getattr(self, name)

    def protocol(self) -> dict[str, Any]:
        """The description of the data that a report of a likelihood names.

        Returns:
            Name, binarization, dequantization, levels, seed and numbers of rows, ready for JSON.
        """
        return {
            "data": self.name,
            "binarize": self.binarize,
            "dequantize": self.dequantize,
            "levels": self.levels,
            **({} if self.alphabet is None else {"alphabet": self.alphabet}),
            **({} if self.class_names is None else {"class_names": list(self.class_names)}),
            "seed": self.seed,
            "rows": {key: part.rows for key, part in zip(_SPLITS, self._parts(), strict=True)},
        }

    def with_class_names(self, names: tuple[str, ...]) -> Splits:
        """The same data, their classes numbered as those of other data.

        Args:
            names: of the classes of the other data, in the order of their numbers.

        Returns:
            New splits. Data whose classes have no names are returned as they are.

        Raises:
            ValueError: the data have a class that the other data have not.
        """
        if self.class_names is None:
            return self
        unknown = [each for each in self.class_names if each not in names]
        if unknown:
            raise ValueError(
                f"{self.name}: class {unknown[0]!r} is none of {', '.join(map(repr, names))}: rename or remove it"
            )
        number = torch.tensor([names.index(each) for each in self.class_names])
        parts = [Columns({**part, "y": number[part["y"]]}, part.transform) for part in self._parts()]
        return self._with_parts(parts, classes=len(names), class_names=names)

    def binarized(self, mode: str, seed: int = 0) -> Splits:
        """The same data with x in {0, 1}, the grey values taken as probabilities.

        `static`: every split is one draw x ~ Bernoulli(grey), fixed by the seed and the same on every machine (our own
        draw, not Larochelle's file). `dynamic`: training data are drawn anew for each batch, while validation and test
        data are the `static` draw, so that figures on them are reproducible. `threshold`: x = 1[grey > 0.5]. `none`:
        the grey values stay. An unknown mode, data that are prepared already, and x outside [0, 1] are refused with a
        ValueError.

        Args:
            mode: `static`, `dynamic`, `threshold` or `none`.
            seed: of the static draw, 0 by default.

        Returns:
            New splits.

        References:
            Salakhutdinov and Murray, 2008; Larochelle and Murray, 2011, The neural autoregressive distribution
            estimator; Burda, Grosse and Salakhutdinov, 2015, arXiv:1509.00519.
        """
        check_mode(mode)
        check_seed(seed)
        self._check_raw(f"binarize={mode!r}")
        if mode == "none":
            return replace(self, binarize=mode, seed=seed)
        self._check_unit_interval(f"binarize={mode!r}")
        parts = list(self._parts())
        for key, part in enumerate(parts):
            x = part["x"] if part["x"].is_floating_point() else part["x"].float()
            if mode == "dynamic" and key == 0:
                parts[key] = Columns({**part, "x": x}, DynamicBinarization())
            else:
                once = (x > 0.5).to(x.dtype) if mode == "threshold" else binarized_once(x, seed, key)
                parts[key] = Columns({**part, "x": once})
        return self._with_parts(parts, levels=None, binarize=mode, seed=seed)

    def dequantized(self, seed: int = 0) -> Splits:
        """The same data with uniform noise within each grey level: x' = (level + u) / levels in [0, 1).

        Training data get fresh noise for each batch; validation and test data one draw, fixed by the seed. With
        `log_scale` = D log(levels), log p(x') - `log_scale` is in nats on the original grey-level scale.

        Args:
            seed: of the noise in validation and test data, 0 by default.

        Returns:
            New splits.

        Raises:
            ValueError: there are no grey levels, the data are prepared already, or x lies outside [0, 1].

        References:
            Theis, van den Oord and Bethge, 2016, arXiv:1511.01844.
        """
        check_seed(seed)
        self._check_raw("dequantize=True")
        if self.levels is None:
            raise ValueError(
                f"{self.name}: dequantize=True needs grey levels (images: mnist, digits, a folder of png), "
                "and this data has none: leave dequantize out"
            )
        self._check_unit_interval("dequantize=True")
        parts = [Columns(self.train, Dequantization(self.levels))]
        for key, part in ((1, self.validation), (2, self.test)):
            parts.append(Columns({**part, "x": dequantized_once(part["x"], self.levels, seed, key)}))
        return self._with_parts(parts, dequantize=True, seed=seed)

    def __repr__(self) -> str:
        parts = ", ".join(f"{key}={value!r}" for key, value in self.protocol().items())
        return f"Splits({parts}, event_shape={self.event_shape}, classes={self.classes})"

    def _parts(self) -> tuple[Columns, Columns, Columns]:
        return self.train, self.validation, self.test

    def _with_parts(self, parts: list[Columns], **changes: Any) -> Splits:
        train, validation, test = parts
        return replace(self, train=train, validation=validation, test=test, truth=None, **changes)

    def _check_raw(self, option: str) -> None:
        """Refuse data that are prepared already."""
        done = "dequantized" if self.dequantize else self.binarize if self.binarize != "none" else None
        if done or self.train.transform is not None:
            how = f"already prepared ({done})" if done else "drawn through a transform of their own"
            raise ValueError(
                f"{self.name}: {option} needs the original grey values, but the data are {how}: load them again"
            )

    def _check_unit_interval(self, option: str) -> None:
        """Refuse data without `x` or with `x` outside [0, 1]."""
        for key, part in zip(_SPLITS, self._parts(), strict=True):
            if "x" not in part:
                raise ValueError(
                    f"{self.name}: {option} needs a column 'x', and the columns are {', '.join(part)}: rename one"
                )
            low, high = _extremes(part["x"])
            if not (low >= 0 and high <= 1):
                raise ValueError(
                    f"{self.name}: {option} needs x within [0, 1], but {key} has values from {low:g} to {high:g}: "
                    f"rescale x, or leave {option.partition('=')[0]} out"
                )


def check_mode(mode: str) -> None:
    """Refuse an unknown mode of binarization.

    Args:
        mode: the mode.

    Raises:
        ValueError: it is unknown; the message names the nearest known one.
    """
    if mode not in MODES:
        raise ValueError(f"binarize: expected one of {', '.join(MODES)}, got {mode!r}{did_you_mean(mode, MODES)}")


def _extremes(x: Tensor) -> tuple[float, float]:
    if x.numel() == 0:
        return 0.0, 0.0
    extremes = torch.stack([torch.stack(torch.aminmax(chunk)) for chunk in chunks(x)])
    return float(extremes[:, 0].min()), float(extremes[:, 1].max())
