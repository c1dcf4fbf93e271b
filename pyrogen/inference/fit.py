"""`fit`: train a story by stochastic variational inference."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyro
import torch

from pyrogen.inference.batching.from_data import Batches
from pyrogen.inference.optim.optimizer import Optimization
from pyrogen.inference.program.input_checks import resolve_device
from pyrogen.inference.program.options import Options
from pyrogen.inference.program.precision import run_precision
from pyrogen.inference.program.program import Program
from pyrogen.inference.program.rng import seeded
from pyrogen.inference.svi.jit_objective import JIT_OBJECTIVES
from pyrogen.inference.svi.svi_step import SVIStep
from pyrogen.inference.training.allocator import keep_freed_memory
from pyrogen.inference.training.defaults import to_compile
from pyrogen.inference.training.result import Fit
from pyrogen.inference.training.trainer import Trainer
from pyrogen.story import ONE_THREAD, as_story


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
            whose batches are passed on unchanged. The columns share their first dimension N. Floating-point columns
            take the run's type.
        validation: data of the same kind, on which the ELBO is measured each epoch; the best weights are kept. None by
            default.
        epochs: number of passes over the data; 20 if `steps` is None too.
        steps: number of steps, in place of `epochs`.
        batch_size: rows in a step; None, the default: 128 where every latent sits in the data plate, else all N.
        arguments: further arguments by name: constants, or callables of the step. None by default.
        objective: any Pyro ELBO or one of `pyrogen.inference`'s; None, the default: a fresh `Trace_ELBO`, or
            `TraceEnum_ELBO` where a site is marked for enumeration. Adversarial stories take a loss of
            `pyrogen.adversarial`.
        optimizer: from an iterable of (name, parameter) pairs to a `torch.optim.Optimizer`; None, the default: one
            fused Adam with learning rate 1e-3.
        schedule: from the optimizer to a scheduler, stepped after each step. None by default.
        clip_norm: largest norm of the gradient of the loss per datum. None, the default: no clipping.
        ema: decay of averaged weights, such as 0.999; they are what is validated and kept. None, the default: none.
        freeze: submodules or parameters that stay as they are, buffers too, or "model" or "guide". None by default.
        patience: epochs without a better validation ELBO after which training stops. None, the default: never.
        seed: of the order of rows and of all draws; 0 by default.
        device: "auto" (the default: CUDA where there is a device, else the CPU), "cpu", "cuda", "cuda:1", ...
        precision: "float32" (the default), "bfloat16" (autocast of the networks) or "float64".
        compile: "auto", the default, traces the steps of runs of 60 steps and more, which changes no bit of them but in
            large matrix products, and compiles those of 10,000 and more (of a small model 20,000), where the program
            can be traced; True compiles, or raises; False leaves them eager. `Fit.mode` holds what was done.
        out: a folder to keep the run in: it can be loaded, and resumed after a kill. None, the default: not kept.
        resume: continue the run in `out`, or start it if there is none; False by default.
        progress: show a bar where standard error is a terminal; True by default.
        callbacks: called with (fit, record) after each epoch; one that returns True ends the run, and a method `close`
            is called at the end. None by default.

    Returns:
        The trained story, with history and best epoch. Its weights are the best on validation data, else the averaged,
        else the last ones.

    Raises:
        ValueError: bad input, reported in one line before the first step; or the call is not of the main thread.
        TypeError: an argument is of the wrong type.
        FloatingPointError: the loss is not finite; names step and site. The last checkpoint is kept.

    Example:
        >>> import torch
        >>> from pyrogen import fit
        >>> from pyrogen.models import PPCA
        >>> run = fit(PPCA(features=4, latent=1), torch.randn(64, 4), epochs=2, progress=False)
        >>> [record["epoch"] for record in run.history]
        [1, 2]
    """
    given = {**locals(), "device": resolve_device(device), "arguments": {} if arguments is None else arguments}
    _require_main_thread()
    options = Options(**{name: given[name] for name in Options.__dataclass_fields__})
    options.check(validated=validation is not None)
    story = as_story(story_or_pair)
    with ONE_THREAD, seeded(seed), torch.enable_grad(), run_precision(story, precision) as dtype:
        story.to(options.device)
        device_scope = torch.device(options.device) if options.device.type != "cpu" else keep_freed_memory()
        with device_scope, story.param_store_scope(), _without_pyro_warnings():
            trainer = Trainer(story, data, validation, options, dtype, _svi_step)
            with trainer.running() as loop:
                loop.run()
    return trainer.fit


def _require_main_thread() -> None:
    if threading.current_thread() is not threading.main_thread():
        raise ValueError(
            "fit runs in the main thread alone: Pyro's handlers, torch's random state and signals belong to the whole "
            "process, and two threads would change each other's numbers. Start a process for each run, such as "
            "`pyrogen train` or multiprocessing's"
        )


def _svi_step(program: Program, objective: Any, options: Options, batches: Batches) -> SVIStep:
    if not (hasattr(objective, "differentiable_loss") or hasattr(objective, "loss_and_grads")):
        raise TypeError(
            f"{program.story.name} trains by SVI, and objective is a {type(objective).__name__}: pass a Pyro ELBO, or "
            "one of pyrogen.inference's"
        )
    optimization = Optimization(options.optimizer, options.schedule, options.clip_norm, options.ema)
    compiled, reason = to_compile(options, program.story, batches.steps)
    if isinstance(objective, JIT_OBJECTIVES):
        compiled, reason = False, f"{type(objective).__name__} compiles by TorchScript"
    autocast = options.precision == "bfloat16"
    return SVIStep(program, objective, optimization, options.freeze, autocast, batches, compiled, reason)


_UNWANTED = (
    "Encountered",
    "Found vars in model but not guide",
    "Found non-auxiliary vars in guide",
    ".* was not registered in the param store because requires_grad=False",  # frozen on purpose
)


@contextmanager
def _without_pyro_warnings() -> Iterator[None]:
    """Pyro validates the first step alone, and does not warn of what is an error here, or intended."""
    with warnings.catch_warnings(), pyro.validation_enabled(False):
        for message in _UNWANTED:
            warnings.filterwarnings("ignore", message, UserWarning)
        yield
