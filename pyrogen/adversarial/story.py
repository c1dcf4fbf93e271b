"""The base of adversarial stories: a generator, which is the model, and a critic, trained in turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrogen.adversarial.losses import AdversarialLoss, NonSaturating
from pyrogen.adversarial.rivals import GeneratorLoss
from pyrogen.adversarial.steps import AdversarialSteps
from pyrogen.distributions import Prior, StandardNormal
from pyrogen.inference import adam
from pyrogen.inference.program.options import Options
from pyrogen.inference.program.program import Program
from pyrogen.nn import Shape, as_shape
from pyrogen.story import Batch, Story, check_event

RATE, BETAS, EMA = 1e-3, (0.5, 0.99), 0.999
"""Defaults of Adam and of averaged weights."""


class Adversarial(Story):
    """A story whose model maps latents to x, without a density of x, and is trained with a critic.

    An output of the generator becomes x = (1 + tanh(out)) / 2 where data are bounded, else x = mean + sd * out, with
    the training data's mean and standard deviation. The critic receives data on the scale of `out`.

    `fit` updates both in turn with a loss of `pyrogen.adversarial` (by default `objective=NonSaturating()`), Adam (by
    default with learning rate 1e-3 and betas 0.5 and 0.99), and averaged weights of the generator (by default
    `ema=0.999`). Validation data do not select weights. Each record of the history holds running means over some
    hundred steps: `critic_loss`, `generator_loss`, the norms of their gradients `critic_gradient` and
    `generator_gradient`, and `critic_accuracy` (share of pairs in which a real datum scores above a generated one);
    further `validation_accuracy` (that of held-out data: lower where the critic overfits), `diversity` (see
    `pyrogen.adversarial.diversity`) and, where training fails, `health` (see `pyrogen.adversarial.detect_failures`).

    A subclass defines `model`, which returns a draw of x where x is None, and `score`, which requests x and the
    critic's other inputs by name. Parameters of the module `critic` are the critic's, all others the generator's.

    Args:
        event_shape: shape of one datum.
        latent: number of latents, or their shape.
        prior: p(z); None: standard normal.
        generator: from z to x.
        critic: from x to a score.
        bounded: whether data lie between 0 and 1; None: those of three dimensions, such as images, do.

    Raises:
        ValueError: the prior is for other latents; by `check`, x has another event shape, or leaves its bounds.
    """

    unsupported = {
        "guide": "a generator does not infer the latents of a datum",
        "density": "generated data fill a thin surface at most, and no density is known there: compare samples with "
        "data",
        "svi": "critic and generator minimize a loss each, and neither is a bound: pass one of pyrogen.adversarial's "
        "losses as objective=, such as Hinge() (--objective hinge)",
    }

    elbo: ClassVar[bool] = False
    """Whether `generator_loss` returns minus the ELBO of model and guide, which the history then holds."""

    score: Callable[..., Tensor]

    def __init__(
        self,
        event_shape: Shape,
        latent: Shape,
        *,
        prior: Prior | None,
        generator: nn.Module,
        critic: nn.Module,
        bounded: bool | None,
    ) -> None:
        super().__init__()
        self.event_shape, self.latent_shape = x, z = as_shape(event_shape), as_shape(latent)
        self.prior = StandardNormal(z) if prior is None else prior
        self.prior.check(z)
        self.generator, self.critic = generator, critic
        self.bounded = len(x) == 3 if bounded is None else bounded
        middle = 0.5 if self.bounded else 0.0
        self.loc = nn.Buffer(torch.full(x, middle))
        self.scale = nn.Buffer(torch.full(x, middle or 1.0))

    def generated(self, program: Program, batch: Batch) -> Tensor:
        """Generated data, which the critic compares with the batch's `x`: a draw of the model for each row.

        Args:
            program: the story's.
            batch: n rows.

        Returns:
            (n, *event_shape).
        """
        return program.model(replace(batch, columns={**batch.columns, "x": None}))

    def generator_loss(self, program: Program, batch: Batch, adversarial: GeneratorLoss) -> tuple[Tensor, Tensor]:
        """The generator's loss.

        Args:
            program: the story's.
            batch: n rows.
            adversarial: from generated data to the adversarial loss.

        Returns:
            The loss, and the part of it that the history holds, in nats per datum.
        """
        loss = adversarial(self.generated(program, batch))
        return loss, loss.detach()

    def training_steps(self, program: Program, options: Options, batches: Any, validation: Any) -> AdversarialSteps:
        """The training step by which `fit` trains the story.

        Args:
            program: the story with its arguments.
            options: of `fit`.
            batches: the training data.
            validation: the validation data, or None.

        Returns:
            The training step.

        Raises:
            ValueError: the objective is no adversarial loss, or an option does not apply.
        """
        losses = NonSaturating() if options.objective is None else options.objective
        if not isinstance(losses, AdversarialLoss):
            self.require("svi")
        if options.compile is True:
            raise ValueError(f"{self.name}: {AdversarialSteps.mode_reason}: leave compile=True out")
        if options.patience is not None:
            raise ValueError(
                f"{self.name}: patience waits for a better validation ELBO, which does not select weights here"
            )
        chosen = replace(
            options,
            optimizer=adam(RATE, betas=BETAS) if options.optimizer is None else options.optimizer,
            ema=EMA if options.ema is None else options.ema,
        )
        return AdversarialSteps(self, program, losses, chosen, batches, validation)

    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Take the scale of unbounded data from the training columns.

        Args:
            data: the columns.
        """
        self.prior.prepare(data["x"])
        if not self.bounded:
            scale, loc = torch.std_mean(data["x"], dim=0, correction=0)
            self.loc.copy_(loc)
            self.scale.copy_(torch.where(scale > 0, scale, 1.0))

    def check(self, data: Mapping[str, Tensor]) -> None:
        """Refuse an x of another event shape, or outside its bounds.

        Args:
            data: the columns.

        Raises:
            ValueError: x is outside its bounds.
        """
        x = data.get("x")
        check_event(self.name, "event_shape", data, self.event_shape, integer=False)
        if self.bounded and x is not None and not bool(((x >= 0) & (x <= 1)).all()):
            raise ValueError(
                f"{self.name} takes a column 'x' between 0 and 1, got values from {float(x.min()):.4g} to "
                f"{float(x.max()):.4g}: divide images by their largest value, or build the story with bounded=False"
            )

    def scaled(self, x: Tensor) -> Tensor:
        """Data as the critic receives them: from -1 to 1 where they are bounded, else standardized.

        Args:
            x: (..., *event_shape).

        Returns:
            (..., *event_shape).
        """
        return (x - self.loc) / self.scale

    def unscaled(self, u: Tensor) -> Tensor:
        """The inverse of `scaled`.

        Args:
            u: (..., *event_shape).

        Returns:
            (..., *event_shape).
        """
        return self.loc + self.scale * u

    def _made(self, out: Tensor) -> Tensor:
        """Outputs of the generator as data."""
        return self.unscaled(out.tanh() if self.bounded else out)

    def _encode(self, x: Tensor) -> dist.TorchDistribution:
        raise ValueError(f"{self.name}: a prior that uses an encoder needs a story that has one, such as VAEGAN")
