"""`fit`: train a story by stochastic variational inference."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyro
import torch

from pyrogen.inference.program.input_checks import resolve_device
from pyrogen.inference.program.options import Options
from pyrogen.inference.program.precision import run_precision
from pyrogen.inference.program.rng import seeded
from pyrogen.inference.training.allocator import keep_freed_memory
from pyrogen.inference.training.result import Fit
from pyrogen.inference.training.trainer import Trainer
from pyrogen.story import as_story

__all__ = ["fit"]


def fit(
    story_or_pair: Any,
    data: Any,
    *,
    validation: Any = None,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    arguments: Mapping[str, Any] | None = None,
    objective: Any = None,
    optimizer: Callable[..., torch.optim.Optimizer] | None = None,
    schedule: Callable[[torch.optim.Optimizer], Any] | None = None,
    clip_norm: float | None = None,
    ema: float | None = None,
    freeze: Sequence[str] = (),
    patience: int | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    precision: str = "float32",
    compile: bool | str = "auto",
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    callbacks: Sequence[Callable[[Fit, Mapping[str, Any]], Any]] = (),
) -> Fit:
    r"""Train a story by SVI: maximize the ELBO over the parameters of model and guide.

    $$ \max_{\theta, \phi} \; E_{q_\phi(z|x)} [\log p_\theta(x, z) - \log q_\phi(z|x)] $$

    Pyro's global parameter store, the caller's random state and torch's defaults are afterwards as they were before.

    Args:
        story_or_pair: a `Story`, or a pair `(model, guide)` of plain Pyro functions.
        data: a tensor, an array, a tuple of them, a dict of named columns, a map-style `Dataset`, or a `DataLoader`,
            whose batches pass through as they are. The columns share their first dimension. Floating columns take the
            run's type.
        validation: data of the same kind, on which the ELBO is measured each epoch; the best weights are kept.
        epochs: how long (20 where neither is said).
        steps: how long, in place of epochs.
        batch_size: rows in a step; None: 128 where every latent sits in the data plate, else the whole data set.
        arguments: further arguments by name: constants, or callables of the step.
        objective: any Pyro ELBO or one of `pyrogen.inference`'s; None: a fresh `Trace_ELBO`, or `TraceEnum_ELBO` where
            a site is marked for enumeration. GANs and their kin take a game of `pyrogen.adversarial`, and say
            themselves what they do where objective, optimizer and ema are None.
        optimizer: from an iterable of (name, parameter) pairs to a `torch.optim.Optimizer`; None: one fused Adam, rate
            1e-3.
        schedule: from the optimizer to a scheduler, stepped each step.
        clip_norm: largest norm of the gradient of the loss per datum.
        ema: decay of averaged weights, such as 0.999; they are what is validated and kept.
        freeze: submodules or parameters that stay as they are, buffers too, or "model" or "guide".
        patience: epochs without a better validation ELBO after which training stops.
        seed: of the order of rows and of all draws.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        precision: "float32", "bfloat16" (autocast of the networks) or "float64".
        compile: "auto" compiles the steps of runs of 10,000 steps and more (of a small model 20,000), which earn the
            compiler's time back, where the program can be traced; True compiles, or raises; False does not.
            `Fit.mode` says what was done.
        out: a folder to keep the run in: it can be loaded, and resumed after a kill.
        resume: go on with the run in `out`, or start it if there is none.
        progress: show a bar where standard error is a terminal.
        callbacks: called with (fit, record) after each epoch; one that returns True ends the run.

    Returns:
        The trained story, with history and best epoch. Its weights are the best on validation data, else the averaged,
        else the last ones.

    Raises:
        ValueError, TypeError: bad input, said in one line before the first step.
        FloatingPointError: the loss is not finite; names step and site. The last checkpoint is kept.

    Example:
        >>> import torch
        >>> from pyrogen import fit
        >>> from pyrogen.models import PPCA
        >>> run = fit(PPCA(features=4, latent=1), torch.randn(64, 4), epochs=2, progress=False)
        >>> [record["epoch"] for record in run.history]
        [1, 2]
    """
    given = {**locals(), "device": resolve_device(device), "arguments": arguments or {}}
    options = Options(**{name: given[name] for name in Options.__dataclass_fields__})
    options.check(validated=validation is not None)
    told = as_story(story_or_pair)
    with ExitStack() as stack:
        stack.enter_context(seeded(seed))
        stack.enter_context(torch.enable_grad())
        dtype = stack.enter_context(run_precision(told, precision))
        told.to(options.device)
        on_cpu = options.device.type == "cpu"
        stack.enter_context(keep_freed_memory() if on_cpu else torch.device(options.device))
        stack.enter_context(told.param_store_scope())
        stack.enter_context(_without_pyro_warnings())
        return Trainer(told, data, validation, options, dtype).run()


_UNWANTED = (
    "Encountered",
    "Found vars in model but not guide",
    "Found non-auxiliary vars in guide",
    ".* was not registered in the param store because requires_grad=False",  # frozen on purpose
)


@contextmanager
def _without_pyro_warnings() -> Iterator[None]:
    """Pyro validates the first step alone, and does not warn of what is an error here, or meant."""
    with warnings.catch_warnings(), pyro.validation_enabled(False):
        for message in _UNWANTED:
            warnings.filterwarnings("ignore", message, UserWarning)
        yield
