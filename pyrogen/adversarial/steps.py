"""Two players in turn: the steps by which an adversarial story trains."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn

from pyrogen.adversarial.failures import detect_failures, diversity
from pyrogen.adversarial.losses import AdversarialLoss
from pyrogen.inference.batching.row_batches import RowBatches, materialize
from pyrogen.inference.optim.freezing import frozen_parameters
from pyrogen.inference.optim.optimizer import Optimization
from pyrogen.inference.program.input_checks import check_sites
from pyrogen.inference.program.options import Options
from pyrogen.inference.program.program import Program, Recording
from pyrogen.inference.program.isolation import isolated_run, preserve_buffers, live_weights
from pyrogen.inference.program.rng import seeded
from pyrogen.inference.training.validation import VALIDATION_SEED_OFFSET, mean_elbo
from pyrogen.story import Batch, Signature

if TYPE_CHECKING:
    from pyrogen.adversarial.story import Adversarial

__all__ = ["AdversarialSteps", "GeneratorLoss"]

GeneratorLoss = Callable[[Tensor], Tensor]
"""From generated data to the generator's loss in the game."""

LOOKED_AT = 128
"""Rows, and as many generated ones, that a record's diversity and held-out accuracy are of."""
MEMORY = 0.01
"""Weight of the newest step in a record's running means, which so reach back some hundred steps."""
BEGUN = 1000
"""Steps after which detect_failures are told: at first every generator makes one thing, and every critic tells it."""

_log = logging.getLogger(__name__)


