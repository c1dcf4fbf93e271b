"""Validation of a program's sites: what the model draws, the guide draws too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyrogen.inference.program.program import Recording
from pyrogen.story import Story, enumerated, factor_sites, latent_sites, observed_sites


def check_sites(story: Story, recording: Recording) -> None:
    """Model and guide must have the same latent sites, except for those marked for enumeration.

    Args:
        story: the story.
        recording: of guide and model.

    Raises:
        ValueError: they differ, or the model observes nothing; names the site and the remedy.
    """
    latents = recording.latents()
    observed = observed_sites(recording.model.sites.values())
    guide = latent_sites(recording.guide.sites.values())
    missing = [name for name, site in latents.items() if name not in guide and not enumerated(site)]
    if missing:
        raise ValueError(
            f"{story.name}: the model draws '{missing[0]}' and the guide does not (guide: {_names(guide)}): sample it "
            'in the guide, or mark it infer={"enumerate": "parallel"} to sum it out'
        )
    extra = [name for name, site in guide.items() if name not in latents and not site["infer"].get("is_auxiliary")]
    if extra:
        raise ValueError(
            f"{story.name}: the guide draws '{extra[0]}', which the model "
            f"{'observes' if extra[0] in observed else 'does not draw'} (model: {_names(latents)}): rename or remove "
            'it, or mark it infer={"is_auxiliary": True}'
        )
    factors = factor_sites(recording.model.sites.values())
    model = story.signatures()[0]
    takes_data = model.variadic or any(name not in recording.batch.extra for name in model.columns)
    if not observed and not factors and takes_data:  # a density without data needs no observation
        raise ValueError(
            f"{story.name}: the model observes no site, so there is nothing to learn from: pass data as obs= in one "
            f"of its sample statements ({_names(latents)})"
        )


def check_changed_sites(story: Story, recording: Recording, known: set[Any], step: int) -> None:
    """Check model and guide again where they have other sites than in any step before.

    Args:
        story: the story.
        recording: of a step.
        known: names of the sites in the steps before, to which these are added.
        step: number of steps taken before; the first has checks of its own.

    Raises:
        ValueError: as `check_sites`.
    """
    names = frozenset(recording.model.sites), frozenset(recording.guide.sites)
    if step and any(names) and names not in known:
        try:
            check_sites(story, recording)
        except ValueError as error:
            raise ValueError(f"from step {step + 1} on: {error}") from None
    known.add(names)


def _names(sites: Mapping[str, Any]) -> str:
    return ", ".join(sites) or "none"
