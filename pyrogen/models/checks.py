"""What several stories ask of their arguments."""

from __future__ import annotations

__all__ = ["check_latent"]


def check_latent(who: str, latent: int, features: int) -> None:
    """Refuse more latents than features, which a linear story has no use for.

    Raises:
        ValueError: naming both numbers.
    """
    if latent > features:
        raise ValueError(f"{who} takes at most as many latents as features, got latent={latent} of {features} features")
