"""Labels as inputs of networks: one of several classes, or a vector."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pyrogen.messages import refuse_masked
from pyrogen.nn.shapes import Shape, as_shape, flatten


class Label(nn.Module):
    """Encoding of a label y as a vector of C numbers: one-hot for one of C classes, a vector y as it is.

    Args:
        classes: number of classes C; None where y is a vector.
        condition: event shape of a vector y with C elements; None where y is a class.
        missing: whether -1 is accepted for an unknown class; False by default.

    Raises:
        ValueError: both or neither of `classes` and `condition` are given.

    Example:
        >>> Label(classes=3)(torch.tensor([2, 0])).tolist()
        [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """

    def __init__(self, classes: int | None = None, condition: Shape | None = None, missing: bool = False) -> None:
        super().__init__()
        if (classes is None) == (condition is None):
            raise ValueError(
                "pass classes=, the number of labels, or condition=, the shape of a vector y"
                + (", and not both" if classes is not None else ": exactly one of them is required")
            )
        self.shape = () if condition is None else as_shape(condition)
        self.size = math.prod(self.shape if classes is None else as_shape(classes))
        self.classes, self.missing = classes, missing
        self.eye = nn.Buffer(torch.eye(self.size), persistent=False)

    def forward(self, y: Tensor) -> Tensor:
        """Encode labels.

        Args:
            y: classes (...), int64, or vectors (..., *condition).

        Returns:
            The encoded labels, shape (..., C).
        """
        if self.classes is not None:
            return nn.functional.embedding(y, self.eye)
        return flatten(y, self.shape, "condition").to(self.eye.dtype)

    def check(self, name: str, data: Mapping[str, Tensor]) -> None:
        """Check the column `y` of a data set.

        Args:
            name: of the story, for the error message.
            data: the columns, each of shape (n, ...).

        Raises:
            ValueError: there is no column `y`, or its shape, type or values are not those of labels.
        """
        if "y" not in data:
            raise ValueError(f"{name} asks for 'y', and the data has no such column (columns: {', '.join(data)})")
        self._check(name, data["y"])

    def checked(self, name: str, value: Any, n: int) -> Tensor:
        """Convert labels to a checked column with one label per row.

        Args:
            name: of the story, for the error message.
            value: one label for all rows, or one for each, as anything that `torch.as_tensor` takes.
            n: number of rows.

        Returns:
            The labels, shape (n,) or (n, *condition).

        Raises:
            TypeError: the value is no number and holds none.
            ValueError: the number of labels is neither 1 nor `n`, or they are no labels (see `check`).
        """
        refuse_masked(f"{name}: the labels 'y'", value)
        try:
            y = torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(
                f"{name}: 'y' is a {type(value).__name__} that holds no labels: expected one label, or one for each row"
            ) from None
        y = y.expand(n, *self.shape) if tuple(y.shape) == self.shape else y
        if y.dim() == 0 or len(y) != n:
            count = len(y) if y.dim() else 1
            raise ValueError(f"{name}: {count} labels 'y' for {n} rows, expected one for each, or one for all")
        self._check(name, y)
        return y

    def _check(self, name: str, y: Tensor) -> None:
        if tuple(y.shape[1:]) != self.shape:
            expected = ", ".join(["n", *map(str, self.shape)])
            raise ValueError(f"{name} takes a column 'y' of shape ({expected}), got {tuple(y.shape)}: reshape it")
        if self.classes is None:
            return
        if y.dtype != torch.int64:
            raise ValueError(f"{name} takes labels 'y' of type int64, got {y.dtype}: convert them with y.long()")
        wrong = y[(y < (-1 if self.missing else 0)) | (y >= self.classes)]
        if wrong.numel():
            unknown = " or -1 where it is not known" if self.missing else ""
            raise ValueError(
                f"{name}: {wrong.numel()} of {len(y)} labels 'y' are none of 0 to {self.classes - 1}{unknown}, such as "
                f"{int(wrong[0])}{_MISSING if not self.missing and int(wrong[0]) == -1 else ''}"
            )


_MISSING = ": missing labels (-1) need a SemiSupervisedVAE (conditional_vae with --set missing=true)"
