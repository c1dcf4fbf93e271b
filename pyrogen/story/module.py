"""A module that keeps what `pyro.param` makes in a parameter store of its own."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext

import torch
from pyro.nn import PyroModule
from pyro.poutine.runtime import _PYRO_STACK, effectful
from pyro.poutine.trace_messenger import TraceMessenger
from torch import Tensor, nn

from pyrogen.story.param_store import ONE_THREAD, Store

_serial = itertools.count()


class ParamStoreModule(PyroModule):
    """A `PyroModule` whose Pyro programs run in a parameter store of the module's own.

    Pyro's global parameter store stays as it was, and two modules do not share parameters that have the same name.
    """

    def __init__(self) -> None:
        super().__init__()
        self._serial = next(_serial)
        self._scope_depth = 0
        self._initializing_lazy = False
        self._store = Store()

    @property
    def name(self) -> str:
        """How messages and files call the module: the name of its class."""
        return type(self).__name__

    @property
    def device(self) -> torch.device:
        """The device of the parameters; the CPU where there are none."""
        tensors = itertools.chain(self.trainable().values(), self.buffers())
        return next((t.device for t in tensors), torch.device("cpu"))

    def trainable(self) -> dict[str, Tensor]:
        """All parameters, unconstrained.

        Returns:
            The tensors by name: the module's own, then those made by `pyro.param`.
        """
        own = dict(self.named_parameters())
        identities = {id(p) for p in own.values()}
        params = self._active_store().params
        return {**own, **{name: p for name, p in params.items() if id(p) not in identities}}

    def saved_buffers(self) -> dict[str, Tensor]:
        """The buffers that are saved with the module.

        Returns:
            The tensors by name.
        """
        return {name: self.get_buffer(name) for name in self.state_dict() if name in dict(self.named_buffers())}

    def all_modules(self) -> list[nn.Module]:
        """The module itself and every module inside it.

        Returns:
            The modules, this one first.
        """
        return list(self.modules())

    def called_modules(self) -> list[nn.Module]:
        """The modules that the programs call directly: the children, in place of a list or dict of modules its members.

        Returns:
            The modules.
        """
        called: list[nn.Module] = []
        pending = list(self.children())
        while pending:
            module = pending.pop(0)
            container = isinstance(module, nn.ModuleList | nn.ModuleDict)
            (pending if container else called).extend(module.children() if container else [module])
        return called

    def adopt_parameters(self, store: Store) -> None:
        """Add the parameters of another store to the module's own.

        Args:
            store: where they are; its entries replace those of the same name.
        """
        self._store.update(store)

    @contextmanager
    def param_store_scope(self) -> Iterator[None]:
        """Work in the module's own parameter store, which keeps what `pyro.param` makes; Pyro's stays as it was.

        Yields:
            None.
        """
        with ONE_THREAD, ExitStack() as stack:
            if self._scope_depth == 0:
                store = self._store_with_frozen()
                stack.callback(self._keep, store)
                stack.enter_context(store.activated())
            stack.enter_context(self._inside_scope())
            yield

    @contextmanager
    def program_scope(self) -> Iterator[None]:
        """Run a program in the module's own parameter store, `PyroSample` attributes drawn once.

        Yields:
            None.
        """
        with self._program_scope(), nullcontext() if self._initializing_lazy else self._pyro_context:
            yield

    @contextmanager
    def _program_scope(self) -> Iterator[None]:
        """Run a program in the open scope, else in a temporary store, with parameters announced to stock SVI."""
        with ONE_THREAD:
            if self._scope_depth:
                yield
            else:
                with self._temporary_scope():
                    yield

    @contextmanager
    def _temporary_scope(self) -> Iterator[None]:
        outer, store = Store.current(), self._store_with_frozen()
        collecting = any(isinstance(m, TraceMessenger) and m.param_only for m in _PYRO_STACK)
        with store.activated(), self._inside_scope():
            if collecting:
                self._announce(outer)
            yield
        if _PYRO_STACK:
            self._keep(store)

    @contextmanager
    def _inside_scope(self) -> Iterator[None]:
        self._scope_depth += 1
        try:
            yield
        finally:
            self._scope_depth -= 1

    def _active_store(self) -> Store:
        return Store.current() if self._scope_depth else self._store

    def _keep(self, store: Store) -> None:
        own = {id(p) for p in self.parameters()}
        self._store = store.select([name for name, p in store.params.items() if id(p) not in own])

    def _store_with_frozen(self) -> Store:
        """The module's store, with the frozen parameters of modules: Pyro would make new ones require gradients."""
        store = self._store.select(self._store.params)
        for path, module in self.named_modules():
            if isinstance(module, PyroModule):
                for name, parameter in module.named_parameters(path, recurse=False):
                    if not parameter.requires_grad:
                        store.put(name, parameter)
        return store

    def _announce(self, outer: Store) -> None:
        """Give stock `pyro.infer.SVI`, which is collecting parameters, these very tensors.

        Pyro knows parameters by name, and would give a second module of the class the first one's. So every tensor gets
        a name of this instance alone, and is put into the store that SVI's optimizer asks for names.
        """
        for name, parameter in self.trainable().items():
            if parameter.requires_grad:
                unique = f"{self.name}[{self._serial}].{name}"
                outer.put(unique, parameter)
                parameter.unconstrained = weakref.ref(parameter)  # type: ignore[attr-defined]
                effectful(lambda value: value, type="param")(parameter, name=unique)
