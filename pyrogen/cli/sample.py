"""`pyrogen sample`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import safetensors.torch
import torch
import typer
from torch import Tensor

from pyrogen.cli.complete import completed
from pyrogen.cli.open_run import opened
from pyrogen.cli.options import Device, Directory, Seed, StoryFile
from pyrogen.cli.parsing import parse_pairs
from pyrogen.data import as_text
from pyrogen.inference import Fit
from pyrogen.inference.program.rng import seeded
from pyrogen.messages import did_you_mean
from pyrogen.plots import save_image_grid
from pyrogen.story import Story

__all__ = ["sample"]

_SUFFIXES = (".png", ".npz", ".safetensors", ".txt")


def sample(
    directory: Directory,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="What to write: .png, .npz, .safetensors, or .txt of text.")
    ],
    n: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 64,
    seed: Seed = 0,
    given: Annotated[list[str] | None, typer.Option(metavar="COLUMN=VALUE", help="Condition on it: y=3.")] = None,
    begin: Annotated[
        str | None,
        typer.Option(metavar="PART", help="Complete what so begins: 0.5, the first halves of test data; or a text."),
    ] = None,
    how: Annotated[
        list[str] | None,
        typer.Option("--draw", metavar="KEY=VALUE", help="How a diffusion draws: steps=50, eta=0, guidance=2."),
    ] = None,
    story: StoryFile = None,
    device: Device = "auto",
) -> None:
    """Draw new data from a trained story into a file."""
    suffix = out.suffix.lower()
    if suffix not in _SUFFIXES:
        raise typer.BadParameter(f"expected a file {', '.join(_SUFFIXES)}, got '{out}'", param_hint="'--out'")
    wanted, ways = parse_pairs("--given", given or []), parse_pairs("--draw", how or [])
    run = opened(directory, story, device)
    with seeded(seed):
        told = _given(run, wanted, n)
        drawn = _drawn(run.story, n, told, ways) if begin is None else completed(run, begin, told, n)
    columns = drawn if isinstance(drawn, Mapping) else {_drawn_column(run.story): drawn}
    columns = {name: c.detach().cpu().contiguous() for name, c in {**told, **columns}.items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    _write(out, suffix, columns, (run.config["data"]["protocol"] or {}).get("alphabet"))
    shapes = ", ".join(f"{name} {tuple(column.shape)}" for name, column in columns.items())
    print(f"drew {shapes} from {run.story.name}, seed {seed}, into {out}")


def _drawn(story: Any, n: int, told: Mapping[str, Tensor], how: Mapping[str, Any]) -> Any:
    """New data, in a way of the story's own where one is asked for."""
    if not how:
        return story.sample(n, **told)
    if not hasattr(story, "draw"):
        raise ValueError(f"--draw: {story.name} draws in one way alone: leave it out")
    ways = [name for name in inspect.signature(story.draw).parameters if name not in {"n", *told}]
    for name in how:
        if name not in ways:
            raise ValueError(f"--draw {name}: {story.name} knows {', '.join(ways)}{did_you_mean(name, ways)}")
    return story.draw(n, **told, **how)


def _drawn_column(story: Story) -> str:
    """The column that one tensor of draws is of: the site's, where it is called as one, else `x`."""
    seen = story.training_spec
    return next((site for site in seen.sites if site in seen.columns), "x") if seen is not None else "x"


def _given(run: Fit, wanted: Mapping[str, Any], n: int) -> dict[str, Tensor]:
    """Columns to condition on, (n, ...): those wanted, and labels by their frequencies in training."""
    seen, story = run.story.training_spec, run.story
    specs = {} if seen is None else seen.columns
    frequencies = (run.config["data"]["protocol"] or {}).get("label_frequencies", {})
    columns = {}
    for name, value in wanted.items():
        spec = specs.get(name)
        columns[name] = _spread(name, value, n, spec.shape if spec else (), spec.dtype if spec else None)
        known = 0 if name == "length" else len(frequencies.get(name, ()))  # the story knows how long it can be
        if known and (int(columns[name].min()) < 0 or int(columns[name].max()) >= known):
            raise ValueError(f"--given {name}={value}: labels are whole numbers from 0 to {known - 1}")
    for name, counts in frequencies.items():
        asked = name in specs and story.signatures()[0].accepts(name)
        if asked and name not in columns and seen is not None and name not in seen.sites:
            columns[name] = torch.multinomial(torch.tensor(counts, dtype=torch.float64), n, replacement=True)
    return {name: column.to(story.device) for name, column in columns.items()}


def _spread(name: str, value: Any, n: int, shape: tuple[int, ...], dtype: torch.dtype | None) -> Tensor:
    """A value for all rows, or one for each, as a column (n, *shape)."""
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"--given {name}={value}: expected a number, or a list of numbers in JSON") from None
    if dtype is not None and not dtype.is_floating_point and tensor.is_floating_point():
        raise ValueError(f"--given {name}={value}: '{name}' holds whole numbers")
    tensor = tensor if dtype is None else tensor.to(dtype)
    if tuple(tensor.shape) == shape:
        return tensor.expand(n, *shape)
    if tuple(tensor.shape) != (n, *shape):
        raise ValueError(f"--given {name}: has shape {tuple(tensor.shape)}, expected {shape} for all or {(n, *shape)}")
    return tensor


def _write(out: Path, suffix: str, columns: dict[str, Tensor], alphabet: str | None) -> None:
    if suffix == ".txt":
        if alphabet is None:
            raise ValueError("the run was not trained on text (a .txt file): write .npz or .safetensors instead")
        lines = as_text(columns["x"], columns.get("length"), alphabet)
        out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif suffix == ".png":
        save_image_grid(out, _image_of(columns))
    elif suffix == ".npz":
        with out.open("wb") as file:
            np.savez(file, **{name: column.numpy() for name, column in columns.items()})  # type: ignore[arg-type]
    else:
        safetensors.torch.save_file(columns, out)


def _image_of(columns: Mapping[str, Tensor]) -> Tensor:
    images = {name: c for name, c in columns.items() if c.dim() == 4 and c.shape[1] in (1, 3)}
    if not images:
        shapes = ", ".join(f"{name} {tuple(column.shape)}" for name, column in columns.items())
        raise ValueError(
            f"no column is of images (n, 1 or 3, height, width): {shapes}; write .npz or .safetensors instead"
        )
    return images.get("x", next(iter(images.values())))
