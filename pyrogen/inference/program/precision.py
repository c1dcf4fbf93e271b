"""Precision: the run's floating-point type, and networks in bfloat16 under densities in float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from pyrogen.story import Story

PRECISIONS = ("float32", "bfloat16", "float64")


@contextmanager
def run_precision(story: Story, precision: str) -> Iterator[torch.dtype]:
    """Make `precision` that of new tensors and of the story.

    `bfloat16` is autocast: outputs of the story's networks are converted back to float32, so that log densities of many
    dimensions keep their digits.

    Args:
        story: the story.
        precision: "float32", "bfloat16" or "float64".

    Yields:
        The type of floating-point data.

    Raises:
        ValueError: the precision is unknown, or the story has float64 parameters and another precision is asked for.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision '{precision}' is unknown, expected one of {', '.join(PRECISIONS)}")
    former = torch.get_default_dtype()
    dtype = torch.float64 if torch.float64 in (former, getattr(torch, precision)) else torch.float32
    if precision == "float64":
        story.double()
    elif dtype is torch.float32 and story_dtype(story, dtype) is torch.float64:
        raise ValueError(f"{story.name} has float64 parameters and precision is {precision}: pass precision='float64'")
    with ExitStack() as stack:
        torch.set_default_dtype(dtype)
        stack.callback(torch.set_default_dtype, former)
        if precision == "bfloat16":
            for module in {id(m): m for m in story.called_modules()}.values():
                stack.callback(module.register_forward_hook(_full).remove)
        yield dtype


def story_dtype(story: Story, default: torch.dtype) -> torch.dtype:
    """The floating-point type of the story's parameters.

    Args:
        story: the story.
        default: where it has none.

    Returns:
        The type.
    """
    tensors = [*story.trainable().values(), *story.buffers()]
    return next((t.dtype for t in tensors if t.is_floating_point()), default)


def _full(_module: Any, _args: Any, output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.float() if output.dtype is torch.bfloat16 else output
    if isinstance(output, tuple | list):
        return type(output)(_full(None, None, part) for part in output)
    return output
