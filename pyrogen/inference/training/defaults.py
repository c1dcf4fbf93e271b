"""What `fit` chooses where it is not told: batch size and objective, from a look at the first rows."""

from __future__ import annotations

from typing import Any

from pyro.infer import Trace_ELBO, TraceEnum_ELBO

from pyrogen.inference.batching.loader_batches import LoaderBatches
from pyrogen.inference.batching.row_batches import RowBatches
from pyrogen.inference.compile.dispatch import MIN_STEPS_TO_COMPILE
from pyrogen.inference.optim.flat_parameters import MAX_FLAT_PARAMETERS
from pyrogen.inference.optim.objectives import TemperedELBO
from pyrogen.inference.program.input_checks import is_auto
from pyrogen.inference.program.isolation import isolated_run
from pyrogen.inference.program.options import Options
from pyrogen.inference.program.program import Program, Recording
from pyrogen.story import Story, latent_sites, outside

__all__ = [
    "DEFAULT_BATCH",
    "default_objective",
    "elbo_for",
    "is_local",
    "objective_for",
    "to_compile",
    "trace_first_batch",
]

DEFAULT_BATCH = 128


def trace_first_batch(program: Program, batches: RowBatches | LoaderBatches) -> Recording | None:
    """What a run on the first rows meets; None where it cannot be had without leaving a trace."""
    story = program.story
    if isinstance(batches, LoaderBatches):
        return None
    with isolated_run(story):
        recording = Recording(program.at_step(batches.first(), 0))
        try:
            if is_auto(story):
                recording.run_model(program)
            else:
                recording.run(program)
        except Exception:  # The first step runs the same, with validation on, and says what is wrong.
            return None
    return recording


def is_local(story: Story, peek: Recording | None) -> bool:
    """Whether every latent sits in the data plate, so that rows can be taken a few at a time."""
    if is_auto(story):
        return False
    if peek is None:
        return True
    latents = {**peek.latents(), **latent_sites(peek.guide.sites.values())}
    return not outside(latents, peek.plate.name if peek.plate is not None else None)


def elbo_for(peek: Recording | None) -> Any:
    """A fresh `Trace_ELBO`, or `TraceEnum_ELBO` where a site is marked for enumeration."""
    sites = [] if peek is None else [*peek.model.sites.values(), *peek.guide.sites.values()]
    marked = any(site["infer"].get("enumerate") for site in latent_sites(sites).values())
    # Left open, Pyro would find the nesting by a run of its own, which draws.
    return TraceEnum_ELBO(max_plate_nesting=peek.nesting) if peek is not None and marked else Trace_ELBO()


def objective_for(story: Story, asked: Any, peek: Recording | None) -> Any:
    """The objective that was asked for, over an ELBO that fits the program where it left that open; else an ELBO.

    Raises:
        ValueError: latents are to be weighed, and the guide has none.
    """
    if asked is None:
        return elbo_for(peek)
    if getattr(asked, "base_is_default", False):
        asked.base = elbo_for(peek)
    weighs = isinstance(asked, TemperedELBO) and (asked.beta, asked.warmup, asked.free_bits) != (1.0, 0.0, 0.0)
    known = peek is not None and not is_auto(story) and not hasattr(story, "training_steps")
    if weighs and known and not _weighable(peek):
        raise ValueError(
            f"{story.name}: TemperedELBO weighs the divergence of latents, and this guide draws none that is scored: "
            "leave objective out"
        )
    return asked


def _weighable(peek: Any) -> bool:
    """Whether the guide draws a latent that is scored."""
    masks = [(s["mask"], getattr(s["fn"], "_mask", None)) for s in latent_sites(peek.guide.sites.values()).values()]
    return any(False not in [mask for mask in pair if isinstance(mask, bool)] for pair in masks)


def default_objective(program: Program, batches: RowBatches | LoaderBatches) -> Any:
    """The objective that `fit` would choose."""
    return elbo_for(trace_first_batch(program, batches))


def to_compile(options: Options, story: Story, steps: int | None) -> tuple[bool | str, str]:
    """Whether to compile, decided by the length of the run alone so that equal runs decide alike; else why not.

    Args:
        options: of the run.
        story: which is small or not.
        steps: in an epoch, where known.
    """
    if options.compile != "auto":
        return options.compile, "" if options.compile else "compile=False"
    taken = options.steps or (options.epochs or 0) * (steps or 0)
    small = sum(parameter.numel() for parameter in story.trainable().values()) <= MAX_FLAT_PARAMETERS
    earned = (
        2 * MIN_STEPS_TO_COMPILE if small else MIN_STEPS_TO_COMPILE
    )  # a small model's step takes less, and so has less to save
    if taken < earned:
        short = f"a run of less than {earned:,} steps does not earn back the compiler's time"
        return False, short if taken else "how many steps the run takes is not known"
    return "auto", ""
