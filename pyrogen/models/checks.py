"""Checks of constructor arguments that several stories share."""

from __future__ import annotations

import math
from typing import Any

from pyrogen.arguments import shown


def check_latent(story: str, latent: int, features: int) -> None:
    """Refuse more latents than features in a linear story.

    Args:
        story: name of the story, for the message.
        latent: number of latents.
        features: number of features.

    Raises:
        ValueError: there are more latents than features.
    """
    if latent > features:
        raise ValueError(
            f"{story} takes at most as many latents as features, got latent={latent} of {features} features"
        )


def is_number_between(value: Any, low: float, high: float, kind: Any = int | float) -> bool:
    """Whether an argument, which may be anything, is a number in [low, high].

    Args:
        value: the argument.
        low: smallest value allowed.
        high: largest value allowed.
        kind: type that the number must have; int or float by default.

    Returns:
        True if it is.
    """
    return isinstance(value, kind) and low <= value <= high


def check_timesteps(num_timesteps: int, timesteps_per_datum: int | None, simple_loss: bool) -> None:
    """Refuse numbers of timesteps that a diffusion cannot have.

    Args:
        num_timesteps: number of timesteps T.
        timesteps_per_datum: number of timesteps that are drawn for each datum, or None for the full chain.
        simple_loss: whether drawn timesteps are weighted by the simple loss.

    Raises:
        ValueError: there are fewer than 3 timesteps, `timesteps_per_datum` is not from 1 to T - 2, or `simple_loss` is
            set for the full chain.
    """
    if not is_number_between(num_timesteps, 3, math.inf, int):
        raise ValueError(f"num_timesteps is a whole number of at least 3, got num_timesteps={shown(num_timesteps)}")
    most = num_timesteps - 2
    if timesteps_per_datum is not None and not is_number_between(timesteps_per_datum, 1, most, int):
        raise ValueError(
            f"timesteps_per_datum is a whole number from 1 to {most}, or None for the full chain of all "
            f"{num_timesteps}, got timesteps_per_datum={shown(timesteps_per_datum)}"
        )
    if simple_loss and timesteps_per_datum is None:
        raise ValueError(
            "simple_loss=True weights timesteps that are drawn: set timesteps_per_datum=1, or leave simple_loss out"
        )
