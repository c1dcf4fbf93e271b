"""A case measured: every variant made, held against the others, and timed in turn with them."""

from __future__ import annotations

import dataclasses
import gc
import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from svi.case import Case, initial_values
from svi.variant import NotPossibleError, Variant
from svi.with_numpyro import NumPyro
from svi.with_pyro import Pyro, Pyrogen
from svi.with_torch import Captured, Torch, compiled_forms

__all__ = ["ON_CUDA", "VARIANTS", "Setting", "Timing", "measured"]

ON_CUDA = ("torch_captured",)
VARIANTS = (
    "pyro", "pyro_novalidate", "torch", "torch_compiled", "torch_captured", "pyrogen_eager", "pyrogen_traced",
    "pyrogen_compiled", "numpyro",
)  # fmt: skip
BURST_SECONDS = 0.025
WARM_SECONDS = 0.3
TRIALS = 7
"""Rounds in which several forms of a variant compete."""
CHECK_SECONDS, MOST_DRAWS, FEWEST_DRAWS = 2.0, 400, 20
ERRORS, ROUNDING = 5.0, 1e-5


@dataclasses.dataclass(frozen=True)
class Setting:
    """How to measure: on what, with how many threads, in how many rounds, with which NumPyro."""

    device: torch.device
    threads: int
    rounds: int
    numpyro: str | None


@dataclasses.dataclass
class Timing:
    """What was found of one variant: milliseconds a step, over all rounds, or the reason why there are none."""

    variant: str
    ms: float | None = None
    quartiles: tuple[float, float] | None = None
    form: str = ""
    reason: str = ""
    loss: tuple[float, float] | None = None
    ready_seconds: float = 0.0
    steps: int = 0
    versions: dict[str, str] = dataclasses.field(default_factory=dict)


def measured(name: str, case: Case, variants: Sequence[str], setting: Setting) -> list[Timing]:
    """The timings of a case, in the order of `variants`.

    Raises:
        AssertionError: two variants' losses differ, or one leaves a parameter unmoved: they would do other work.
    """
    found = {variant: Timing(variant) for variant in variants}
    ready: list[Variant] = []
    try:
        for variant, timing in found.items():
            began = time.perf_counter()
            try:
                forms = _made(variant, name, case, setting)
            except NotPossibleError as error:
                timing.reason = str(error)
                continue
            timing.ready_seconds = round(time.perf_counter() - began, 2)
            ready += forms
        _hold_against_each_other(name, ready, found)
        ready = _fastest_forms(ready)
        _time(ready, found, setting.rounds)
    finally:
        for variant in ready:
            variant.close()
        torch._dynamo.reset()
    return list(found.values())


def _made(variant: str, name: str, case: Case, setting: Setting) -> list[Variant]:
    """The forms of a variant, ready to take steps."""
    start = initial_values(case)
    given: Any = (variant, case, start, setting.device)
    if variant in ON_CUDA and setting.device.type != "cuda":
        raise NotPossibleError("runs on CUDA")
    if variant == "numpyro":
        if setting.numpyro is None:
            raise NotPossibleError("NumPyro is not installed: name an interpreter that has it by --numpyro-python")
        return NumPyro.forms(setting.numpyro, name, case, start, setting.threads)
    if variant == "torch_compiled":
        return compiled_forms(case, start, setting.device)
    if variant.startswith("pyrogen"):
        return [Pyrogen(*given)]
    makers: dict[str, Callable[[], Variant]] = {
        "pyro": lambda: Pyro(*given, validate=True),
        "pyro_novalidate": lambda: Pyro(*given, validate=False),
        "torch": lambda: Torch(*given),
        "torch_captured": lambda: Captured(*given, capturable=True),
    }
    return [makers[variant]()]


def _hold_against_each_other(name: str, ready: Sequence[Variant], found: dict[str, Timing]) -> None:
    """All train the same numbers, all of them, on the same loss."""
    if not ready:
        return
    first = ready[0]
    reference: tuple[float, float] | None = None
    for variant in ready:
        who = f"{name}, {variant.name}" + (f" ({variant.form})" if variant.form else "")
        if variant.count() != first.count():
            raise AssertionError(f"{who} trains {variant.count()} numbers, {first.name} {first.count()}")
        unmoved = variant.unmoved()
        if unmoved:
            raise AssertionError(f"{who}: parameter '{unmoved[0]}' does not move ({len(unmoved)} do not)")
        mean, error = variant.losses(_draws(variant))
        reference = reference or (mean, error)
        allowed = ERRORS * math.hypot(error, reference[1]) + ROUNDING * abs(reference[0])
        if not abs(mean - reference[0]) <= allowed:
            raise AssertionError(
                f"{who}: the loss at the start is {mean:.6g} on average, that of {first.name} {reference[0]:.6g}, and "
                f"they may differ by {allowed:.2g}"
            )
        found[variant.name].loss = mean, error


def _draws(variant: Variant) -> int:
    """How many losses are averaged."""
    return int(min(MOST_DRAWS, max(FEWEST_DRAWS, CHECK_SECONDS / (variant.seconds(3) / 3))))


def _fastest_forms(ready: list[Variant]) -> list[Variant]:
    """Of every variant the form that is fastest in a few rounds among themselves."""
    kept = []
    for name in dict.fromkeys(variant.name for variant in ready):
        forms = [variant for variant in ready if variant.name == name]
        if len(forms) > 1:
            steps = {form: _burst(form) for form in forms}
            times = {form: [form.seconds(n) / n for _ in range(TRIALS)] for form, n in steps.items()}
            forms.sort(key=lambda form: statistics.median(times[form]))
        kept.append(forms[0])
    return kept


def _time(ready: Sequence[Variant], found: dict[str, Timing], rounds: int) -> None:
    """Bursts of steps, the variants in a new random order each round."""
    steps = {variant: _burst(variant) for variant in ready}
    times: dict[str, list[float]] = {variant.name: [] for variant in ready}
    order, shuffle = list(ready), random.Random(0).shuffle
    gc.collect()
    gc.freeze()
    try:
        for _ in range(rounds):
            shuffle(order)
            for variant in order:
                gc.collect()
                gc.disable()
                seconds = variant.seconds(steps[variant])
                gc.enable()
                times[variant.name].append(1000 * seconds / steps[variant])
    finally:
        gc.enable()
        gc.unfreeze()
    for variant in ready:
        timing, values = found[variant.name], times[variant.name]
        low, _, high = statistics.quantiles(values, n=4)
        timing.ms, timing.quartiles = statistics.median(values), (low, high)
        timing.form, timing.steps, timing.versions = variant.form, steps[variant], variant.versions


def _burst(variant: Variant) -> int:
    """How many steps make a burst, found after some that warm up."""
    warm, steps = 0.0, 1
    while True:
        seconds = variant.seconds(steps)
        warm += seconds
        if seconds >= BURST_SECONDS and warm >= WARM_SECONDS:
            return max(1, math.ceil(steps * BURST_SECONDS / seconds))
        if seconds < BURST_SECONDS:
            steps = max(steps + 1, min(4 * steps, math.ceil(1.2 * steps * BURST_SECONDS / seconds)))
