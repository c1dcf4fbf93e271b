"""The training step of an adversarial story: critic and generator in turn."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn

from pyrogen.adversarial.failures import detect_failures, diversity
from pyrogen.adversarial.losses import AdversarialLoss
from pyrogen.adversarial.rivals import Rivals
from pyrogen.inference.batching.row_batches import RowBatches, materialize
from pyrogen.inference.optim.freezing import frozen_parameters
from pyrogen.inference.optim.gradients import set_gradients
from pyrogen.inference.optim.optimizer import Optimization
from pyrogen.inference.program.isolation import isolated_run, live_weights, preserve_buffers
from pyrogen.inference.program.nonfinite import advise_scale
from pyrogen.inference.program.options import Options
from pyrogen.inference.program.program import Program, Recording
from pyrogen.inference.program.rng import seeded
from pyrogen.inference.program.site_checks import check_sites
from pyrogen.inference.training.training_step import TrainingStep
from pyrogen.inference.training.validation import VALIDATION_SEED_OFFSET, mean_elbo
from pyrogen.story import Batch, Signature

METRIC_ROWS = 128
"""Rows, and as many generated ones, from which diversity and held-out accuracy are computed."""
RUNNING_MEAN_WEIGHT = 0.01
"""Weight of the newest step in the running means of a record, which so cover some hundred steps."""
MIN_STEPS_TO_DIAGNOSE = 1000
"""Steps before failures are reported: at first every generator makes one thing, and every critic recognizes it."""

_log = logging.getLogger(__name__)


class AdversarialSteps(TrainingStep):
    """A step updates the critic, and every `critic_steps`-th one the generator after it.

    Gradients are taken with respect to the parameters of the network that is updated, and buffers of the other one,
    such as the running means of a batch normalization, are restored afterwards: it is unchanged to the bit.

    Args:
        story: the story. The critic's parameters are those of `story.critic`, all others the generator's.
        program: the story with its arguments.
        losses: what each of the two minimizes.
        options: of the run; `ema` averages the generator's weights.
        batches: the training data.
        validation: data on which metrics are computed too, or None; they do not select weights.
    """

    mode, mode_reason = "eager", "alternating updates of critic and generator are not compiled"
    first_step_at: float | None = None

    def __init__(
        self, story: Rivals, program: Program, losses: AdversarialLoss, options: Options, batches: Any, validation: Any
    ) -> None:
        self.story, self.program, self.losses, self.options = story, program, losses, options
        self.batches, self.validation = batches, validation
        self.elbo = self.story.elbo
        common = options.optimizer, options.schedule, options.clip_norm
        self.critic, self.generator = Optimization(*common, None), Optimization(*common, options.ema)
        own = {id(module) for module in self.story.critic.modules()}
        modules = program.story.all_modules()
        self._critic_modules = [module for module in modules if id(module) in own]
        self._generator_modules = [module for module in modules if id(module) not in own]
        self._score = Signature(self.story.score, f"{self.story.name}.score")
        self._registered = False
        self.number, self.minus_elbo = 0, 0.0
        self.means: dict[str, float] = {}
        self._divisors: dict[int, float] = {}
        self._reported: list[str] = []
        self._metric_rows: dict[str, Batch] = {}

    def __call__(self, batch: Batch, epoch: float) -> float:
        """Update the critic, and the generator if it is due; a loss that is not finite raises FloatingPointError.

        Args:
            batch: the rows.
            epoch: epochs into training; ignored.

        Returns:
            Minus the ELBO before the step, in nats per datum, where there is one, else 0.
        """
        batch = self._named(batch, self.number)
        if not self._registered:
            self.story.training_spec = self._register(batch).training_spec()
        self._update("critic", self.critic, self._generator_modules, lambda: self._critic_loss(batch))
        if self.number % self.losses.critic_steps == 0:
            self._update("generator", self.generator, self._critic_modules, lambda: self._generator_loss(batch))
        elif self.generator.schedule is not None:
            self.generator.schedule.step()  # schedules count the steps of the run
        self.number += 1
        return self.minus_elbo

    def _update(
        self, who: str, optimization: Optimization, others: list[nn.Module], loss: Callable[[], Tensor]
    ) -> None:
        """Update one network by the gradients of its loss with respect to its own parameters."""
        parameters = list(optimization.parameters.values())
        with preserve_buffers(others):
            with torch.autocast(self.story.device.type, torch.bfloat16, self.options.precision == "bfloat16"):
                value = loss()
            gradients: Sequence[Any] = torch.autograd.grad(value, parameters, allow_unused=True) if parameters else ()
        received = [gradient for gradient in gradients if gradient is not None]
        if self.number == 0 and len(received) < len(parameters):
            unused = next(n for n, g in zip(optimization.parameters, gradients, strict=True) if g is None)
            raise ValueError(
                f"{self.story.name}: parameter '{unused}' receives no gradient from the {who}'s loss: use it, remove "
                "it, or name it in freeze="
            )
        norm = torch.nn.utils.get_total_norm(received)
        loss_value, gradient_norm = torch.stack([value.detach().double(), norm.double()]).tolist()
        if not math.isfinite(loss_value):
            raise FloatingPointError(
                f"{self.story.name}: the {who}'s loss is {loss_value} at step {self.number + 1}: "
                f"{advise_scale(self.batches.stored)}lower the learning rate, or pass clip_norm=; the {who} was not "
                "updated in this step"
            )
        set_gradients(parameters, gradients)
        if parameters:
            optimization.step(1.0)
        self._record_mean(f"{who}_loss", loss_value)
        self._record_mean(f"{who}_gradient", gradient_norm)

    def _critic_loss(self, batch: Batch) -> Tensor:
        x = batch.columns["x"]
        with torch.no_grad():
            generated = self.story.generated(self.program, batch)
        real, fake = self._scores(x, batch), self._scores(generated, batch)
        self._record_mean("critic_accuracy", _accuracy(real, fake))
        inputs = self.story.scaled(x), self.story.scaled(generated[: len(x)])
        penalty = self.losses.penalty(lambda u: self._scores(self.story.unscaled(u), batch), *inputs)
        return self.losses.critic(real, fake) + penalty

    def _generator_loss(self, batch: Batch) -> Tensor:
        loss, minus_elbo = self.story.generator_loss(
            self.program, batch, lambda generated: self.losses.generator(self._scores(generated, batch))
        )
        self.minus_elbo = float(minus_elbo)
        return loss

    def _scores(self, x: Tensor, batch: Batch) -> Tensor:
        """The critic's scores of `x`, given the other columns that it requests by name."""
        args, kwargs = self._score.bind(replace(batch, columns={**batch.columns, "x": x}))
        return self.story.score(*args, **kwargs)

    def _record_mean(self, name: str, value: float) -> None:
        before = self.means.get(name, value)
        self.means[name] = before + max(RUNNING_MEAN_WEIGHT, 1 / (self.number + 1)) * (value - before)

    def _named(self, batch: Batch, step: int = 0) -> Batch:
        batch = self.program.at_step(materialize(batch), step)
        columns: Mapping[Any, Any] = self.program.named(batch.columns)
        return replace(batch, columns=columns)

    def _register(self, batch: Batch) -> Recording:
        """Take over the parameters, except the frozen ones, after one run of model and guide."""
        story = self.program.story
        with isolated_run(story, keep_parameters=True):
            recording = Recording(batch).run(self.program)
        if self.elbo:
            check_sites(story, recording)
        parameters = {name: p for name, p in story.trainable().items() if p.requires_grad}
        frozen = frozen_parameters(self.options.freeze, parameters, recording)
        of_critic = {id(parameter) for parameter in self.story.critic.parameters()}
        for optimization, critic in ((self.critic, True), (self.generator, False)):
            trained = {n: p for n, p in parameters.items() if n not in frozen and (id(p) in of_critic) is critic}
            if trained:
                optimization.add_parameters(trained)
        if not (self.critic.parameters or self.generator.parameters):
            raise ValueError(f"freeze={list(self.options.freeze)} leaves no parameter to train")
        self._registered = True
        return recording

    def weights(self) -> dict[str, Tensor]:
        """Parameters and buffers, live.

        Returns:
            By name.
        """
        return live_weights(self.program.story)

    def averages(self) -> dict[str, Tensor] | None:
        """The generator's averaged parameters.

        Returns:
            By name; None where no averages are kept.
        """
        return self.generator.averages

    def metrics(self) -> dict[str, Any]:
        """Metrics of an epoch.

        Returns:
            Learning rate, running means of losses, gradient norms and accuracy, the generator's `diversity`, metrics of
            validation data, and failures in words (`health`) where there are some.
        """
        found: dict[str, Any] = {"lr": self.generator.lr, **self.means}
        with seeded(self.options.seed), self.program.story.predicting():
            rows = self._rows("training")
            generated = self.story.generated(self.program, rows)[: rows.n]
            found["diversity"] = diversity(generated, rows.columns["x"])
        if self.validation is not None:
            found |= self._validation_metrics()
        failures = detect_failures(found) if self.number >= MIN_STEPS_TO_DIAGNOSE else []
        if failures:
            found["health"] = "; ".join(failures)
        for text in failures:
            if text.split(":")[0] not in self._reported:  # it has begun since the last epoch
                _log.warning("%s, step %d: %s", self.story.name, self.number, text)
        self._reported = [text.split(":")[0] for text in failures]
        return found

    def _validation_metrics(self) -> dict[str, float]:
        """The critic's accuracy on data that it was not trained on, and the ELBO where there is one."""
        seed = self.options.seed + VALIDATION_SEED_OFFSET
        with seeded(seed), self.program.story.predicting():
            rows = self._rows("validation")
            generated = self.story.generated(self.program, rows)[: rows.n]
            real, fake = self._scores(rows.columns["x"], rows), self._scores(generated, rows)
            found = {"validation_accuracy": _accuracy(real, fake)}
        if self.elbo:
            elbo = mean_elbo(self.program, Trace_ELBO(), self.validation, seed, self._divisors, self.number)
            found["validation_elbo"] = elbo
        return found

    def _rows(self, split: str) -> Batch:
        """Rows from all over the training or validation data, the same each time; of a loader its first batch."""
        if split not in self._metric_rows:
            batches = self.batches if split == "training" else self.validation
            rows = batches.first()
            if isinstance(batches, RowBatches) and batches.rows is not None:
                index = torch.linspace(0, batches.rows - 1, min(batches.rows, METRIC_ROWS)).long()
                rows = Batch(batches.columns(index), len(index), batches.total, index)
            self._metric_rows[split] = self._named(rows, self.number)
        return self._metric_rows[split]

    def state(self) -> dict[str, Any]:
        """Optimizers, schedules and averages of both networks, number of steps, and running means.

        Returns:
            The state, for a checkpoint.
        """
        networks = {"critic": self.critic.state(), "generator": self.generator.state()}
        return {**networks, "number": self.number, "minus_elbo": self.minus_elbo, "means": self.means}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state.

        Args:
            state: what `state()` returned.
        """
        self._register(self._named(self.batches.first()))
        self.critic.restore(state["critic"])
        self.generator.restore(state["generator"])
        self.number, self.minus_elbo, self.means = state["number"], state["minus_elbo"], state["means"]


def _accuracy(real: Tensor, fake: Tensor) -> float:
    """Share of pairs in which the real datum scores above the generated one; 1/2 at chance."""
    return float((real > fake[: len(real)]).double().mean())
