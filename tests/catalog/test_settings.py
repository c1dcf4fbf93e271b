"""The schema of settings: wrong values are refused in one line, and a setting without effect is refused, no other."""

import itertools
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrogen.annotations import choices
from pyrogen.catalog import CATALOG
from pyrogen.catalog.settings import Setting, settings_of
from pyrogen.inference.persistence.config import describe_story
from pyrogen.messages import UsageError

IMAGES = {"event_shape": (1, 4, 4), "classes": 10, "levels": 17, "total": 100}
TEXT = {"event_shape": (5,), "symbols": 3}
EACH = [(entry, setting) for entry in CATALOG.values() for setting in entry.settings.values()]
PYTHON = r"supported between|unhashable|not iterable|string formatting|JSON compliant|object is not|TypeError|argument"

# What a setting takes, where its default is null.
KINDS = {
    "network": "choice",
    "likelihood": "choice",
    "hidden": "sizes",
    "condition": "sizes",
    "width": "whole",
    "timesteps_per_datum": "whole",
    "high": "number",
    "alpha": "number",
}


def from_data(entry):
    return TEXT if entry.name == "language_model" else IMAGES


def kind_of(entry, setting):
    if setting.name == "bandwidth":
        return "choice or number"
    kinds = {bool: "switch", int: "whole", float: "number", str: "choice", tuple: "sizes"}
    kind = kinds.get(type(setting.default)) or KINDS[setting.name]
    return "sizes" if setting.name in ("grid", "tile") else kind


def is_whole(value):
    return type(value) is int and -2 < value < 10**7


def may_be_right(kind, setting, value):
    """Whether a value is of the setting's kind, in a generous range."""
    if value is None:
        return setting.default is None or setting.name == "timesteps_per_datum"
    if kind == "switch":
        return type(value) is bool
    if kind == "whole":
        return is_whole(value)
    if "number" in kind and type(value) in (int, float) and abs(value) < 10**7:
        return True
    if "choice" in kind:
        return isinstance(value, str) and value in choices(setting.hint)
    if kind == "sizes":
        return is_whole(value) or (isinstance(value, list) and all(map(is_whole, value)))
    return False


WRONG = [
    *("maybe", "False", "", "null", "1", "\n", "x" * 500, True, False, 0.5, 1e300, -1e300, 10**12, -5, None),
    *(
        float("nan"),
        float("inf"),
        -float("inf"),
        [],
        ["a"],
        [8, "a"],
        [True],
        [-5],
        [None],
        [10**12],
        [[8]],
        {},
        {"a": 1},
    ),
]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    SCALARS | st.sampled_from(WRONG),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values, max_size=2),
)


def refusal(entry, chosen):
    with pytest.raises(UsageError) as caught:
        entry.make(chosen, **from_data(entry))
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 400
    assert not re.search(PYTHON, message)
    return message


@pytest.mark.parametrize(("entry", "setting"), EACH, ids=lambda each: each.name)
def test_a_wrong_value_is_refused_in_one_line_that_names_the_setting(entry, setting):
    kind = kind_of(entry, setting)
    wrong = [value for value in WRONG if not may_be_right(kind, setting, value)]
    assert len(wrong) > 15
    for value in wrong:
        message = refusal(entry, {setting.name: value})
        assert message.startswith(f"{entry.name}: {setting.name} takes ")
        assert ", got " in message


@settings(derandomize=True, database=None, deadline=None, max_examples=500)
@given(each=st.sampled_from(EACH), value=JSON)
def test_any_json_value_is_refused_or_right(each, value):
    entry, setting = each
    if not may_be_right(kind_of(entry, setting), setting, value):
        assert refusal(entry, {setting.name: value}).startswith(f"{entry.name}: {setting.name} takes ")


@pytest.mark.parametrize("entry", CATALOG.values(), ids=lambda entry: entry.name)
def test_an_unknown_setting_is_refused_with_the_nearest_one(entry):
    for name in ("latnt", "x" * 80, "two\nlines", ""):
        assert f"{entry.name} has no setting {name!r}" in refusal(entry, {name: 1})
    for name in entry.settings:
        assert f"has no setting '{name}_'; did you mean '{name}'?" in refusal(entry, {f"{name}_": 1})


