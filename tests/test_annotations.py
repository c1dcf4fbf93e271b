"""Values checked against annotations, and annotations in words."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Protocol, Union

import pytest
from annotated_types import Ge, Gt, Interval, Len, Lt, MinLen

from pyrogen.annotations import accepts, choices, describe

Size = Annotated[int, Interval(ge=1, le=9)]
NAN, INFINITY = float("nan"), float("inf")


class Drawing(Protocol):
    def draw(self) -> None: ...


@pytest.mark.parametrize(
    ("hint", "accepted", "refused"),
    [
        (int, [0, -3, 10**400], [1.0, True, "1", None, [1], {}]),
        (float, [0, 1.5, -2], [NAN, INFINITY, 10**400, True, "1", None, [1.0]]),
        (bool, [True, False], [0, 1, "true", "False", None]),
        (str, ["", "a"], [1, None, ["a"]]),
        (None, [None], [0, "", False]),
        (Literal["a", 1], ["a", 1], ["b", True, 1.0, ["a"], {"a": 1}]),
        (int | None, [1, None], ["1", 1.5]),
        (Optional[Union[int, str]], [1, "a", None], [1.5, [1]]),  # noqa: UP007, UP045
        (list[int], [[], [1, 2], (1, 2)], [1, "ab", [1, "a"], [True], {"a": 1}]),
        (Sequence[float], [[1, 2.5], ()], ["ab", [NAN], [None]]),
        (tuple[int, ...], [[1, 2, 3], ()], [1, ["a"]]),
        (tuple[int, str], [[1, "a"]], [[1], [1, 2], ["a", 1], [1, "a", 2]]),
        (list, [[], [1, "a"]], [1, "ab"]),
        (Sequence[Sequence[int]], [[[1], [2, 3]]], [[1], [["a"]]]),
        (Size, [1, 9], [0, 10, 1.0, "1"]),
        (Size | None, [1, None], [0]),
        (Annotated[int | None, Ge(2)], [2, None], [1]),
        (Annotated[float, Gt(0), Lt(1)], [0.5], [0, 1, NAN]),
        (Annotated[Sequence[Size], Len(1, 2)], [[1], [1, 2]], [[], [1, 2, 3], [0], 1]),
        (dict[str, int], [{"a": 1}], [1, [1]]),
        (Mapping[str, int], [{"a": 1}], ["a"]),
        (Callable[[int], int], [abs], [1]),
        (Path, ["a/b", Path("a")], [1, None]),
        (Drawing, [1, "a", None], []),
        (Any, [1, "a", None], []),
    ],
    ids=str,
)
def test_a_value_is_of_its_type_or_refused(hint, accepted, refused):
    assert [value for value in accepted if not accepts(hint, value)] == []
    assert [value for value in refused if accepts(hint, value)] == []


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (Size, "a whole number from 1 to 9"),
        (Annotated[int, Interval(ge=1, le=16_384)], "a whole number from 1 to 16,384"),
        (Annotated[float, Gt(0)], "a number above 0"),
        (Annotated[float, Interval(ge=0, lt=0.5)], "a number of at least 0 and below 0.5"),
        (bool, "true or false"),
        (Literal["a", "b"] | None, "one of a, b or null"),
        (Size | Annotated[Sequence[Size], Len(1, 64)], "a whole number from 1 to 9 or a list of 1 to 64 of them"),
        (int | list[int] | None, "a whole number, a list of them or null"),
        (Annotated[list[str], MinLen(1)], "a list of at least 1 strings"),
        (list[Literal["a", "b"]], "a list of any of a, b"),
        (list, "a list of values"),
        (Path, "a Path"),
    ],
    ids=str,
)
def test_a_type_in_words(hint, words):
    assert describe(hint) == words


def test_choices_are_the_words_of_a_type():
    assert choices(Literal["a", "b"] | bool | None) == ("a", "b", "true", "false", "null")
    assert choices(Annotated[int, Ge(1)]) == ()
