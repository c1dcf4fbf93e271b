"""`pyrogen sample`."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import safetensors.torch
import torch
import typer
from torch import Tensor

from pyrogen.catalog.settings import check_settings, format_value, settings_of
from pyrogen.cli.data_protocol import reload_data
from pyrogen.cli.open_run import load_run
from pyrogen.cli.options import Device, Directory, Seed, StoryFile, path_option
from pyrogen.cli.parsing import parse_pairs
from pyrogen.data import as_symbols, as_text
from pyrogen.inference import Fit
from pyrogen.inference.program.rng import seeded
from pyrogen.messages import UsageError, printable, writing
from pyrogen.plots import save_image_grid
from pyrogen.story import Story

_SUFFIXES = (".png", ".npz", ".safetensors", ".txt")


def sample(
    directory: Directory,
    out: Annotated[
        Path,
        typer.Option(
            parser=path_option, metavar="FILE", help="Output file: .png, .npz, .safetensors, or .txt for text."
        ),
    ],
    n: Annotated[int, typer.Option("-n", min=1, help="Number of data.")] = 64,
    seed: Seed = 0,
    given: Annotated[list[str] | None, typer.Option(metavar="COLUMN=VALUE", help="Condition on it: y=3.")] = None,
    begin: Annotated[
        str | None,
        typer.Option(metavar="PART", help="Complete data: 0.5, given the first halves of test data; or a text."),
    ] = None,
    draw: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="How a diffusion model samples: steps=50, eta=0, guidance=2."),
    ] = None,
    story: StoryFile = None,
    device: Device = "auto",
) -> None:
    """Draw new data from a trained story into a file."""
    suffix = out.suffix.lower()
    if suffix not in _SUFFIXES:
        raise typer.BadParameter(f"expected a file {', '.join(_SUFFIXES)}, got '{out}'", param_hint="'--out'")
    if begin is not None and draw:
        raise typer.BadParameter("it has no effect with --begin: leave one out", param_hint="'--draw'")
    conditions, draw_settings = parse_pairs("--given", given or []), parse_pairs("--draw", draw or [])
    run = load_run(directory, story, device)
    with seeded(seed):
        columns = _given_columns(run, conditions, n)
        draw_all = partial(_draw, run.story, n, columns, draw_settings)
        samples = draw_all() if begin is None else _complete(run, begin, columns, n, set(conditions))
    columns |= samples if isinstance(samples, Mapping) else {_sampled_column(run.story): samples}
    columns = {name: column.detach().cpu().contiguous() for name, column in columns.items()}
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        _write(out, suffix, columns, (run.config["data"]["protocol"] or {}).get("alphabet"))
    print(printable(f"drew {_shapes(columns)} from {run.story.name}, seed {seed}, into {out}"))


def _draw(story: Any, n: int, given: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Any:
    """New data, by the story's `draw` where it has one that takes the settings."""
    if not settings:
        return story.sample(n, **given)
    if not hasattr(story, "draw"):
        raise UsageError(f"--draw: {story.name} has no settings of its sampler: leave it out")
    schema = {name: setting for name, setting in settings_of(story.draw).items() if name not in {"n", *given}}
    check_settings(settings, schema, f"--draw: {story.name}")
    return story.draw(n, **given, **settings)


def _sampled_column(story: Story) -> str:
    """The column of the samples where they are one tensor: the observed site that is called as a column, else `x`."""
    spec = story.training_spec
    return next((site for site in spec.sites if site in spec.columns), "x") if spec is not None else "x"


def _given_columns(run: Fit, conditions: Mapping[str, Any], n: int) -> dict[str, Tensor]:
    """Columns to condition on (n, ...): those of `--given`, and labels by their frequencies in training."""
    spec, story = run.story.training_spec, run.story
    specs, sites = (spec.columns, spec.sites) if spec is not None else ({}, ())
    frequencies = (run.config["data"]["protocol"] or {}).get("label_frequencies", {})
    columns, model = {}, story.signatures()[0]
    for name, value in conditions.items():
        if not model.accepts(name):
            has = ", ".join(model.columns)
            raise UsageError(f"--given {name}: {story.name} has no column '{name}' (it has: {has})")
        known = specs.get(name)
        columns[name] = _column(name, value, n, known.shape if known else (), known.dtype if known else None)
        classes = 0 if name == "length" else len(frequencies.get(name, ()))  # the story knows the greatest length
        if classes and (int(columns[name].min()) < 0 or int(columns[name].max()) >= classes):
            raise UsageError(f"--given {name}={format_value(value)}: labels are whole numbers from 0 to {classes - 1}")
    for name, counts in frequencies.items():
        if name in specs and model.accepts(name) and name not in (*columns, *sites):
            columns[name] = torch.multinomial(torch.tensor(counts, dtype=torch.float64), n, replacement=True)
    return {name: column.to(story.device) for name, column in columns.items()}


