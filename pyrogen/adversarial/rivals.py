"""What the adversarial training step requires of a story."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pyrogen.inference.program.program import Program
from pyrogen.story import Batch

GeneratorLoss = Callable[[Tensor], Tensor]
"""From generated data to the generator's adversarial loss."""


class Rivals(Protocol):
    """Generator and critic, and what each of them minimizes."""

    critic: nn.Module
    training_spec: Any
    score: Callable[..., Tensor]

    @property
    def name(self) -> str:
        """How messages call the story."""

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""

    @property
    def elbo(self) -> bool:
        """Whether `generator_loss` returns minus an ELBO."""

    def scaled(self, x: Tensor) -> Tensor:
        """Data as the critic receives them.

        Args:
            x: (..., *event_shape).
        """

    def unscaled(self, u: Tensor) -> Tensor:
        """The inverse of `scaled`.

        Args:
            u: (..., *event_shape).
        """

    def generated(self, program: Program, batch: Batch) -> Tensor:
        """Generated data, to be compared with the batch's.

        Args:
            program: the story's.
            batch: the rows.
        """

    def generator_loss(self, program: Program, batch: Batch, adversarial: GeneratorLoss) -> tuple[Tensor, Tensor]:
        """The generator's loss, and the part of it that a record holds.

        Args:
            program: the story's.
            batch: the rows.
            adversarial: from generated data to the adversarial loss.
        """
