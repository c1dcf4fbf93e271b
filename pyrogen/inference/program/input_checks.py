"""Validation of options, of model and guide, and of data, on one traced batch before training."""

from __future__ import annotations

import traceback
from typing import Any

import torch
from pyro.infer.autoguide import AutoContinuous, AutoGuide, AutoMessenger
from torch import Tensor

from pyrogen.inference.program.program import Recording
from pyrogen.inference.program.site_checks import check_sites
from pyrogen.messages import UsageError
from pyrogen.story import Story, factor_sites, full_value, inside, latent_sites, observed_sites, outside

_CREATE_PLATES = 'create_plates=lambda x, total, index: pyro.plate("{}", total, subsample=index)'
"""How an AutoGuide is told which rows a batch holds."""


def resolve_device(device: str | torch.device) -> torch.device:
    """The device by name: `auto` is a CUDA device where there is one, else the CPU.

    Args:
        device: "auto", "cpu", "cuda", "cuda:1", ...

    Returns:
        The device.

    Raises:
        TypeError: it is no name and no device.
        UsageError: the name is none of a device.
        ValueError: there is no such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not isinstance(device, str | torch.device):
        raise TypeError(f"device must be a name, such as 'cpu', or a torch.device, got a {type(device).__name__}")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        text = str(error).split("\n")[0]
        raise UsageError(f"device is '{device}': expected auto, cpu, cuda or cuda:1 ({text})") from None
    if found.type == "meta":
        raise UsageError("device is 'meta', whose tensors hold no values: expected auto, cpu, cuda or cuda:1")
    try:
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, ImportError, NotImplementedError) as error:
        have = "cpu" + (f", cuda:0 to cuda:{torch.cuda.device_count() - 1}" if torch.cuda.is_available() else "")
        reason = str(error).split("\n")[0].split(". ")[0]
        raise ValueError(f"device '{device}' is not there ({reason}); have: {have}. Use device='auto'") from None
    return found


def check_first_batch(story: Story, recording: Recording, rows: int | None) -> None:
    """Sites, values and scales of the first batch; see `check_sites`, `check_values` and `check_batch_scale`.

    Args:
        story: the story.
        recording: of guide and model on the batch.
        rows: rows in the training set, where known.
    """
    check_sites(story, recording)
    check_values(story, recording)
    check_batch_scale(story, recording, rows)


def check_values(story: Story, recording: Recording) -> None:
    """Every observed value must lie in the support of its distribution.

    Args:
        story: the story.
        recording: of guide and model.

    Raises:
        ValueError: one does not; names the site, the support, the range of the data, and the remedy.
    """
    for name, site in observed_sites(recording.model.sites.values()).items():
        fn = site["fn"]
        try:
            support, value = fn.support, full_value(site)
            if getattr(support, "is_discrete", None) is None:
                continue
            outside_support = ~support.check(value)
        except Exception:  # no support, as of Pyro's bridge to zuko, or none that takes this shape: log_prob decides
            continue
        if value.is_floating_point() and outside_support.numel():  # NaN passed, where the density is finite
            missing = value.isnan().reshape(*outside_support.shape, -1).any(-1)
            outside_support = outside_support & ~missing
        if not bool(outside_support.any()):
            continue
        base, example = getattr(fn, "base_dist", fn), ""
        if outside_support.shape == value.shape:
            example = f" (first bad value {float(value[outside_support].flatten()[0]):.4g})"
        inner = getattr(support, "base_constraint", support)
        described = "{0, 1}" if type(inner).__name__ in ("Boolean", "_Boolean") else str(inner).replace("()", "")
        remedy = "use a likelihood whose support holds such values, or change the data"
        if type(base).__name__.endswith("Bernoulli"):
            remedy = (
                "pass binarize='static', 'dynamic' or 'threshold' to pyrogen.data.load (--binarize), "
                "or use another likelihood"
            )
        raise ValueError(
            f"{story.name}: site '{name}': {type(base).__name__} has support {described}, but the data lie in "
            f"[{float(value.min()):.4g}, {float(value.max()):.4g}]{example}: {remedy}"
        )


def check_batch_scale(story: Story, recording: Recording, rows: int | None, what: str = "batches hold") -> None:
    """A batch smaller than the data set must be scaled to the whole wherever a latent is shared by all data.

    Args:
        story: the story.
        recording: of guide and model on the batch.
        rows: rows in the training set; None: not known, and not checked.
        what: of the message; "batches hold" by default.

    Raises:
        ValueError: a latent sits outside the data plate, and the plate is not scaled to the whole data set; or an
            AutoGuide would keep latents of single rows by their place in the batch, or not know the rows.
    """
    n, plate = recording.batch.n, recording.plate
    if rows is None or n == rows:
        return
    name = plate.name if plate is not None else None
    latents = {**recording.latents(), **latent_sites(recording.guide.sites.values())}
    for local in (site for site in latents if inside(latents[site], name)):
        if (problem := _row_latent_problem(story, recording, local, plate)) is not None:
            raise ValueError(
                f"{story.name}: latent '{local}' belongs to single rows, {what} {n} of {rows} rows, {problem}"
            )
    scale = _data_scale(recording, name)
    for shared in outside(latents, name):
        recorder = recording.model if shared in recording.model.scales else recording.guide
        weight = float(torch.as_tensor(recorder.scales[shared]).max())
        if weight == 0 or abs(scale * n / (weight * rows) - 1) > 1e-3:
            raise ValueError(_unscaled(story, recording, shared, f"{what} {n} of {rows} rows"))


def _row_latent_problem(story: Story, recording: Recording, site: str, plate: Any) -> str | None:
    """Why an AutoGuide would keep a latent of single rows by its place in the batch, or None, and what to do."""
    guides = [part for part in guide_parts(story) if isinstance(part, AutoGuide | AutoMessenger)]
    if not guides:
        return None
    kind = type(guides[0]).__name__
    whole = "or pass batch_size=None for the whole data set in each step"
    if recording.batch.index is None:
        return f"and {kind} cannot know which rows a DataLoader gives: pass columns in place of the DataLoader"
    create_plates = _CREATE_PLATES.format(plate.name)
    if plate.full_size in (None, plate.size):
        return (
            f"and {kind} would keep its values by their place in the batch: write "
            f'`with pyro.plate("{plate.name}", total, subsample=index):` in the model (which may ask for total and '
            f"index by name), and pass AutoNormal(model, {create_plates}), {whole}"
        )
    if any(isinstance(part, AutoMessenger) for part in guides):
        return None  # it runs inside the model's own plates
    flat = [g for g in guides if isinstance(g, AutoContinuous) and site in getattr(g.prototype_trace, "nodes", ())]
    if flat or all(getattr(part, "create_plates", None) is None for part in guides):
        kind = type((flat or guides)[0]).__name__
        return f"which {kind} does not know: pass AutoNormal(model, {create_plates}), {whole}"
    return None


def _data_scale(recording: Recording, plate: str | None) -> float:
    """The scale of the observed sites, or of factors in their place, without the share of other plates."""
    scales = []
    sites = recording.model.sites.values()
    for name, site in (observed_sites(sites) or factor_sites(sites)).items():
        scale = float(torch.as_tensor(recording.model.scales[name]).max())
        for frame in site["cond_indep_stack"]:
            if frame.name != plate:
                scale *= frame.size / float(frame.full_size or frame.size)
        scales.append(scale)
    return max(scales, default=1.0)


def _unscaled(story: Story, recording: Recording, site: str, rows: str) -> str:
    if recording.batch.index is None:
        remedy = 'Write `with pyro.plate("data", total, subsample_size=n):` (both may be asked for by name)'
    else:
        remedy = (
            'Write `with pyro.plate("data", total, subsample=index):` (model and guide may ask for total and index by '
            "name), or pass batch_size=None for the whole data set in each step"
        )
    return (
        f"{story.name}: latent '{site}' is shared by all data, and {rows} that the model does not scale to the whole: "
        f"the posterior would be silently wrong. {remedy}"
    )


def is_auto(story: Story) -> bool:
    """Whether the guide is one of Pyro's AutoGuides or AutoMessengers.

    Args:
        story: the story.

    Returns:
        True if it is, or holds one.
    """
    return any(isinstance(part, AutoGuide | AutoMessenger) for part in guide_parts(story))


def guide_parts(story: Story) -> list[Any]:
    """The modules of a story, and the guide of a pair, among them any AutoGuide.

    Args:
        story: the story.

    Returns:
        The modules and the function.
    """
    return [*story.all_modules(), getattr(story, "_programs", {}).get("guide")]


def explain(story: Story, recording: Recording, error: Exception) -> Exception:
    """A one-line error for a first run of model and guide that failed.

    Args:
        story: the story.
        recording: what was recorded before the failure.
        error: the failure.

    Returns:
        What `check_values` finds; else, for an error about shapes, types or values, the columns with the error's first
        line; else `error` itself.
    """
    try:
        check_values(story, recording)
    except ValueError as readable:
        return readable
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    own = bool(frames) and str(frames[-1].f_globals.get("__name__", "")).startswith("pyrogen.inference")
    text = str(error)
    explicable = isinstance(error, RuntimeError | ValueError | IndexError | TypeError)
    if own or not explicable or isinstance(error, RecursionError) or "memory" in text:
        return error
    columns = ", ".join(describe_column(key, c) for key, c in recording.batch.columns.items() if isinstance(c, Tensor))
    first = text.splitlines()[0].rstrip(":") if text else type(error).__name__
    explained = ValueError(f"{story.name} cannot take these columns ({columns}): {first}")
    if "\n" in text:  # Pyro appends the shapes of all sites
        explained.add_note(text)
    return explained


def describe_column(key: str | int, column: Tensor) -> str:
    """Name, shape and type of a column, and the range of whole numbers.

    Args:
        key: its name or position.
        column: its values.

    Returns:
        The words.
    """
    described = f"{key} {tuple(column.shape)} {str(column.dtype).removeprefix('torch.')}"
    whole = not column.is_floating_point() and column.dtype is not torch.bool and column.numel() > 0
    return f"{described} in {int(column.min())} to {int(column.max())}" if whole else described
