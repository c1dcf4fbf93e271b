"""Deep generative models as probabilistic programs: write the story, get the rest; know whether to believe it."""

from pyrogen import adversarial, autoregressive, data, diagnostics, distributions, inference, models, nn, plots
from pyrogen.catalog import load
from pyrogen.inference import fit
from pyrogen.inference.persistence.config import versions
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

__version__ = versions()["pyrogen"]
