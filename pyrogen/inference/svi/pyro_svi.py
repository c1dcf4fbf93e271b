"""A drop-in for Pyro's SVI that compiles its steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer.elbo import ELBO
from pyro.infer.util import torch_item, zero_grads
from pyro.optim import PyroOptim
from pyro.util import warn_if_nan
from torch import Tensor

from pyrogen.arguments import shown
from pyrogen.inference.compile.compiled_step import Compilable
from pyrogen.inference.compile.dispatch import StepCompiler
from pyrogen.inference.compile.tracing import CannotTrace
from pyrogen.inference.optim.optimizer import Optimization
from pyrogen.story import Batch, Story, as_story

EAGER_STEPS = 30
"""Eager steps before tracing, which takes the time of some 40: a shorter loop would not earn it back."""
TRACED_STEPS = 10_000
"""Traced steps before compiling, which takes the time of that many."""
MAX_REBUILDS = 5
"""Times that the set of parameters may change; then steps are Pyro's own."""

_EXPECTED = {"model": "function", "guide": "function", "loss": "Pyro ELBO, such as Trace_ELBO(), or a function"}
"""What arguments of `SVI` must be."""


class SVI(pyro.infer.SVI):
    """Pyro's SVI with compiled steps: only the import changes.

    Parameters stay in Pyro's global store, and losses equal Pyro's at the same seed. The first step is Pyro's own,
    with its error messages; then one optimizer takes the place of Pyro's one for each parameter, sharing its state;
    after 30 steps loss and gradients are traced, which changes no bit of them, and after 10,000 more compiled. Python
    state that the program reads (numbers, flags, tensors in attributes, closures and globals) is looked at before each
    step: where it has changed, steps are traced anew or go on eagerly. Where tracing is not possible, steps stay eager,
    and `reason` says why.

    Args:
        model: a Pyro function.
        guide: a Pyro function.
        optim: a `pyro.optim` optimizer.
        loss: an ELBO.
        loss_and_grads: as Pyro takes it; such a loss is never compiled. None by default.
        compile: "auto" (the default) as above; True compiles from the second step on, or raises; False does not
            compile.
        kwargs: as Pyro takes them.

    Raises:
        TypeError: an argument is of another kind, such as an optimizer that is none of Pyro's.
        ValueError: `compile` is none of the three.

    Example:
        >>> import pyro, torch
        >>> from pyro.infer import Trace_ELBO
        >>> from pyro.infer.autoguide import AutoNormal
        >>> def model(x):
        ...     mean = pyro.sample("mean", pyro.distributions.Normal(0.0, 1.0))
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("x", pyro.distributions.Normal(mean, 1.0), obs=x)
        >>> svi = SVI(model, AutoNormal(model), pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
        >>> losses = [svi.step(torch.ones(10)) for _ in range(5)]
        >>> pyro.clear_param_store()
    """

    def __init__(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        optim: PyroOptim,
        loss: ELBO | Callable[..., Any],
        loss_and_grads: Callable[..., Any] | None = None,
        *,
        compile: bool | str = "auto",
        **kwargs: Any,
    ) -> None:
        if not (isinstance(compile, bool) or compile == "auto"):
            raise ValueError(f"compile must be 'auto', True or False, got {compile!r}")
        for name, value in {"model": model, "guide": guide, "loss": loss}.items():
            if not callable(value) and not (name == "loss" and isinstance(value, ELBO)):
                raise TypeError(f"SVI: {name} must be a {_EXPECTED[name]}, got {value!r}")
        if not isinstance(optim, PyroOptim):
            raise ValueError(
                f"SVI: optim must be an optimizer of pyro.optim, such as Adam({{'lr': 1e-3}}), got {shown(optim)}"
            )
        super().__init__(model, guide, optim, loss, loss_and_grads, **kwargs)
        self.objective = loss if loss_and_grads is None else None
        self.compile = compile
        self.steps_taken = 0
        self.reason = ""
        self._steps: _StockLoop | None = None
        self._rebuilds = 0

    @property
    def mode(self) -> str:
        """How steps are taken: "stock" (Pyro's own), "eager" (one optimizer), "traced" or "compiled"."""
        return "stock" if self._steps is None else self._steps.compiler.mode

    def step(self, *args: Any, **kwargs: Any) -> Any:
        """Take a gradient step; a compiled one whose loss is not finite changes no parameter.

        Args:
            args: of model and guide.
            kwargs: of model and guide.

        Returns:
            The loss before the step.
        """
        if not self.steps_taken or not self._use_one_optimizer():
            self.steps_taken += 1
            return super().step(*args, **kwargs)
        assert self._steps is not None
        self.steps_taken += 1
        loss = None
        if self.compile is True or (self.compile and self.steps_taken > EAGER_STEPS):
            loss = self._steps.take(args, kwargs)
            self.reason = self._steps.compiler.reason
        return self._eager_step(args, kwargs) if loss is None else loss

    def _use_one_optimizer(self) -> bool:
        """Replace Pyro's optimizers by one, for the parameters that the store holds now; whether that was possible."""
        if self._steps is not None and self._steps.current():
            return True
        if self._steps is not None:  # parameters were replaced, added or deleted: Pyro's own step takes them up
            self._steps.release()
            self._steps = None
            return False
        parameters = _parameters_of(self.optim)
        if not parameters:
            return False
        if self._rebuilds > MAX_REBUILDS:
            self.reason = self.reason or "the set of its parameters keeps changing"
            return False
        self._rebuilds += 1
        try:
            self._steps = _StockLoop(self, parameters)
        except CannotTrace as error:
            self._rebuilds, self.reason = MAX_REBUILDS + 1, str(error)
            if self.compile is True:
                raise ValueError(f"compile=True: {error}") from error
        return self._steps is not None

    def _eager_step(self, args: Any, kwargs: Any) -> Any:
        """Pyro's step, with one optimizer."""
        assert self._steps is not None
        with poutine.trace(param_only=True) as captured:
            loss = self.loss_and_grads(self.model, self.guide, *args, **kwargs)
        values: list[Any] = [site["value"] for site in captured.trace.nodes.values()]
        parameters = {value.unconstrained() for value in values}
        if parameters == set(self._steps.optimization.parameters.values()):
            self._steps.synchronize_rates()
            self._steps.optimization.step(1.0)
            self._steps.synchronize_rates()
        else:  # parameters have changed since the step before
            self._steps.release()
            self._steps = None
            self.optim(parameters)
        zero_grads(parameters)
        return type(loss)(map(torch_item, loss)) if isinstance(loss, tuple) else torch_item(loss)