def test_a_choice_that_is_nearly_one_is_suggested():
    assert "; did you mean 'gaussian'?" in refusal(CATALOG["vae"], {"likelihood": "gausian"})
    assert "spectral takes true or false, got \"False\"; did you mean 'false'?" in refusal(
        CATALOG["gan"], {"spectral": "False"}
    )


# Two values of each setting that is no choice and no switch, small enough to build quickly.
TWO_VALUES = {
    "hidden": ([17], [18]),
    "channels": ([4, 4], [4, 8]),
    "latents": ([4, 3], [4, 2]),
    "condition": ([3], [2]),
    "grid": ([2, 2], [4]),
    "tile": (2, 4),
    "heads": (2, 4),
    "bins": (4, 5),
    "kernel": (3, 5),
    "width": (8, 16),
    "num_timesteps": (20, 30),
    "levels": (100, 256),
    "classes": (10, 11),
    "alpha": (0.1, 0.2),
    "masking": (0.1, 0.2),
    "dropout": (0.1, 0.2),
    "label_dropout": (0.1, 0.2),
    "word_keep_prob": (0.5, 0.7),
    "bandwidth": (0.5, "scott"),
    "high": (5.0, 6.0),
}
SMALL = {
    "hidden": [17],
    "channels": [4, 4],
    "width": 8,
    "blocks": 1,
    "layers": 1,
    "steps": 1,
    "num_timesteps": 20,
}


def values_of(setting):
    """The choices of a setting, as JSON has them."""
    return [json.loads(word) if word in ("true", "false", "null") else word for word in choices(setting.hint)]


def two_values(setting):
    if setting.name in TWO_VALUES:
        return TWO_VALUES[setting.name]
    if len(words := values_of(setting)) > 1:
        return words[-2:]
    return (1, 2) if type(setting.default) is int else (0.1, 0.2)


def contexts(entry):
    """Other settings: none, each choice of one, and of each two of those that conditions of use name."""
    values = {name: values_of(setting) for name, setting in entry.settings.items()}
    values |= {name: [value, None] for name, value in (("condition", [3]), ("high", 5.0)) if name in values}
    values |= {"missing_labels": [True]} if entry.name == "conditional_vae" else {}
    conditions = [each for setting in settings_of(entry.build).values() for each in setting.conditions]
    named = {name for condition in conditions for name in condition.values}
    yield {}
    yield from ({name: value} for name in values for value in values[name])
    for first, second in itertools.combinations(sorted(named & values.keys()), 2):
        yield from ({first: a, second: b} for a, b in itertools.product(values[first], values[second]))


def described(entry, chosen):
    """What a story is that is built of settings, or why it cannot be."""
    try:
        return describe_story(entry.make(chosen, **from_data(entry)))
    except UsageError as error:
        return str(error).rpartition(": ")[2]


@pytest.mark.parametrize("entry", CATALOG.values(), ids=lambda entry: entry.name)
def test_a_setting_is_refused_just_where_it_changes_nothing(entry, monkeypatch):
    refused, why_unused = [], Setting.why_unused
    monkeypatch.setattr(
        Setting,
        "why_unused",
        lambda self, arguments: refused.append(self.name) if why_unused(self, arguments) else None,
    )
    small = {name: value for name, value in SMALL.items() if name in entry.settings}
    schema = settings_of(entry.build)
    examined = entry.settings | {name: schema[name] for name in ("levels", "classes") if name in schema}
    checked = 0
    for context in contexts(entry):
        for name, setting in examined.items():
            if name in context or (len(context) == 2 and not setting.conditions):
                continue
            stories = []
            for value in two_values(setting):
                refused.clear()
                stories.append(described(entry, small | context | {name: value}))
            if context.keys() & refused or all(isinstance(story, str) for story in stories):
                continue
            checked += 1
            assert (stories[0] == stories[1]) == (name in refused), (context, name)
    assert checked or not entry.settings
