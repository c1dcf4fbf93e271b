"""Diffusion given a class, with guidance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pyrogen.distributions import Family, NoiseSchedule, Prediction, PredictV
from pyrogen.models.diffusion import Diffusion
from pyrogen.models.forward_process import is_between
from pyrogen.nn import DenseDenoiser, Label, Shape
from pyrogen.story import Labelled

__all__ = ["ConditionalDiffusion"]


class ConditionalDiffusion(Labelled, Diffusion):
    """The story of `Diffusion` given a label y, of which the network is told: p(x | y).

    In training some labels are withheld, so that one network knows x(z_t, y) and x(z_t) without a label. `draw` can
    then go beyond the label by a guidance w, with (1 + w) x(z_t, y) - w x(z_t) in place of x(z_t, y): samples become
    more typical of their class and less diverse, and are no longer the model's.

    Args:
        event_shape: as `Diffusion`'s.
        classes: y is one of so many classes, int64 (n,).
        depth, likelihood, prediction, schedule, drawn, simple, hidden: as `Diffusion`'s.
        withheld: the probability that training withholds a label.
        network: as `Diffusion`'s, its label (batch, classes) of zeros and a one, all zeros where it is withheld; None:
            dense.

    Raises:
        ValueError: see `Diffusion`; `withheld` is no probability below 1; by `check`, a y that is none of the classes.

    Example:
        >>> story = ConditionalDiffusion(2, classes=3, depth=20, hidden=(16,))
        >>> story.sample(5, y=1).shape, story.draw(5, y=1, steps=5, eta=0, guidance=2.0).shape
        (torch.Size([5, 2]), torch.Size([5, 2]))

    References:
        Ho, Salimans 2022, arXiv:2207.12598.
    """

    def __init__(
        self,
        event_shape: Shape,
        classes: int,
        depth: int = 1000,
        *,
        withheld: float = 0.1,
        likelihood: Family | None = None,
        prediction: Prediction = PredictV(),  # noqa: B008 (frozen)
        schedule: NoiseSchedule | None = None,
        network: nn.Module | None = None,
        drawn: int | None = 1,
        simple: bool = False,
        hidden: Sequence[int] = (256, 256, 256),
    ) -> None:
        network = DenseDenoiser(event_shape, hidden, labels=classes) if network is None else network
        parts: dict[str, Any] = {"likelihood": likelihood, "prediction": prediction, "schedule": schedule}
        super().__init__(event_shape, depth, network=network, drawn=drawn, simple=simple, **parts)
        if not 0 <= withheld < 1:
            raise ValueError(f"withheld is a probability of at least 0 and below 1, got withheld={withheld!r}")
        self.label, self.withheld = Label(classes), withheld

    def model(self, x: Tensor | None, y: Tensor, n: int) -> Tensor:  # type: ignore[override]
        """p(z_T) p(z_{T-1} | z_T, y) ... p(z_1 | z_2, y) p(x | z_1)."""
        label = self.label(y)
        if self.training and self.withheld:
            label = label * (torch.rand_like(label[..., :1]) >= self.withheld)
        return self._told(x, label, n)

    def guide(self, x: Tensor, y: Tensor, n: int) -> None:  # type: ignore[override]
        """q(z_T | x) ... q(z_1 | z_2, x): noise, whatever the label."""
        self._add_noise(x, n)

    def draw(  # type: ignore[override]
        self, n: int, y: Any, steps: int | None = None, eta: float = 1.0, guidance: float = 0.0
    ) -> Tensor:
        """Draw `n` new data of the labels `y`, one for each or one for all, as `Diffusion.draw`.

        Args:
            n: how many.
            y: a label, or (n,) labels.
            steps: as `Diffusion.draw`'s.
            eta: as `Diffusion.draw`'s.
            guidance: w; 0: the model's own p(x | y).

        Raises:
            ValueError: see `Diffusion.draw`; a negative `guidance`, or any where no label was withheld in training.
        """
        if not is_between(guidance, 0, math.inf):
            raise ValueError(f"guidance is a number of at least 0, got guidance={guidance!r}")
        if guidance and not self.withheld:
            raise ValueError(
                f"guidance={guidance} goes away from x(z_t) without a label, which {self.name} of withheld=0 has not "
                "learned: train with withheld=0.1, or draw with guidance=0"
            )
        y = self.label.checked(self.name, y, n).to(self.device)
        with self.predicting():
            *_, (_, z) = self.descend(self.prior().sample((n,)), steps, eta, self.label(y), guidance)
            return self.read(z).sample()
