"""Existing Pyro code as a story: a pair of plain functions, with a parameter store of its own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from pyrogen.story.arguments import Signature
from pyrogen.story.param_store import Store
from pyrogen.story.story import Story

__all__ = ["Pair", "as_story"]


def as_story(program: Any) -> Story:
    """A story as it is; a pair `(model, guide)` of Pyro functions as a `Pair`.

    Raises:
        TypeError: neither.
    """
    if isinstance(program, Story):
        return program
    if isinstance(program, tuple) and len(program) == 2 and all(callable(part) for part in program):
        return Pair(*program)
    got = f"a {type(program).__name__}"
    if inspect.isclass(program) and issubclass(program, Story):
        got = f"the class {program.__name__}: make an instance of it first"
    raise TypeError(f"expected a Story or a pair (model, guide) of Pyro functions, got {got}")


class Pair(Story):
    """A model and a guide as plain Pyro functions, AutoGuides or modules, source unchanged.

    What they make by `pyro.param` and `pyro.module` lives in a store of the pair's own. Modules that the functions
    refer to, by closure, as globals or as the object they are methods of, follow the pair into evaluation mode and to a
    device, and their buffers are saved with it.

    Args:
        model: a Pyro function of the data; need not accept `x=None`.
        guide: a Pyro function of the same arguments, or an AutoGuide, or an EasyGuide.
    """

    def __init__(self, model: Callable[..., Any], guide: Callable[..., Any]) -> None:
        super().__init__()
        self._programs = {"model": model, "guide": guide}
        self._found: dict[str, nn.Module] = {}
        for role, program in self._programs.items():
            _find_modules(program, role, self._found, set())

    @property
    def model(self) -> Callable[..., Any]:  # type: ignore[override]
        """The model, run in the pair's own store."""
        return functools.partial(self._run, self._programs["model"])

    @property
    def guide(self) -> Callable[..., Any]:  # type: ignore[override]
        """The guide, run in the pair's own store."""
        return functools.partial(self._run, self._programs["guide"])

    def _run(self, program: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with self._visit():
            return program(*args, **kwargs)

    @property
    def name(self) -> str:
        """The names of the two programs."""
        model, guide = (getattr(p, "__name__", type(p).__name__) for p in self._programs.values())
        return f"({model}, {guide})"

    def signatures(self) -> tuple[Signature, Signature]:
        """What model and guide ask for."""
        model = Signature(self._programs["model"], f"model '{self.name}'")
        return model, Signature(self._programs["guide"], f"guide of '{self.name}'", like=model)

    def trainable(self) -> dict[str, Tensor]:
        """The unconstrained parameters by name, as Pyro's store has them; one stored twice by its later name."""
        params = (Store.current() if self._depth else self._store).params
        names = {id(p): name for name, p in params.items()}
        return {name: p for name, p in params.items() if names[id(p)] == name}

    def saved_buffers(self) -> dict[str, Tensor]:
        """The buffers of the modules that the programs use, by name."""
        found = [(name, module, module.state_dict(keep_vars=True)) for name, module in self._found.items()]
        return {f"{name}.{b}": t for name, m, state in found for b, t in m.named_buffers() if b in state}

    def all_modules(self) -> list[nn.Module]:
        """Every module that the programs use."""
        return [self, *(part for module in self._found.values() for part in module.modules())]

    def _networks(self) -> list[nn.Module]:
        """The modules that the programs refer to."""
        return list(self._found.values())

    def train(self, mode: bool = True) -> Pair:
        """Set training mode here and in the modules that the programs use."""
        for module in self._found.values():
            module.train(mode)
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Pair:
        for module in self._found.values():
            module._apply(fn, recurse)
        own = {id(p) for module in self._found.values() for p in module.parameters()}
        for parameter in self._store.params.values():
            if id(parameter) not in own:
                parameter.data = fn(parameter.data)
        return super()._apply(fn, recurse)


def _find_modules(value: Any, name: str, found: dict[str, nn.Module], met: set[int]) -> None:
    """Note the modules that a value is, holds, belongs to or refers to, by the names that lead to them."""
    if id(value) in met:
        return
    met.add(id(value))
    if isinstance(value, nn.Module):
        if not any(value is module for known in found.values() for module in known.modules()):
            found[name] = value
        return
    for part, child in _parts(value).items():
        _find_modules(child, f"{name}.{part}", found, met)


def _parts(value: Any) -> dict[str, Any]:
    """What to look through for modules: containers, and the owners, closures and helpers of functions."""
    if isinstance(value, Mapping):
        return {str(key): child for key, child in value.items()}
    if isinstance(value, list | tuple):
        return {str(i): child for i, child in enumerate(value)}
    if isinstance(value, functools.partial):
        return {"func": value.func, **_parts(value.args), **_parts(value.keywords)}
    if inspect.ismethod(value):
        return {"self": value.__self__, "func": value.__func__}
    if (getattr(value, "__module__", None) or "").split(".")[0] in ("torch", "pyro", "pyrogen", "numpy", "builtins"):
        return {}
    if inspect.isfunction(value):
        names = inspect.getclosurevars(inspect.unwrap(value))
        return {**names.globals, **names.nonlocals}
    plain = inspect.isclass(value) or inspect.ismodule(value)
    return {} if plain else dict(getattr(value, "__dict__", {}))