def _column(name: str, value: Any, n: int, shape: tuple[int, ...], dtype: torch.dtype | None) -> Tensor:
    """A value for all rows, or one for each, as a column (n, *shape)."""
    where = f"--given {name}={format_value(value)}"
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise UsageError(f"{where}: expected a number, or a list of numbers in JSON") from None
    if tensor.dtype == torch.bool and dtype != torch.bool:
        raise UsageError(f"{where}: expected a number, true and false are none")
    if dtype is not None and not dtype.is_floating_point and tensor.is_floating_point():
        raise UsageError(f"{where}: '{name}' holds whole numbers")
    tensor = tensor if dtype is None else tensor.to(dtype)
    if tuple(tensor.shape) == shape:
        return tensor.expand(n, *shape)
    if tuple(tensor.shape) != (n, *shape):
        raise UsageError(f"--given {name}: expected shape {shape} for all or {(n, *shape)}, got {tuple(tensor.shape)}")
    return tensor


def _complete(run: Fit, begin: str, given: dict[str, Tensor], n: int, conditions: Collection[str]) -> Tensor:
    """Draw data whose first part is given.

    Args:
        run: a run of a story that draws its elements in order.
        begin: a number between 0 and 1, that part of the first test data; else a text, the same for all.
        given: columns to condition on; those that are not of `conditions` are replaced: by those of the test data where
            these are completed, the length of texts by the largest one.
        n: number of data.
        conditions: columns that the user chose.

    Returns:
        The data (n, *event_shape).

    Raises:
        UsageError: a text is longer than the length that was given.
        ValueError: the story draws all elements at once, or there are fewer than `n` test data.
        typer.BadParameter: `begin` is a number that is not between 0 and 1.
    """
    story: Any = run.story
    if not hasattr(story, "complete"):
        raise ValueError(f"{story.name} cannot complete data: only autoregressive stories draw element by element")
    part = None
    with contextlib.suppress(ValueError):
        part = float(begin)
    if part is None:
        alphabet = (run.config["data"]["protocol"] or {}).get("alphabet")
        if alphabet is None:
            raise ValueError(f"--begin {begin}: expected a number between 0 and 1, as the run was not trained on text")
        if "length" in conditions and int(given["length"].min()) < len(begin):
            raise UsageError(
                f"--given length={int(given['length'].min())}: expected at least the {len(begin)} characters of "
                f"--begin {begin}: raise it, or leave it out"
            )
        if "length" not in conditions:
            given.pop("length", None)  # a text is completed to the full length
        return story.complete(as_symbols(begin, alphabet).expand(n, -1), **given)
    if not 0 < part < 1:
        raise typer.BadParameter(f"expected a number between 0 and 1, or a text, got {begin}", param_hint="'--begin'")
    test = reload_data(story, run.config, None, None).test
    if n > test.rows:
        raise ValueError(f"--begin {begin}: there are {test.rows:,} test data, fewer than -n {n}")
    columns = test.batch(torch.arange(n))
    of_test = [name for name in given if name in columns and name not in conditions]
    given.update({name: columns[name].to(story.device) for name in of_test})
    return story.complete(story.beginning(columns["x"], part), **given)


def _write(out: Path, suffix: str, columns: dict[str, Tensor], alphabet: str | None) -> None:
    if suffix == ".txt":
        if alphabet is None:
            raise ValueError("the run was not trained on text (a .txt file): write .npz or .safetensors instead")
        lines = as_text(columns["x"], columns.get("length"), alphabet)
        out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif suffix == ".png":
        images = {name: c for name, c in columns.items() if c.dim() == 4 and c.shape[1] in (1, 3)}
        if not images:
            raise ValueError(
                f"no column is of images (n, 1 or 3, height, width): {_shapes(columns)}; write .npz or .safetensors "
                "instead"
            )
        save_image_grid(out, images.get("x", next(iter(images.values()))))
    elif suffix == ".npz":
        with zipfile.ZipFile(out, "w") as archive:  # not np.savez, to which a column called "file" is an argument
            for name, column in columns.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, column.numpy(), allow_pickle=False)
    else:
        out.write_bytes(safetensors.torch.save(columns))


def _shapes(columns: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{name} {tuple(column.shape)}" for name, column in columns.items())