class AdversarialSteps:
    """Steps in which the critic moves, and in every `critic_steps`-th of them the generator after it.

    A player's gradients are taken with respect to its own parameters alone, and buffers of the other's, such as the
    running means of a batch normalization, are put back after the turn: the other player stays as it is to the bit.

    Args:
        story: whose players they are. The critic's parameters are those of `story.critic`, all others the generator's.
        program: the story with its arguments.
        game: what each of the two minimizes.
        options: of the run; `ema` averages the generator's weights.
        batches: the training data.
        validation: data on which figures are taken too; weights are not chosen by them.
    """

    mode, mode_reason = "eager", "the turns of two players are not compiled"
    first_step_at: float | None = None

    def __init__(
        self,
        story: Adversarial,
        program: Program,
        game: AdversarialLoss,
        options: Options,
        batches: Any,
        validation: Any,
    ) -> None:
        self.story, self.program, self.game, self.options = story, program, game, options
        self.batches, self.validation = batches, validation
        self.elbo = self.story.elbo
        told = options.optimizer, options.schedule, options.clip_norm
        self.critic, self.generator = Optimization(*told, None), Optimization(*told, options.ema)
        own = {id(module) for module in self.story.critic.modules()}
        modules = self.story.all_modules()
        self._critics = [module for module in modules if id(module) in own]
        self._generators = [module for module in modules if id(module) not in own]
        self._score = Signature(self.story.score, f"{self.story.name}.score")
        self._met = False
        self.number, self.told = 0, 0.0
        self.means: dict[str, float] = {}
        self._divisors: dict[int, float] = {}
        self._ailing: list[str] = []
        self._looked_at: dict[str, Batch] = {}

    def __call__(self, batch: Batch, epoch: float) -> float:
        """The critic's turn, and the generator's if it is due; minus the ELBO in nats per datum, where there is one.

        Raises:
            FloatingPointError: a loss is not finite; the player whose turn it was did not move.
        """
        batch = self._named(batch, self.number)
        if not self._met:
            self.story.training_spec = self._meet(batch).training_spec()
        self._turn("critic", self.critic, self._generators, lambda: self._critic_loss(batch))
        if self.number % self.game.critic_steps == 0:
            self._turn("generator", self.generator, self._critics, lambda: self._generator_loss(batch))
        elif self.generator.schedule is not None:
            self.generator.schedule.step()  # it counts the steps of the run
        self.number += 1
        return self.told

    def _turn(self, who: str, player: Optimization, others: list[nn.Module], loss: Callable[[], Tensor]) -> None:
        """Move one player by the gradients of its loss with respect to its own parameters."""
        parameters = list(player.parameters.values())
        with preserve_buffers(others):
            with torch.autocast(self.story.device.type, torch.bfloat16, self.options.precision == "bfloat16"):
                value = loss()
            gradients: Sequence[Any] = torch.autograd.grad(value, parameters, allow_unused=True) if parameters else ()
        taken = [gradient for gradient in gradients if gradient is not None]
        if self.number == 0 and len(taken) < len(parameters):
            unused = next(n for n, g in zip(player.parameters, gradients, strict=True) if g is None)
            raise ValueError(
                f"{self.story.name}: parameter '{unused}' receives no gradient from the {who}'s loss: use it, remove "
                "it, or name it in freeze="
            )
        told, length = torch.stack([value.detach().double(), torch.nn.utils.get_total_norm(taken).double()]).tolist()
        if not math.isfinite(told):
            raise FloatingPointError(
                f"{self.story.name}: the {who}'s loss is {told} at step {self.number + 1}: lower the rate, or pass "
                f"clip_norm=; the {who} did not move in this step"
            )
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        if parameters:
            player.step(1.0)
        self._note(f"{who}_loss", told)
        self._note(f"{who}_gradient", length)

    def _critic_loss(self, batch: Batch) -> Tensor:
        x = batch.columns["x"]
        with torch.no_grad():
            made = self.story.generated(self.program, batch)
        real, fake = self._scores(x, batch), self._scores(made, batch)
        self._note("critic_accuracy", _accuracy(real, fake))
        seen = self.story.scaled(x), self.story.scaled(made[: len(x)])
        penalty = self.game.penalty(lambda u: self._scores(self.story.unscaled(u), batch), *seen)
        return self.game.critic(real, fake) + penalty

    def _generator_loss(self, batch: Batch) -> Tensor:
        loss, told = self.story.generator_loss(
            self.program, batch, lambda made: self.game.generator(self._scores(made, batch))
        )
        self.told = float(told)
        return loss

    def _scores(self, x: Tensor, batch: Batch) -> Tensor:
        """The critic's scores of `x`, beside what else of the batch it asks for by name."""
        args, kwargs = self._score.bind(replace(batch, columns={**batch.columns, "x": x}))
        scores: Tensor = self.story.score(*args, **kwargs)
        return scores

    def _note(self, name: str, value: float) -> None:
        before = self.means.get(name, value)
        self.means[name] = before + max(MEMORY, 1 / (self.number + 1)) * (value - before)

    def _named(self, batch: Batch, step: int = 0) -> Batch:
        batch = self.program.at_step(materialize(batch), step)
        columns: Mapping[Any, Any] = self.program.named(batch.columns)
        return replace(batch, columns=columns)

    def _meet(self, batch: Batch) -> Recording:
        """Take charge of the parameters, but for the frozen ones, once a run has shown that model and guide agree."""
        with isolated_run(self.story, keep_parameters=True):
            recording = Recording(batch).run(self.program)
        if self.elbo:
            check_sites(self.story, recording)
        parameters = {name: p for name, p in self.story.trainable().items() if p.requires_grad}
        frozen = frozen_parameters(self.options.freeze, parameters, recording)
        judging = {id(parameter) for parameter in self.story.critic.parameters()}
        for player, judges in ((self.critic, True), (self.generator, False)):
            moving = {n: p for n, p in parameters.items() if n not in frozen and (id(p) in judging) is judges}
            if moving:
                player.add_parameters(moving)
        if not (self.critic.parameters or self.generator.parameters):
            raise ValueError(f"freeze={list(self.options.freeze)} leaves no parameter to train")
        self._met = True
        return recording

    def run_steps(self, batch: Batch, most: int) -> list[float]:
        """None: every step is taken by itself."""
        return []

    def close(self) -> None:
        """Nothing to release."""

    def weights(self) -> dict[str, Tensor]:
        """Parameters and buffers, live."""
        return live_weights(self.story)

    def averages(self) -> dict[str, Tensor] | None:
        """The generator's averaged parameters, if they are kept."""
        return self.generator.averages

    def metrics(self) -> dict[str, Any]:
        """Rate, running means of losses, gradients and accuracy, the generator's diversity, and what ails the game."""
        told: dict[str, Any] = {"lr": self.generator.lr, **self.means}
        with seeded(self.options.seed), self.story.predicting():
            some = self._some("training")
            made = self.story.generated(self.program, some)[: some.n]
            told["diversity"] = diversity(made, some.columns["x"])
        if self.validation is not None:
            told |= self._held_out()
        ailing = detect_failures(told) if self.number >= BEGUN else []
        if ailing:
            told["health"] = "; ".join(ailing)
        self._log(ailing)
        return told

    def _held_out(self) -> dict[str, float]:
        """How the critic does on data that it was not trained on, and the ELBO where there is one."""
        seed = self.options.seed + VALIDATION_SEED_OFFSET
        with seeded(seed), self.story.predicting():
            some = self._some("validation")
            made = self.story.generated(self.program, some)[: some.n]
            scores = self._scores(some.columns["x"], some), self._scores(made, some)
            told = {"validation_accuracy": _accuracy(*scores)}
        if self.elbo:
            elbo = mean_elbo(self.program, Trace_ELBO(), self.validation, seed, self._divisors, self.number)
            told["validation_elbo"] = elbo
        return told

    def _some(self, data: str) -> Batch:
        """Rows from all over the training or validation data, the same each time; of a loader its first batch."""
        if data not in self._looked_at:
            batches = self.batches if data == "training" else self.validation
            some = batches.first()
            if isinstance(batches, RowBatches) and batches.rows is not None:
                index = torch.linspace(0, batches.rows - 1, min(batches.rows, LOOKED_AT)).long()
                some = Batch(batches.columns(index), len(index), batches.total, index)
            self._looked_at[data] = self._named(some, self.number)
        return self._looked_at[data]

    def _log(self, ailing: list[str]) -> None:
        """Say what ails the game when it begins to."""
        new = [words for words in ailing if words.split(":")[0] not in self._ailing]
        self._ailing = [words.split(":")[0] for words in ailing]
        for words in new:
            _log.warning("%s, step %d: %s", self.story.name, self.number, words)

    def state(self) -> dict[str, Any]:
        """Optimizers, schedules and averages of both, the number of steps taken, and the running means."""
        players = {"critic": self.critic.state(), "generator": self.generator.state()}
        return {**players, "number": self.number, "told": self.told, "means": self.means}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self._meet(self._named(self.batches.first()))
        self.critic.restore(state["critic"])
        self.generator.restore(state["generator"])
        self.number, self.told, self.means = state["number"], state["told"], state["means"]


def _accuracy(real: Tensor, fake: Tensor) -> float:
    """How often a real datum scores above a generated one: 1/2 where the critic cannot tell them."""
    return float((real > fake[: len(real)]).double().mean())
