"""Values on the command line: objectives, settings, and columns to condition on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import typer
from pyro.infer import TraceMeanField_ELBO

from pyrogen.adversarial import AdversarialLoss, Hinge, NonSaturating, Wasserstein
from pyrogen.inference import ImportanceWeightedELBO, TemperedELBO
from pyrogen.messages import did_you_mean

__all__ = ["parse_objective", "parse_pairs"]

_SWITCHES = ("elbo", "meanfield", "nonsaturating", "hinge")
_NUMBERS = {"beta": "beta", "warmup": "warmup", "freebits": "free_bits"}
_GAMES: dict[str, Any] = {"nonsaturating": NonSaturating, "hinge": Hinge, "wasserstein": Wasserstein}
_OF_GAMES = ("r1", "critic_steps")
_KNOWN = (*_SWITCHES, *_NUMBERS, "iwae", "wasserstein", *_OF_GAMES)
_FORMS = (
    "elbo, meanfield, beta=4, warmup=10, freebits=0.1, iwae=50, and for GANs nonsaturating, hinge, wasserstein=10, "
    "r1=1, critic_steps=5, joined by commas"
)


def parse_objective(text: str) -> Any:
    """The objective that a text such as `meanfield,beta=4,warmup=10` asks for; None for `elbo`, which is fit's own.

    Raises:
        typer.BadParameter: not one, or one that excludes another.
    """
    asked: dict[str, float | None] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if name not in _KNOWN:
            raise _wrong(f"no objective is called '{name}'{did_you_mean(name, _KNOWN)} (write {_FORMS})")
        if name in asked:
            raise _wrong(f"'{name}' is said twice")
        asked[name] = _number(name, value) if equals or name not in (*_SWITCHES, "wasserstein") else None
    numbers = {_NUMBERS[name]: value for name, value in asked.items() if name in _NUMBERS}
    base = TraceMeanField_ELBO() if "meanfield" in asked else None
    try:
        if not {*_GAMES, *_OF_GAMES}.isdisjoint(asked):
            return _game(asked)
        if "iwae" in asked:
            return _importance_weighted(asked)
        return TemperedELBO(**numbers, base=base) if numbers else base  # type: ignore[arg-type]
    except ValueError as error:
        raise _wrong(str(error)) from None


def _importance_weighted(asked: dict[str, float | None]) -> ImportanceWeightedELBO:
    others = [name for name in asked if name not in ("iwae", "elbo")]
    if others:
        raise _wrong(f"'iwae' and '{others[0]}' exclude each other")
    draws = asked["iwae"]
    if draws is None or not draws.is_integer():
        raise _wrong(f"'iwae' takes a whole number of draws, such as iwae=50, got {draws}")
    return ImportanceWeightedELBO(int(draws))


def _game(asked: dict[str, float | None]) -> AdversarialLoss:
    kinds = [name for name in asked if name not in _OF_GAMES]
    if len(kinds) > 1 or not set(kinds) <= set(_GAMES):
        first, second = [*kinds, *(name for name in asked if name in _OF_GAMES)][:2]
        raise _wrong(f"'{first}' and '{second}' exclude each other")
    names = {"r1": "r1", "critic_steps": "critic_steps", "wasserstein": "gradient_penalty"}
    told = {names[name]: value for name, value in asked.items() if name in names and value is not None}
    told = {name: int(value) if value.is_integer() else value for name, value in told.items()}
    game: AdversarialLoss = _GAMES[kinds[0] if kinds else "nonsaturating"](**told)
    return game


def _number(name: str, value: str) -> float:
    if name in _SWITCHES:
        raise _wrong(f"'{name}' takes no value, got '{name}={value}'")
    try:
        return float(value)
    except ValueError:
        raise _wrong(f"'{name}' takes a number, such as in {_FORMS}; got '{value}'") from None


def _wrong(message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint="'--objective'")


def parse_pairs(option: str, texts: Sequence[str]) -> dict[str, Any]:
    """Texts `key=value` as a dict; values are JSON, else strings.

    Raises:
        typer.BadParameter: a text without a key or `=`.
    """
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise typer.BadParameter(f"expected key=value, got '{text}'", param_hint=f"'{option}'")
        try:
            pairs[key.strip()] = json.loads(value)
        except ValueError:
            pairs[key.strip()] = value
    return pairs
