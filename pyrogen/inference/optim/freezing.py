"""What `freeze` names stays as it is: its parameters are not trained, and its buffers do not move."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from pyrogen.inference.program.program import Recording
from pyrogen.messages import did_you_mean

__all__ = ["frozen_by", "modules_named", "still"]


def frozen_by(
    freeze: Sequence[str], parameters: dict[str, Tensor], recording: Recording, modules: Iterable[str] = ()
) -> set[str]:
    """The names of parameters that `freeze` means.

    Args:
        freeze: names of submodules or parameters, or "model" or "guide".
        parameters: by name.
        recording: what a run of guide and model met.
        modules: names of submodules, which may be without parameters.

    Raises:
        ValueError: an entry names nothing.
    """
    frozen: set[str] = set()
    modules = {name for name in modules if name}
    for entry in freeze:
        if entry in ("model", "guide"):
            met = getattr(recording, entry).parameters
            found = {name for name, p in parameters.items() if id(p) in met}
        else:
            found = {n for n in parameters if n == entry or n.startswith((f"{entry}.", f"{entry}$$$"))}
            found |= {n for n in parameters if n == f"{entry}_unconstrained"}
        if not found and entry not in modules:
            known = {"model", "guide", *parameters, *(n.split(".")[0].split("$$$")[0] for n in (*parameters, *modules))}
            raise ValueError(
                f"freeze: '{entry}' names no submodule or parameter{did_you_mean(entry, known)} (have: model, guide, "
                f"{', '.join(sorted(known - {'model', 'guide'}))})"
            )
        frozen |= found
    return frozen


def modules_named(module: nn.Module, freeze: Sequence[str]) -> list[nn.Module]:
    """The submodules that `freeze` names, with what is in them."""
    submodules = dict(module.named_modules())
    return [part for entry in freeze if entry in submodules for part in submodules[entry].modules()]


@contextmanager
def still(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Keep the modules' buffers where they are: in evaluation mode nothing learns in passing.

    Those without buffers keep their mode, such as dropout.
    """
    learning = [module for module in modules if module.training and any(True for _ in module.buffers(recurse=False))]
    for module in learning:
        module.training = False
    try:
        yield
    finally:
        for module in learning:
            module.training = True
