"""A generative story: a Pyro model and a Pyro guide in one module."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from pyrogen.story.arguments import Signature
from pyrogen.story.decorators import in_own_store, record_arguments, run_as_guide
from pyrogen.story.module import ParamStoreModule
from pyrogen.story.sampling import draw
from pyrogen.story.training_spec import TrainingSpec

_ROLES = ("model", "guide")


class Story(ParamStoreModule):
    """A generative story: a `torch.nn.Module` whose `model` and `guide` are ordinary Pyro functions.

    `model` draws latents and observes data, p(z) p(x given z); `guide` draws the same latents given the data, q(z given
    x). Both ask for their arguments by name: any column of the data, and `n` (rows in this batch), `total` (rows in the
    training set) and `index` (the rows' positions). `x=None` draws, `x=data` observes. The plate around the data is
    called `data`.

    What a subclass may add, each optional: `prepare(data)`, called once before training with the training columns;
    `check(data)`, which raises a one-line ValueError for columns that the story cannot take; `log_prob(x)`, the exact
    log-likelihood of each datum by itself, in nats; `training_steps(program, options, batches, validation)`, the steps
    by which it trains in place of SVI's (`pyrogen.inference.training.training_step.TrainingStep`); and `unsupported`.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> from pyrogen import Story
        >>> class Coin(Story):
        ...     def __init__(self) -> None:
        ...         super().__init__()
        ...         self.logit = torch.nn.Parameter(torch.zeros(()))
        ...
        ...     def model(self, x, n):
        ...         with pyro.plate("data", n):
        ...             return pyro.sample("x", dist.Bernoulli(logits=self.logit), obs=x)
        ...
        ...     def guide(self, x, n):
        ...         pass
        >>> Coin().sample(3).shape
        torch.Size([3])
    """

    unsupported: ClassVar[dict[str, str]] = {}
    """What the story lacks (`steps`, `svi`, `guide`, `density`, `sample`, `meta`), each with the reason, which refusals
    quote."""

    arguments: dict[str, Any]
    """The arguments that the constructor was called with, defaults filled in."""

    training_spec: TrainingSpec | None = None
    """What the story was trained on; set by `fit` and `load`."""

    if TYPE_CHECKING:
        model: Callable[..., Any]
        guide: Callable[..., Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for old, new in _RENAMED.items():
            if hasattr(cls, old):
                raise TypeError(f"{cls.__name__}.{old}: Story.{old} is now called {new}: rename it")
        for name in _PROPERTIES:
            if not isinstance(inspect.getattr_static(cls, name), property):
                raise TypeError(f"{cls.__name__}.{name}: Story.{name} is a read-only property: use another name")
        for role in _ROLES:
            method = inspect.getattr_static(cls, role, None)
            if callable(method) and not isinstance(method, property) and not hasattr(method, "_in_own_store"):
                setattr(cls, role, in_own_store(method))
        if "__init__" in cls.__dict__:
            cls.__init__ = record_arguments(cls.__init__)  # type: ignore[method-assign]

    def __init__(self) -> None:
        super().__init__()
        self._open_scopes: list[ExitStack] = []
        self.__dict__.setdefault("arguments", {})

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "without":
            raise AttributeError(f"{self.name}.without: Story.without is now called unsupported: rename it")
        if name in _PROPERTIES and getattr(type(self), name).fset is None:
            raise AttributeError(
                f"{self.name} cannot set '{name}': Story.{name} is a read-only property: use another name"
            )
        if name in _METHODS:
            raise AttributeError(f"{self.name} cannot set '{name}', which is a method of Story: use another name")
        if name in _ROLES and callable(value):
            if callable(getattr(type(self), name, None)):
                raise AttributeError(
                    f"{self.name} has a method '{name}' already: remove it, or do not set the attribute"
                )
            value = self._in_own_store(value)
        super().__setattr__(name, value)

    def _in_own_store(self, program: Callable[..., Any]) -> Callable[..., Any]:
        """A model or guide that is set as an attribute, run in the own store: a module by hooks, a function wrapped."""
        if not isinstance(program, nn.Module):
            return functools.partial(in_own_store(lambda _, *args, **kwargs: program(*args, **kwargs), program), self)
        self.enter_scope_in(program)
        return program

    def enter_scope_in(self, program: nn.Module) -> None:
        """Let a module that is the story's model or guide run in the story's own parameter store, by hooks.

        Args:
            program: the module; hooks of another story, of which this one is a copy, are replaced.
        """

        def enter(*_: Any) -> None:
            scope = ExitStack()
            scope.enter_context(self._program_scope())
            self._open_scopes.append(scope)

        for handle in program.__dict__.pop("_scope_hooks", ()):
            handle.remove()
        leave = program.register_forward_hook(lambda *_: self._open_scopes.pop().close(), always_call=True)
        program.__dict__["_scope_hooks"] = (program.register_forward_pre_hook(enter), leave)

    def require(self, capability: str) -> None:
        """Check that the story does not declare a capability `unsupported`.

        Args:
            capability: one of `steps`, `svi`, `guide`, `density`, `sample`, `meta`.

        Raises:
            ValueError: it is declared unsupported; the message gives the story's reason.
        """
        if capability in self.unsupported:
            raise ValueError(f"{self.name} has no {capability}: {self.unsupported[capability]}")

    def signatures(self) -> tuple[Signature, Signature]:
        """The arguments that `model` and `guide` ask for.

        Returns:
            The signatures of model and guide.

        Raises:
            TypeError: one of the two is not defined.
        """
        for role in _ROLES:
            if not callable(getattr(self, role, None)):
                raise TypeError(f"{self.name} defines no {role}: write a method `{role}(self, ...)`" + _REMEDY[role])
        model = Signature(self.model, f"{self.name}.model")
        return model, Signature(self.guide, f"{self.name}.guide", fallback=model)

    def bare_programs(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """Model and guide without the wrapper that enters the story's own store; run them within `program_scope`.

        Returns:
            Model and guide.
        """
        bare: list[Callable[..., Any]] = []
        for role in _ROLES:
            method, program = inspect.getattr_static(type(self), role, None), getattr(self, role)
            if getattr(method, "_in_own_store", False):
                program = functools.partial(method.__wrapped__, self)
            elif getattr(getattr(program, "func", None), "_in_own_store", False):
                program = program.func.__wrapped__
            bare.append(program)
        return bare[0], run_as_guide(bare[1])

    def sample(self, n: int, **given: Any) -> Any:
        """Draw `n` new data: the model run with its observed columns None.

        Latents outside the data plate come from the guide (the fit), those inside from the model. A story that declares
        `sample` unsupported, and draws that depend on a column that was not given, are refused with a ValueError.

        Args:
            n: number of data to draw, at least 1.
            **given: columns to condition on, (n, ...) or a scalar for all.

        Returns:
            The observed site's draws (n, ...), or a dict of them by site where several are observed.
        """
        self.require("sample")
        with self.predicting():
            return draw(self, n, given)

    @contextmanager
    def predicting(self) -> Iterator[None]:
        """Work in evaluation mode: no gradients, own parameter store, new tensors of the story's device and precision.

        Yields:
            None.
        """
        modes = [(module, module.training) for module in self.all_modules()]
        device, default = self.device, torch.get_default_dtype()
        floating = [t.dtype for t in (*self.trainable().values(), *self.buffers()) if t.is_floating_point()]
        with ExitStack() as stack:
            stack.enter_context(self.param_store_scope())
            stack.enter_context(torch.no_grad())
            stack.callback(torch.set_default_dtype, default)
            torch.set_default_dtype(torch.float64 if floating[:1] == [torch.float64] else default)
            if device.type != "cpu":
                stack.enter_context(torch.device(device))
            for module, mode in modes:
                stack.callback(setattr, module, "training", mode)
                module.training = False
            yield

    @contextmanager
    def initialize_lazy(self) -> Iterator[None]:
        """Run programs to give lazy parameters their shapes: Pyro, which cannot hold them yet, does not see them.

        Yields:
            None.
        """
        self._initializing_lazy = True
        try:
            yield
        finally:
            self._initializing_lazy = False


_PROPERTIES = ("name", "device")
_METHODS = {
    name
    for cls in (Story, ParamStoreModule)
    for name, value in vars(cls).items()
    if callable(value) and not name.startswith("_")
}
"""The methods that an attribute of a subclass would hide, or be hidden by."""

_RENAMED = {
    "without": "unsupported",
    "decline": "require",
    "home": "param_store_scope",
    "shaping": "initialize_lazy",
}
"""Former public names, which a subclass must not define: what it declares by them would be ignored."""

_REMEDY = {"model": "", "guide": " or set `self.guide = AutoNormal(self.model)`; without latents its body is `pass`"}
