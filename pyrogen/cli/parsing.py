"""Values on the command line: objectives, and pairs `key=value`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import typer
from pyro.infer import TraceMeanField_ELBO

from pyrogen.adversarial import AdversarialLoss, Hinge, NonSaturating, Wasserstein
from pyrogen.inference import ImportanceWeightedELBO, TemperedELBO
from pyrogen.messages import did_you_mean

_WITHOUT_VALUE = ("elbo", "meanfield", "nonsaturating", "hinge")
_TEMPERED = {"beta": "beta", "warmup": "warmup", "freebits": "free_bits"}
_ADVERSARIAL: dict[str, Any] = {"nonsaturating": NonSaturating, "hinge": Hinge, "wasserstein": Wasserstein}
_ADVERSARIAL_ARGUMENTS = {"r1": "r1", "critic_steps": "critic_steps", "wasserstein": "gradient_penalty"}
_KNOWN = (*_WITHOUT_VALUE, *_TEMPERED, "iwae", "wasserstein", "r1", "critic_steps")
_FORMS = (
    "elbo, meanfield, beta=4, warmup=10, freebits=0.1, iwae=50, and for GANs nonsaturating, hinge, wasserstein=10, "
    "r1=1, critic_steps=5, joined by commas"
)


def parse_objective(text: str) -> Any:
    """The objective of a text.

    Args:
        text: such as `meanfield,beta=4,warmup=10`.

    Returns:
        An ELBO of Pyro's or pyrogen's, or an adversarial loss; None for `elbo`, the default of `fit`.

    Raises:
        typer.BadParameter: an unknown objective, a value out of range, or objectives that exclude each other.
    """
    try:
        return _objective(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="'--objective'") from None


def _objective(text: str) -> Any:
    values: dict[str, float | None] = {}
    for part in text.split(","):
        name, value = _parse_part(part)
        if name in values:
            raise ValueError(f"'{name}' is given twice")
        values[name] = value
    if values.keys() & {*_ADVERSARIAL, *_ADVERSARIAL_ARGUMENTS}:
        return _adversarial_loss(values)
    if "iwae" in values:
        return _importance_weighted(values)
    tempering: Any = {_TEMPERED[name]: value for name, value in values.items() if name in _TEMPERED}
    base = TraceMeanField_ELBO() if "meanfield" in values else None
    return TemperedELBO(**tempering, base=base) if tempering else base


def _parse_part(text: str) -> tuple[str, float | None]:
    name, equals, value = (piece.strip() for piece in text.partition("="))
    if name not in _KNOWN:
        raise ValueError(f"no objective is called '{name}'{did_you_mean(name, _KNOWN)} (write {_FORMS})")
    if not equals and name in (*_WITHOUT_VALUE, "wasserstein"):
        return name, None
    if name in _WITHOUT_VALUE:
        raise ValueError(f"'{name}' takes no value, got '{name}={value}'")
    try:
        return name, float(value)
    except ValueError:
        raise ValueError(f"'{name}' takes a number, such as in {_FORMS}; got '{value}'") from None


def _importance_weighted(values: dict[str, float | None]) -> ImportanceWeightedELBO:
    others = [name for name in values if name not in ("iwae", "elbo")]
    if others:
        raise ValueError(f"'iwae' and '{others[0]}' exclude each other")
    draws = values["iwae"]
    if draws is None or not draws.is_integer():
        raise ValueError(f"'iwae' takes a whole number of draws, such as iwae=50, got {draws}")
    return ImportanceWeightedELBO(int(draws))


def _adversarial_loss(values: dict[str, float | None]) -> AdversarialLoss:
    losses = [name for name in values if name not in ("r1", "critic_steps")]
    if len(losses) > 1 or not set(losses) <= set(_ADVERSARIAL):
        first, second = [*losses, *(name for name in values if name not in losses)][:2]
        raise ValueError(f"'{first}' and '{second}' exclude each other")
    given = {_ADVERSARIAL_ARGUMENTS[name]: value for name, value in values.items() if value is not None}
    arguments = {name: int(value) if value.is_integer() else value for name, value in given.items()}
    return _ADVERSARIAL[losses[0] if losses else "nonsaturating"](**arguments)


def parse_pairs(option: str, texts: Sequence[str]) -> dict[str, Any]:
    """Texts `key=value` as a dict.

    Args:
        option: the option that they were passed to, for messages.
        texts: the texts; a value is JSON, else a string.

    Returns:
        The values by key.

    Raises:
        typer.BadParameter: a text without a key or `=`, or a key that is given twice.
    """
    pairs: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key:
            raise typer.BadParameter(f"expected key=value, got '{text}'", param_hint=f"'{option}'")
        if key in pairs:
            raise typer.BadParameter(f"'{key}' is given twice", param_hint=f"'{option}'")
        try:
            pairs[key] = json.loads(value)
        except (ValueError, RecursionError):
            pairs[key] = value
    return pairs
