"""Checks of constructor arguments that several stories share."""

from __future__ import annotations

from typing import Any

__all__ = ["check_latent", "is_number_between"]


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
