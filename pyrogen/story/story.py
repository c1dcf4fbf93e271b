"""The one concept: a generative story, told as a Pyro model and a Pyro guide."""

from __future__ import annotations

import functools
import inspect
import itertools
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pyro.nn import PyroModule
from pyro.poutine.runtime import _PYRO_STACK, effectful
from pyro.poutine.trace_messenger import TraceMessenger
from torch import Tensor, nn

from pyrogen.story.arguments import Signature
from pyrogen.story.decorators import at_home, remembering
from pyrogen.story.param_store import Store
from pyrogen.story.sampling import TrainingSpec, draw

__all__ = ["Story"]

_ROLES = ("model", "guide")
_serial = itertools.count()


class Story(PyroModule):
    """A generative story: a `torch.nn.Module` whose `model` and `guide` are ordinary Pyro functions.

    `model` draws latents and observes data, p(z) p(x given z); `guide` draws the same latents given the data, q(z given
    x). Both ask for their arguments by name: any column of the data, and `n` (rows in this batch), `total` (rows in the
    training set) and `index` (the rows' positions). `x=None` draws, `x=data` observes. The plate around the data is
    called `data`.

    What a subclass may add, each optional: `prepare(data)`, called once before training with the training columns;
    `check(data)`, which raises a one-line ValueError for columns that the story cannot take; `log_prob(x)`, the exact
    log-likelihood of each datum by itself, in nats; `training_steps(program, options, batches, validation)`, the steps
    by which it trains in place of SVI's (`pyrogen.inference.training.training_step.Steps`); and `unsupported`.

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
        for name in _ROLES:
            method = inspect.getattr_static(cls, name, None)
            if callable(method) and not isinstance(method, property) and not hasattr(method, "_at_home"):
                setattr(cls, name, at_home(method))
        if "__init__" in cls.__dict__:
            cls.__init__ = remembering(cls.__init__)  # type: ignore[method-assign]

    def __init__(self) -> None:
        super().__init__()
        self._serial = next(_serial)
        self._depth = 0
        self._shaping = False
        self._store = Store()
        self._exits: list[ExitStack] = []
        self.__dict__.setdefault("arguments", {})

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OWN:
            raise AttributeError(f"{self.name} cannot set '{name}', which is a Story's own: use another name")
        if name in _ROLES and callable(value):
            if callable(getattr(type(self), name, None)):
                raise AttributeError(
                    f"{self.name} has a method '{name}' already: remove it, or do not set the attribute"
                )
            value = self._bring_home(value)
        super().__setattr__(name, value)

    def _bring_home(self, program: Callable[..., Any]) -> Callable[..., Any]:
        """A model or guide that is set as an attribute: an AutoGuide comes home by hooks, a function is wrapped."""
        if not isinstance(program, nn.Module):
            return functools.partial(at_home(lambda _, *args, **kwargs: program(*args, **kwargs), program), self)
        program.register_forward_pre_hook(lambda *_: self._exits.append(_entered(self._visit())))
        program.register_forward_hook(lambda *_: self._exits.pop().close(), always_call=True)
        return program

    @property
    def name(self) -> str:
        """How messages and files call the story: the name of its class."""
        return type(self).__name__

    @property
    def device(self) -> torch.device:
        """Where the story's parameters are."""
        tensors = itertools.chain(self.trainable().values(), self.buffers())
        return next((t.device for t in tensors), torch.device("cpu"))

    def trainable(self) -> dict[str, Tensor]:
        """The unconstrained parameters by name: the module's own, then those made by `pyro.param`."""
        own = dict(self.named_parameters())
        held = {id(p) for p in own.values()}
        store = Store.current() if self._depth else self._store
        return {**own, **{name: p for name, p in store.params.items() if id(p) not in held}}

    def saved_buffers(self) -> dict[str, Tensor]:
        """The buffers that belong to the story's state, by name."""
        return {name: self.get_buffer(name) for name in self.state_dict() if name in dict(self.named_buffers())}

    def require(self, what: str) -> None:
        """Raise ValueError with the story's own reason if it declares to be `unsupported` `what`."""
        if what in self.unsupported:
            raise ValueError(f"{self.name} has no {what}: {self.unsupported[what]}")

    def signatures(self) -> tuple[Signature, Signature]:
        """What `model` and `guide` ask for."""
        for role in ("model", "guide"):
            if not callable(getattr(self, role, None)):
                raise TypeError(f"{self.name} defines no {role}: write a method `{role}(self, ...)`" + _REMEDY[role])
        model = Signature(self.model, f"{self.name}.model")
        return model, Signature(self.guide, f"{self.name}.guide", like=model)

    def sample(self, n: int, **given: Any) -> Any:
        """Draw `n` new data: the model run with its observed columns None.

        Latents outside the data plate come from the guide (the fit), those inside from the model.

        Args:
            n: how many.
            given: columns to condition on, (n, ...) or a scalar for all.

        Returns:
            The observed site's draws (n, ...), or a dict of them by site where several are observed.

        Raises:
            ValueError: the story declines to sample; or the draws depend on a column that was not given.
        """
        self.require("sample")
        with self.predicting():
            return draw(self, n, given)

    @contextmanager
    def param_store_scope(self) -> Iterator[None]:
        """Work in the story's own parameter store, which keeps what `pyro.param` makes; Pyro's is untouched."""
        with ExitStack() as stack:
            if self._depth == 0:
                store = self._home_store()
                stack.callback(self._keep, store)
                stack.enter_context(store.swapped_in())
            self._depth += 1
            stack.callback(self._leave)
            yield

    @contextmanager
    def predicting(self) -> Iterator[None]:
        """At home, in evaluation mode, without gradients, new tensors on the story's device and in its precision."""
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
            for module, _ in modes:
                module.training = False
            try:
                yield
            finally:
                for module, mode in modes:
                    module.training = mode

    @contextmanager
    def initialize_lazy(self) -> Iterator[None]:
        """For a run that gives lazy parameters their shapes; Pyro, which cannot hold them yet, is not told of them."""
        self._shaping = True
        try:
            yield
        finally:
            self._shaping = False

    def all_modules(self) -> list[nn.Module]:
        """The story and every module in it."""
        return list(self.modules())

    def _networks(self) -> list[nn.Module]:
        """The modules that model and guide call themselves."""
        found: list[nn.Module] = []
        left = list(self.children())
        while left:
            module = left.pop(0)
            holds = isinstance(module, nn.ModuleList | nn.ModuleDict)
            (left if holds else found).extend(module.children() if holds else [module])
        return found

    def _keep(self, store: Store) -> None:
        own = {id(p) for p in self.parameters()}
        self._store = store.select([name for name, p in store.params.items() if id(p) not in own])

    def _leave(self) -> None:
        self._depth -= 1

    @contextmanager
    def _visit(self) -> Iterator[None]:
        """What surrounds a run of `model` or `guide` that does not happen at home."""
        if self._depth:
            yield
            return
        outer, store = Store.current(), self._home_store()
        captured = any(isinstance(m, TraceMessenger) and m.param_only for m in _PYRO_STACK)
        with store.swapped_in(), self._counted():
            if captured:
                self._announce(outer)
            yield
        if _PYRO_STACK:
            self._keep(store)

    def _home_store(self) -> Store:
        """What `pyro.param` made, and frozen parameters, which Pyro would set free on meeting them."""
        store = self._store.select(self._store.params)
        for path, module in self.named_modules():
            if isinstance(module, PyroModule):
                for name, parameter in module.named_parameters(path, recurse=False):
                    if not parameter.requires_grad:
                        store.put(name, parameter)
        return store

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def _announce(self, outer: Store) -> None:
        """Tell stock `pyro.infer.SVI`, which is collecting parameters, of these very tensors.

        Pyro knows parameters by name, and would give a second story of the class the first one's. So every tensor is
        announced under a name of this instance alone, and put into the store that SVI's optimizer asks for names.
        """
        for name, parameter in self.trainable().items():
            if parameter.requires_grad:
                unique = f"{self.name}[{self._serial}].{name}"
                outer.put(unique, parameter)
                parameter.unconstrained = weakref.ref(parameter)  # type: ignore[attr-defined]
                effectful(_identity, type="param")(parameter, name=unique)


_OWN = {name for name, value in vars(Story).items() if callable(value) and not name.startswith("_")}
"""The methods that an attribute of a subclass would hide, or be hidden by."""

_REMEDY = {"model": "", "guide": " or set `self.guide = AutoNormal(self.model)`; without latents its body is `pass`"}


def _identity(value: Any) -> Any:
    return value


def _entered(context: Any) -> ExitStack:
    stack = ExitStack()
    stack.enter_context(context)
    return stack
