"""What several stories ask of their columns."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

__all__ = ["check_event", "check_latent"]


def check_event(who: str, argument: str, data: Mapping[str, Tensor], event_shape: tuple[int, ...]) -> None:
    """Refuse a column `x` whose rows are not of `event_shape`, which the story `who` took as `argument`.

    Raises:
        ValueError: naming both shapes and the remedy; or there is no such column.
    """
    if "x" not in data:
        have = f"no such column (columns: {', '.join(map(str, data))})" if data else "no columns"
        raise ValueError(f"{who} asks for 'x', and the data has {have}")
    came = tuple(data["x"].shape)
    if not came or came[1:] != event_shape:
        expected = ", ".join(["n", *map(str, event_shape)])
        raise ValueError(
            f"{who} takes a column 'x' of shape ({expected}), got {came}: reshape it, or build the story with "
            f"{argument}={came[1:]}"
        )


def check_latent(who: str, latent: int, features: int) -> None:
    """Refuse more latents than features, which a linear story has no use for.

    Raises:
        ValueError: naming both numbers.
    """
    if latent > features:
        raise ValueError(f"{who} takes at most as many latents as features, got latent={latent} of {features} features")