class _StockLoop(Compilable):
    """A stock loop as the compiler sees it."""

    autocast, drop_in = False, True

    def __init__(self, svi: SVI, parameters: dict[str, Tensor]) -> None:
        self.svi, self.objective = svi, svi.objective
        story: Story = as_story((svi.model, svi.guide))
        self.name, self.modules = story.name, list(story.all_modules())
        self.known = len(svi.optim.optim_objs)
        self.optimizers = {p: svi.optim.optim_objs[p] for p in parameters.values()}
        self.optimization = Optimization(lambda _: _one_optimizer(svi.optim, self.optimizers), None, None, None)
        self.optimization.add_parameters(parameters)
        self.optimization.num_steps = int(max(float(o.state[p].get("step", 0)) for p, o in self.optimizers.items()))
        self.rates = [group["lr"] for group in self._groups()]
        self.number = svi.steps_taken
        self.compiler = StepCompiler(self, svi.compile, compile_after=TRACED_STEPS)

    def current(self) -> bool:
        """Whether the store holds the parameters that it held."""
        here, mine = _parameters_of(self.svi.optim), self.optimization.parameters
        same = here.keys() == mine.keys() and all(here[name] is p for name, p in mine.items())
        return same and len(self.svi.optim.optim_objs) == self.known

    def take(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float | None:
        """A compiled step, or None."""
        self.number = self.svi.steps_taken - 1
        self.synchronize_rates()
        columns: dict[str | int, Any] = dict(enumerate(args))
        columns.update(kwargs)
        loss = self.compiler.try_step(Batch(columns, 0))
        if loss is None:
            return None
        if self.optimization.flat is not None:
            self.optimization.flat.write_step_count(self.optimization.num_steps)
        for parameter in self.optimization.parameters.values():
            parameter.grad = None
        self.synchronize_rates()
        value = float(loss)
        if math.isnan(value):
            warn_if_nan(torch.tensor(value), "loss")
        return value

    def loss(self, batch: Batch) -> Tensor:
        """The loss, to differentiate."""
        kwargs = {key: value for key, value in batch.columns.items() if isinstance(key, str)}
        loss = self.objective.differentiable_loss(self.svi.model, self.svi.guide, *batch.unnamed, **kwargs)  # type: ignore[union-attr]
        return torch.as_tensor(loss)

    def weights(self) -> dict[str, Tensor]:
        """Parameters and buffers, live."""
        buffers = {f"{i}.{n}": b for i, m in enumerate(self.modules) for n, b in m.named_buffers(recurse=False)}
        return {**{name: p.detach() for name, p in self.optimization.parameters.items()}, **buffers}

    def roots(self) -> list[Any]:
        """Model, guide and loss."""
        return [self.svi.model, self.svi.guide, self.objective]

    def divisor(self, batch: Batch) -> float:
        """Pyro's losses are of the whole batch."""
        return 1.0

    def release(self) -> None:
        """Return the state to Pyro's optimizers."""
        self.synchronize_rates()
        self.compiler.close()

    def _groups(self) -> list[dict[str, Any]]:
        optimizer: Any = self.optimization.optimizer
        return list(optimizer.param_groups)

    def synchronize_rates(self) -> None:
        """Learning rates that the caller sets on Pyro's optimizers hold here, and those that change here hold there."""
        for i, group in enumerate(self._groups()):
            theirs = self.optimizers[group["params"][0]].param_groups[0]
            if theirs["lr"] != self.rates[i]:
                group["lr"] = theirs["lr"]
            elif group["lr"] != self.rates[i]:
                for parameter in group["params"]:
                    self.optimizers[parameter].param_groups[0]["lr"] = group["lr"]
            self.rates[i] = group["lr"]


def _parameters_of(optim: PyroOptim) -> dict[str, Tensor]:
    """The parameters in Pyro's store that `optim` has stepped, by name."""
    return {name: p for name, p in pyro.get_param_store()._params.items() if p in optim.optim_objs}


def _one_optimizer(optim: PyroOptim, optimizers: dict[Tensor, Any]) -> torch.optim.Optimizer:
    """One torch optimizer in place of Pyro's one for each parameter, over the same state; CannotTrace if impossible."""
    kinds = {type(optimizer) for optimizer in optimizers.values()}
    kind: Any
    (kind, *others) = kinds
    if others or not issubclass(kind, torch.optim.Optimizer):
        names = ", ".join(sorted(each.__name__ for each in kinds))
        raise CannotTrace(f"Pyro steps each parameter by an object of its own ({names}), which one cannot stand for")
    if any(optim.grad_clip[parameter] is not None for parameter in optimizers):
        raise CannotTrace("clip_args clips the gradient of each parameter by itself")
    groups: list[dict[str, Any]] = []
    for parameter, optimizer in optimizers.items():
        options = {name: value for name, value in optimizer.param_groups[0].items() if name != "params"}
        if kind in (torch.optim.Adam, torch.optim.AdamW):
            options |= {"fused": True, "foreach": None}
        alike = next((g for g in groups if {n: v for n, v in g.items() if n != "params"} == options), None)
        if alike is None:
            alike = {"params": [], **options}
            groups.append(alike)
        alike["params"].append(parameter)
    one: torch.optim.Optimizer = kind(groups)
    for parameter, optimizer in optimizers.items():
        state = optimizer.state[parameter]
        if isinstance(state.get("step"), Tensor):
            state["step"] = state["step"].to(parameter.device)
        one.state[parameter] = state
    return one
