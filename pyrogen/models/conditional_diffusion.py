"""Diffusion given a class, with guidance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pyrogen.distributions import Family, NoiseSchedule, Prediction, PredictV
from pyrogen.models.checks import is_number_between
from pyrogen.models.diffusion import Diffusion
from pyrogen.nn import DenseDenoiser, Label, Shape
from pyrogen.story import Labelled


class ConditionalDiffusion(Labelled, Diffusion):
    """The story of `Diffusion` given a label y, which is an input of the network: p(x | y).

    In training, labels are dropped at random, so that one network predicts x(z_t, y) and, without a label, x(z_t).
    `draw` can then use classifier-free guidance of weight w, (1 + w) x(z_t, y) - w x(z_t) in place of x(z_t, y):
    samples become more typical of their class and less diverse, and no longer follow the model.

    Args:
        event_shape: shape of one datum, such as (1, 28, 28).
        classes: number of classes of y, int64 (n,) from 0 to classes - 1.
        num_timesteps: number of timesteps T; 1000 by default.
        label_dropout: probability that a label is dropped in training; 0.1 by default.
        likelihood: as `Diffusion`'s; any numbers by default.
        prediction: what the network predicts; `PredictV()` by default.
        schedule: as `Diffusion`'s; a cosine schedule by default.
        network: as `Diffusion`'s, with a one-hot label (batch, classes), all zeros where it is dropped; a dense network
            by default.
        timesteps_per_datum: as `Diffusion`'s; 1 by default.
        simple_loss: as `Diffusion`'s; False by default.
        hidden: widths of the dense network's hidden layers; (256, 256, 256) by default.

    Raises:
        ValueError: as for `Diffusion`; or `label_dropout` is not a probability below 1.

    Example:
        >>> story = ConditionalDiffusion(2, classes=3, num_timesteps=20, hidden=(16,))
        >>> story.sample(5, y=1).shape, story.draw(5, y=1, steps=5, eta=0, guidance=2.0).shape
        (torch.Size([5, 2]), torch.Size([5, 2]))

    References:
        Ho, Salimans 2022, arXiv:2207.12598.
    """

    def __init__(
        self,
        event_shape: Shape,
        classes: int,
        num_timesteps: int = 1000,
        *,
        label_dropout: float = 0.1,
        likelihood: Family | None = None,
        prediction: Prediction = PredictV(),  # noqa: B008 (frozen)
        schedule: NoiseSchedule | None = None,
        network: nn.Module | None = None,
        timesteps_per_datum: int | None = 1,
        simple_loss: bool = False,
        hidden: Sequence[int] = (256, 256, 256),
    ) -> None:
        network = DenseDenoiser(event_shape, hidden, labels=classes) if network is None else network
        parts: dict[str, Any] = {"likelihood": likelihood, "prediction": prediction, "schedule": schedule}
        parts |= {"network": network, "timesteps_per_datum": timesteps_per_datum, "simple_loss": simple_loss}
        super().__init__(event_shape, num_timesteps, **parts)
        if not 0 <= label_dropout < 1:
            raise ValueError(f"label_dropout is a probability below 1, got label_dropout={label_dropout!r}")
        self.label, self.label_dropout = Label(classes), label_dropout

    def model(self, x: Tensor | None, y: Tensor, n: int) -> Tensor:  # type: ignore[override]
        """p(z_T) p(z_{T-1} | z_T, y) ... p(z_1 | z_2, y) p(x | z_1).

        Args:
            x: data to observe, (n, *event_shape), or None to draw them.
            y: labels, (n,) int64.
            n: number of rows.

        Returns:
            x, drawn or observed, (n, *event_shape).
        """
        label = self.label(y)
        if self.training and self.label_dropout:
            label = label * (torch.rand_like(label[..., :1]) >= self.label_dropout)
        return self._model(x, label, n)

    def guide(self, x: Tensor, y: Tensor, n: int) -> None:  # type: ignore[override]
        """q(z_T | x) ... q(z_1 | z_2, x), which does not depend on the label.

        Args:
            x: data, (n, *event_shape).
            y: labels, (n,) int64.
            n: number of rows.
        """
        super().guide(x, n)

    def draw(  # type: ignore[override]
        self, n: int, y: Any, steps: int | None = None, eta: float = 1.0, guidance: float = 0.0
    ) -> Tensor:
        """Draw new data of the labels `y`, with fewer timesteps or less noise than `sample`, or with guidance.

        Args:
            n: number of data to draw.
            y: labels, one for each or one for all.
            steps: as `Diffusion.draw`'s.
            eta: as `Diffusion.draw`'s; 1 by default.
            guidance: weight w of the guidance; 0 by default, the model's own p(x | y).

        Returns:
            (n, *event_shape).

        Raises:
            ValueError: `guidance` is negative, or it is positive and no label was dropped in training.
        """
        if not is_number_between(guidance, 0, math.inf):
            raise ValueError(f"guidance is a number of at least 0, got guidance={guidance!r}")
        if guidance and not self.label_dropout:
            raise ValueError(
                f"guidance={guidance} needs predictions without a label, which {self.name} with label_dropout=0 has "
                "not learned: train with label_dropout=0.1, or draw with guidance=0"
            )
        y = self.label.checked(self.name, y, n).to(self.device)
        with self.predicting():
            *_, (_, z) = self.reverse_trajectory(self.prior().sample((n,)), steps, eta, self.label(y), guidance)
            return self.reconstruction(z).sample()
