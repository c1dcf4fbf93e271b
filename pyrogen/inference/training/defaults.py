"""What `fit` chooses where it is not given: batch size, objective, and whether to compile."""

from __future__ import annotations

from typing import Any

from pyro.infer import Trace_ELBO, TraceEnum_ELBO

from pyrogen.inference.batching.from_data import Batches
from pyrogen.inference.batching.loader_batches import LoaderBatches
from pyrogen.inference.compile.dispatch import TRACE_ONLY
from pyrogen.inference.optim.flat_parameters import MAX_FLAT_PARAMETERS
from pyrogen.inference.optim.objectives import TemperedELBO
from pyrogen.inference.program.input_checks import is_auto
from pyrogen.inference.program.isolation import isolated_run
from pyrogen.inference.program.options import Options
from pyrogen.inference.program.program import Program, Recording
from pyrogen.story import Story, latent_sites, outside

DEFAULT_BATCH = 128
MIN_STEPS_TO_TRACE = 60
"""Steps of the shortest run whose steps are traced: tracing takes the time of some 40."""
MIN_STEPS_TO_COMPILE = 10_000
"""Steps of the shortest run that `compile="auto"` compiles, twice as many for a small model: compiling takes 3 to 20 s
and saves 1 to 5 ms a step."""


def trace_first_batch(program: Program, batches: Batches) -> Recording | None:
    """Run guide and model on the first rows, isolated, and record their sites.

    Args:
        program: the story's.
        batches: the data.

    Returns:
        The recording; None for a `DataLoader`, whose first batch may be random, or where the program fails: the first
        step fails alike, and reports it.
    """
    if isinstance(batches, LoaderBatches):
        return None
    with isolated_run(program.story):
        recording = Recording(program.at_step(batches.first(), 0))
        try:
            return recording.run(program)
        except Exception:
            return None


def is_local(story: Story, recording: Recording | None) -> bool:
    """Whether every latent sits in the data plate, so that mini-batches need no scaling.

    Args:
        story: the story.
        recording: of guide and model on some rows, or None.

    Returns:
        True where nothing is known; False for an AutoGuide.
    """
    if is_auto(story):
        return False
    if recording is None:
        return True
    latents = {**recording.latents(), **latent_sites(recording.guide.sites.values())}
    return not outside(latents, recording.plate.name if recording.plate is not None else None)


def elbo_for(recording: Recording | None) -> Any:
    """The ELBO that suits a program.

    Args:
        recording: of guide and model on some rows, or None.

    Returns:
        A fresh `Trace_ELBO`, or `TraceEnum_ELBO` where a site is marked for enumeration.
    """
    sites = [] if recording is None else [*recording.model.sites.values(), *recording.guide.sites.values()]
    if recording is None or not any(s["infer"].get("enumerate") for s in latent_sites(sites).values()):
        return Trace_ELBO()
    return TraceEnum_ELBO(max_plate_nesting=recording.nesting)  # left open, Pyro would find it by a run that draws


def objective_for(story: Story, objective: Any, recording: Recording | None) -> Any:
    """The objective of a run.

    Args:
        story: the story.
        objective: what `fit` was given, or None; a `TemperedELBO` without a base gets one that suits the program.
        recording: of guide and model on some rows, or None.

    Returns:
        The objective.

    Raises:
        ValueError: the divergence of latents is to be weighted, and the guide draws none that is scored.
    """
    if objective is None:
        return elbo_for(recording)
    if getattr(objective, "base_is_default", False):
        objective.base = elbo_for(recording)
    settings = (objective.beta, objective.warmup, objective.free_bits) if isinstance(objective, TemperedELBO) else None
    known = recording is not None and not is_auto(story) and not hasattr(story, "training_steps")
    if settings not in (None, (1.0, 0.0, 0.0)) and known and not _has_scored_latent(recording):
        raise ValueError(
            f"{story.name}: TemperedELBO weights the divergence of latents, and this guide draws none that is scored: "
            "leave objective out"
        )
    return objective


def _has_scored_latent(recording: Any) -> bool:
    """Whether the guide draws a latent that no mask excludes."""
    sites = latent_sites(recording.guide.sites.values()).values()
    masks = [(s["mask"], getattr(s["fn"], "_mask", None)) for s in sites]
    return any(False not in [mask for mask in pair if isinstance(mask, bool)] for pair in masks)


def default_objective(program: Program, batches: Batches) -> Any:
    """The objective that `fit` would choose.

    Args:
        program: the story's.
        batches: the data.

    Returns:
        A fresh ELBO.
    """
    return elbo_for(trace_first_batch(program, batches))


def to_compile(options: Options, story: Story, steps_per_epoch: int | None) -> tuple[bool | str, str]:
    """Whether to compile, decided by the length of the run alone, so that equal runs decide alike.

    Args:
        options: of the run.
        story: by whose number of parameters the time of a step is estimated.
        steps_per_epoch: where known.

    Returns:
        True, False, "traced" or "auto", and the reason where steps are not compiled.
    """
    if options.compile != "auto":
        return options.compile, "" if options.compile else "compile=False"
    steps = options.total_steps(steps_per_epoch) or 0
    small = sum(parameter.numel() for parameter in story.trainable().values()) <= MAX_FLAT_PARAMETERS
    least = 2 * MIN_STEPS_TO_COMPILE if small else MIN_STEPS_TO_COMPILE  # a small model's step has less to save
    if steps >= least:
        return "auto", ""
    if 0 < steps < MIN_STEPS_TO_TRACE:
        return False, f"a run of less than {MIN_STEPS_TO_TRACE} steps does not earn back the time of tracing"
    short = f"a run of less than {least:,} steps does not earn back the compiler's time"
    return TRACE_ONLY, short if steps else "the number of steps of the run is not known"
