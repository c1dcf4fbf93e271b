"""What every adversarial story has: a generator, which is its model, and a critic that is trained in turn with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrogen.adversarial.losses import AdversarialLoss, NonSaturating
from pyrogen.adversarial.steps import AdversarialSteps, GeneratorLoss
from pyrogen.distributions import Prior, StandardNormal
from pyrogen.inference import adam
from pyrogen.inference.program.options import Options
from pyrogen.inference.program.program import Program
from pyrogen.nn import Shape, as_shape
from pyrogen.story import Batch, Story, check_event

__all__ = ["BETAS", "EMA", "RATE", "Adversarial"]

RATE, BETAS, EMA = 1e-3, (0.5, 0.99), 0.999
"""Of Adam and of averaged weights, where `fit` is not told."""


class Adversarial(Story):
    """A story whose model makes x of latents, without a density of x, and learns from a critic.

    Of what comes out of the generator is made x = (1 + tanh(out)) / 2 where data are bounded, else x = mean + sd * out,
    by the training data's mean and standard deviation. The critic sees either on the scale of `out`.

    `fit` moves both in turn, by one of `pyrogen.adversarial`'s games: `objective=NonSaturating()`, unless told
    otherwise; with Adam of rate 1e-3 and betas 0.5 and 0.99, unless told otherwise; and with averaged weights of the
    generator, `ema=0.999`, unless told otherwise. Weights are not chosen on validation data. Each record of the history
    tells running means over some hundred steps, `critic_loss`, `generator_loss`, the norms of their gradients
    `critic_gradient` and `generator_gradient`, and `critic_accuracy` (how often a real datum scores above a generated
    one); further `validation_accuracy` (that of held-out data: lower, where the critic knows its data by heart),
    `diversity` (see `pyrogen.adversarial.diversity`) and, where something ails, `health` (see
    `pyrogen.adversarial.detect_failures`).

    A subclass defines `model`, which returns a draw of x where x is None, and `score`, which asks by name for x and
    what else the critic is told. Parameters of the module `critic` are the critic's, all others the generator's.

    Args:
        event_shape: shape of one datum.
        latent: number of latents, or their shape.
        prior: p(z); None: standard normal.
        generator: makes x of z.
        critic: scores x.
        bounded: whether data lie between 0 and 1; None: those of three dimensions, as images have them, do.

    Raises:
        ValueError: the prior is for other latents; by `check`, x has another event shape, or leaves its bounds.
    """

    unsupported = {
        "guide": "a generator does not say which z a datum came of",
        "density": "generated data fill a thin surface at most, and no density is known there: compare samples with "
        "data",
        "svi": "two players minimize a loss each, none of them a bound: pass one of pyrogen.adversarial's games as "
        "objective=, such as Hinge() (--objective hinge)",
    }

    elbo: ClassVar[bool] = False
    """Whether `generator_loss` tells minus the ELBO of model and guide, which the history then tells."""

    if TYPE_CHECKING:
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
        self.loc: Tensor
        self.scale: Tensor
        self.register_buffer("loc", torch.full(x, middle))
        self.register_buffer("scale", torch.full(x, middle or 1.0))

    def generated(self, program: Program, batch: Batch) -> Tensor:
        """What the critic is to hold against the batch's `x`: a draw of the model for each row, (n, *event_shape)."""
        drawn: Tensor = program.model(replace(batch, columns={**batch.columns, "x": None}))
        return drawn

    def generator_loss(self, program: Program, batch: Batch, judge: GeneratorLoss) -> tuple[Tensor, Tensor]:
        """What the generator minimizes, and what of it the history should tell."""
        loss = judge(self.generated(program, batch))
        return loss, loss.detach()

    def training_steps(self, program: Program, options: Options, batches: Any, validation: Any) -> AdversarialSteps:
        """The steps by which `fit` trains the story.

        Raises:
            ValueError: an objective that is no game, or an option that has no meaning for two players.
        """
        game = NonSaturating() if options.objective is None else options.objective
        if not isinstance(game, AdversarialLoss):
            self.require("svi")
        if options.compile is True:
            raise ValueError(f"{self.name}: {AdversarialSteps.mode_reason}: leave compile=True out")
        if options.patience is not None:
            raise ValueError(f"{self.name}: patience waits for a better validation ELBO, which chooses no weights here")
        chosen = replace(
            options,
            optimizer=adam(RATE, betas=BETAS) if options.optimizer is None else options.optimizer,
            ema=EMA if options.ema is None else options.ema,
        )
        return AdversarialSteps(self, program, game, chosen, batches, validation)

    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Take the scale of unbounded data from the training columns."""
        self.prior.prepare(data["x"])
        if not self.bounded:
            scale, loc = torch.std_mean(data["x"], dim=0, correction=0)
            self.loc.copy_(loc)
            self.scale.copy_(torch.where(scale > 0, scale, 1.0))

    def check(self, data: Mapping[str, Tensor]) -> None:
        """Refuse an x of another event shape, or outside its bounds."""
        x = data.get("x")
        check_event(self.name, "event_shape", data, self.event_shape)
        if self.bounded and x is not None and not bool(((x >= 0) & (x <= 1)).all()):
            raise ValueError(
                f"{self.name} takes a column 'x' between 0 and 1, got values from {float(x.min()):.4g} to "
                f"{float(x.max()):.4g}: divide images by their largest value, or build the story with bounded=False"
            )

    def scaled(self, x: Tensor) -> Tensor:
        """`x` (..., *event_shape) as the critic sees it: from -1 to 1 where it is bounded, else standardized."""
        return (x - self.loc) / self.scale

    def unscaled(self, u: Tensor) -> Tensor:
        """The inverse of `scaled`."""
        return self.loc + self.scale * u

    def _made(self, out: Tensor) -> Tensor:
        """The data that a generator's outputs stand for."""
        return self.unscaled(out.tanh() if self.bounded else out)

    def _encode(self, x: Tensor) -> dist.TorchDistribution:
        raise ValueError(f"{self.name}: a prior that is built of an encoder needs a story that has one, such as VAEGAN")
