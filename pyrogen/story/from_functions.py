"""Existing Pyro code as a story: a pair of plain functions, with a parameter store of its own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import pyro
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyrogen.story.arguments import Signature, unwrap_program
from pyrogen.story.decorators import run_as_guide
from pyrogen.story.story import Story


def as_story(program: Any) -> Story:
    """Make a story of a pair of Pyro functions.

    Args:
        program: a pair `(model, guide)`, or a story.

    Returns:
        A `Pair`; a story as it is.

    Raises:
        TypeError: `program` is neither.
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

    What the two make by `pyro.param` and `pyro.module` lives in a store of the pair's own. Modules that the functions
    refer to, by closure, as globals or as the object they are methods of, follow the pair into evaluation mode and to a
    device, and their buffers are saved with it.

    Args:
        model: a Pyro function of the data; need not accept `x=None`.
        guide: a Pyro function of the same arguments, or an AutoGuide, or an EasyGuide.
    """

    def __init__(self, model: Callable[..., Any], guide: Callable[..., Any]) -> None:
        super().__init__()
        self._programs = {"model": model, "guide": guide}
        self._runs = {"model": model, "guide": run_as_guide(guide)}
        self._modules_used: dict[str, nn.Module] = {}
        for role, program in self._programs.items():
            _find_modules(program, role, self._modules_used, set())

    @property
    def model(self) -> Callable[..., Any]:  # type: ignore[override]
        """The model, run in the pair's own parameter store."""
        return functools.partial(self._run, self._runs["model"])

    @property
    def guide(self) -> Callable[..., Any]:  # type: ignore[override]
        """The guide, run in the pair's own parameter store."""
        return functools.partial(self._run, self._runs["guide"])

    def bare_programs(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """The two functions without the wrapper that enters the pair's own store.

        Returns:
            Model and guide.
        """
        return self._runs["model"], self._runs["guide"]

    def _run(self, program: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with self._program_scope():
            return program(*args, **kwargs)

    @property
    def name(self) -> str:
        """How messages and files call the pair: the names of the two functions."""
        return f"({', '.join(_name(program) for program in self._programs.values())})"

    def signatures(self) -> tuple[Signature, Signature]:
        """The arguments that the two functions ask for.

        Returns:
            The signatures of model and guide.
        """
        model = Signature(self._programs["model"], f"model '{self.name}'", foreign=True)
        return model, Signature(self._programs["guide"], f"guide of '{self.name}'", fallback=model, foreign=True)

    def trainable(self) -> dict[str, Tensor]:
        """All parameters, unconstrained.

        Returns:
            The tensors by name, as Pyro's store has them; one that is stored twice by its later name. Where Pyro's
            setting `module_local_params` keeps those of `PyroModule`s out of the store, by the path of their module.
        """
        params = self._active_store().params
        names = {id(p): name for name, p in params.items()}
        stored = {name: p for name, p in params.items() if names[id(p)] == name}
        if not pyro.settings.get("module_local_params"):
            return stored
        modules = {path: m for path, m in self._modules_used.items() if isinstance(m, PyroModule)}
        local = {f"{path}.{name}": p for path, module in modules.items() for name, p in module.named_parameters()}
        return {**{name: p for name, p in local.items() if id(p) not in names}, **stored}

    def saved_buffers(self) -> dict[str, Tensor]:
        """The buffers of the modules that the programs use.

        Returns:
            The tensors by name.
        """
        states = [(name, module, module.state_dict(keep_vars=True)) for name, module in self._modules_used.items()]
        return {f"{name}.{b}": t for name, m, state in states for b, t in m.named_buffers() if b in state}

    def all_modules(self) -> list[nn.Module]:
        """The story itself and every module that the programs use.

        Returns:
            The modules, the story first.
        """
        return [self, *(part for module in self._modules_used.values() for part in module.modules())]

    def called_modules(self) -> list[nn.Module]:
        """The modules that the programs refer to.

        Returns:
            The modules.
        """
        return list(self._modules_used.values())

    def train(self, mode: bool = True) -> Pair:
        """Set the training mode, of the modules that the programs use too.

        Args:
            mode: True, the default, for training; False for evaluation.

        Returns:
            The pair itself.
        """
        for module in self._modules_used.values():
            module.train(mode)
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Pair:
        for module in self._modules_used.values():
            module._apply(fn, recurse)
        own = {id(p) for module in self._modules_used.values() for p in module.parameters()}
        for parameter in self._store.params.values():
            if id(parameter) not in own:
                parameter.data = fn(parameter.data)
        return super()._apply(fn, recurse)


def _name(program: Any) -> str:
    inner = program if isinstance(program, nn.Module) else unwrap_program(program)[0]
    return str(getattr(inner, "__name__", type(inner).__name__))


def _find_modules(value: Any, name: str, modules: dict[str, nn.Module], visited: set[int]) -> None:
    """Collect the modules that a value is, holds, belongs to or refers to, by the path that leads to them."""
    if id(value) in visited:
        return
    visited.add(id(value))
    if isinstance(value, nn.Module):
        if not any(value is module for known in modules.values() for module in known.modules()):
            modules[name] = value
        return
    for part, child in _parts(value).items():
        _find_modules(child, f"{name}.{part}", modules, visited)


def _parts(value: Any) -> dict[str, Any]:
    """Where to search a value for modules: in containers, and in owners, closures and globals of functions."""
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
