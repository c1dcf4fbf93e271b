"""Stories by name, and a user's own from a file, whose settings are checked against its annotations."""

import re

import pytest

from pyrogen.catalog import CATALOG, find
from pyrogen.messages import UsageError

OWN = '''
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Optional

from annotated_types import Gt

from pyrogen import Story

if TYPE_CHECKING:
    from nowhere import Something


class Topics(Story):
    """Word counts.

    More of it.
    """

    def __init__(
        self,
        words: int,
        kind: Literal["flat", "deep"] = "flat",
        rate: Annotated[float, Gt(0)] = 0.5,
        sizes: Sequence[int] = (1,),
        name: Optional[str] = None,
        switch: bool = False,
        part: Something = None,
        free="anything",
        width: int = None,
    ):
        super().__init__()
        if words > 100:
            raise RuntimeError(f"too many\\n words: {words}")
        self.settings = (words, kind, rate, sizes, name, switch, part, free, width)


class Derived(Topics):
    """Passes its settings on."""

    def __init__(self, event_shape, **others):
        super().__init__(**others)
        self.event_shape = event_shape
'''


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def test_an_entry_is_found_by_its_name_or_the_nearest_is_suggested():
    assert find("vae") is CATALOG["vae"]
    with pytest.raises(UsageError, match=r"no story is called 'vea'; did you mean 'vae'\?"):
        find("vea")


def test_a_class_in_a_file_is_an_entry(own):
    entry = find(f"{own}:Topics")
    assert (entry.name, entry.summary) == ("Topics", "Word counts.")
    assert list(entry.settings) == ["words", "kind", "rate", "sizes", "name", "switch", "part", "free", "width"]
    assert entry.settings["words"].required
    story = entry.make({"words": 3, "rate": 2, "sizes": [4], "part": {"any": 1}, "free": [None], "width": None})
    assert story.settings == (3, "flat", 2, [4], None, False, {"any": 1}, [None], None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "Topics needs the setting 'words': pass --set words=..."),
        ({"word": 3}, "Topics has no setting 'word'; did you mean 'words'?"),
        ({"words": "3"}, 'Topics: words takes a whole number, got "3"'),
        ({"words": True}, "Topics: words takes a whole number, got true"),
        ({"words": 3, "kind": "dep"}, "Topics: kind takes one of flat, deep, got \"dep\"; did you mean 'deep'?"),
        ({"words": 3, "rate": 0}, "Topics: rate takes a number above 0, got 0"),
        ({"words": 3, "sizes": 4}, "Topics: sizes takes a list of whole numbers, got 4"),
        ({"words": 3, "name": 4}, "Topics: name takes a string or null, got 4"),
        ({"words": 3, "switch": "False"}, "Topics: switch takes true or false, got \"False\"; did you mean 'false'?"),
        ({"words": 101}, "Topics cannot be built with words=101: RuntimeError: too many words: 101"),
    ],
)
def test_wrong_settings_of_a_class_are_refused_in_one_line(own, settings, message):
    with pytest.raises(UsageError, match=f"^{re.escape(message)}") as caught:
        find(f"{own}:Topics").make(settings)
    assert "\n" not in str(caught.value)


def test_further_keyword_arguments_are_passed_on(own):
    entry = find(f"{own}:Derived")
    assert entry.make({"words": 3, "kind": "deep"}, event_shape=(2,)).settings[:2] == (3, "deep")
    with pytest.raises(UsageError, match=r"Derived cannot be built with wrds=3: TypeError: .*'wrds'"):
        entry.make({"wrds": 3}, event_shape=(2,))
    with pytest.raises(ValueError, match="Derived needs 'event_shape', which the data do not determine"):
        entry.make({"words": 3}, event_shape=None)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("nowhere.py:Own", FileNotFoundError, "story file 'nowhere.py' does not exist"),
        ("OWN", UsageError, "needs the story's class after a colon: .*stories in it: Topics, Derived"),
        ("OWN:Topic", UsageError, "has no Story called 'Topic'"),
        ("OWN:Sequence", UsageError, "has no Story called 'Sequence'"),
    ],
)
def test_what_is_no_class_in_a_file_is_refused(own, name, kind, message):
    with pytest.raises(kind, match=message):
        find(name.replace("OWN", str(own)))
