"""What a conditional story is told of a datum: one of several classes, or a vector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pyrogen.nn.shapes import Shape, as_shape, flatten

__all__ = ["Label"]


class Label(nn.Module):
    """A label y as numbers for a network: one of C classes as a row of the identity, a vector as it is.

    Args:
        classes: number of classes C.
        condition: in place of it: the event shape of a vector y, flattened to C numbers.
        missing: whether -1 says that a class is not known.

    Raises:
        ValueError: both or neither of `classes` and `condition`; by `check` and `checked`, a y that is no label.

    Example:
        >>> Label(classes=3)(torch.tensor([2, 0])).tolist()
        [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """

    def __init__(self, classes: int | None = None, condition: Shape | None = None, missing: bool = False) -> None:
        super().__init__()
        if (classes is None) == (condition is None):
            raise ValueError(
                "pass classes=, the number of labels, or condition=, the shape of a vector y"
                + (", and not both" if classes is not None else ": the story must know what y is")
            )
        self.shape = () if condition is None else as_shape(condition)
        (self.size,) = as_shape(classes) if classes is not None else (torch.Size(self.shape).numel(),)
        self.classes, self.missing = classes, missing
        self.eye: Tensor
        self.register_buffer("eye", torch.eye(self.size), persistent=False)

    def forward(self, y: Tensor) -> Tensor:
        """The numbers (..., C) of labels `y` (...), or of vectors (..., *condition)."""
        if self.classes is not None:
            return nn.functional.embedding(y, self.eye)
        return flatten(y, self.shape, "condition").to(self.eye.dtype)

    def check(self, who: str, data: Mapping[str, Tensor]) -> None:
        """Refuse a column `y` that the story `who` cannot take."""
        if "y" not in data:
            raise ValueError(f"{who} asks for 'y', and the data has no such column (columns: {', '.join(data)})")
        self._check(who, data["y"])

    def checked(self, who: str, value: Any, n: int) -> Tensor:
        """A label for each of `n` rows, or one for all of them, as a column (n, ...)."""
        y = torch.as_tensor(value)
        y = y.expand(n, *self.shape) if tuple(y.shape) == self.shape else y
        if len(y) != n:
            raise ValueError(f"{who}: {len(y)} labels for {n} rows, expected one for each, or one for all")
        self._check(who, y)
        return y

    def _check(self, who: str, y: Tensor) -> None:
        if tuple(y.shape[1:]) != self.shape:
            expected = ", ".join(["n", *map(str, self.shape)])
            raise ValueError(f"{who} takes a column 'y' of shape ({expected}), got {tuple(y.shape)}: reshape it")
        if self.classes is None:
            return
        if y.dtype != torch.int64:
            raise ValueError(f"{who} takes labels 'y' of type int64, got {y.dtype}: convert them with y.long()")
        wrong = y[(y < (-1 if self.missing else 0)) | (y >= self.classes)]
        if wrong.numel():
            unknown = " or -1 where it is not known" if self.missing else ""
            remedy = "" if self.missing or int(wrong[0]) != -1 else _MISSING
            raise ValueError(
                f"{who}: {wrong.numel()} of {len(y)} labels 'y' are none of 0 to {self.classes - 1}{unknown}, such as "
                f"{int(wrong[0])}{remedy}"
            )


_MISSING = ": labels that are missing (-1) are taken by SemiSupervisedVAE (conditional_vae with --set missing=true)"
