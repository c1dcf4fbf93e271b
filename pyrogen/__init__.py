"""Deep generative models as probabilistic programs: write the story, get the rest; know whether to believe it.

What is named here is imported when it is first used, so that the command line answers at once where it needs no torch.
"""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyrogen import adversarial, autoregressive, data, diagnostics, distributions, inference, models, nn, plots
    from pyrogen.catalog import load
    from pyrogen.inference import fit
    from pyrogen.story import Story

__all__ = [
    "Story",
    "__version__",
    "adversarial",
    "autoregressive",
    "data",
    "diagnostics",
    "distributions",
    "fit",
    "inference",
    "load",
    "models",
    "nn",
    "plots",
]

_MODULES = {"Story": "pyrogen.story", "fit": "pyrogen.inference", "load": "pyrogen.catalog"}
"""Where those names are that are no modules."""

try:
    __version__ = importlib.metadata.version("pyrogen")
except importlib.metadata.PackageNotFoundError:  # run from a source tree
    __version__ = "not installed"


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'pyrogen' has no attribute '{name}'")
    value: Any = importlib.import_module(_MODULES.get(name, f"pyrogen.{name}"))
    if name in _MODULES:
        value = getattr(value, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
