"""Stories rebuilt from config.json: each argument is checked, and what is damaged is refused with its field."""

import copy
import json

import pytest

from pyrogen import distributions, models, nn
from pyrogen.catalog import CATALOG, find, rebuild, rebuild_as
from pyrogen.inference.persistence.config import describe_story
from pyrogen.messages import UsageError


@pytest.fixture
def description():
    story = CATALOG["vae"].make({"latent": 2, "hidden": [8]}, event_shape=(1, 4, 4))
    return json.loads(json.dumps(describe_story(story)))


def changed(description, path, value):
    """A copy with another value at a path of keys; `...` deletes it."""
    new = copy.deepcopy(description)
    *parents, key = path.split(".")
    place = new
    for parent in parents:
        place = place[parent]
    if value is ...:
        del place[key]
    else:
        place[key] = value
    return new


def test_a_story_is_rebuilt_with_its_components(description, tmp_path):
    story = rebuild(description, tmp_path)
    assert type(story) is models.VAE
    assert story.likelihood == distributions.Bernoulli()
    assert isinstance(story.encoder, nn.Dense)
    assert describe_story(story) == description


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("class", ..., "config.json: story is damaged: expected a class and its arguments"),
        ("arguments", [1], "config.json: story is damaged"),
        ("arguments.latent", ..., "config.json: story.arguments lacks 'latent', which VAE takes"),
        ("arguments.likelihood", ..., "config.json: story.arguments lacks 'likelihood', which VAE takes"),
        (
            "arguments.latents",
            3,
            "config.json: story.arguments has 'latents', which VAE does not take; did you mean 'latent'",
        ),
        (
            "arguments.latent",
            "3",
            'config.json: story.arguments.latent takes a whole number or a list of them, got "3"',
        ),
        ("arguments.latent", -1, "config.json: story: VAE cannot be built: .*-1"),
        (
            "arguments.likelihood",
            "bernoulli",
            'config.json: story.arguments.likelihood takes a Family, got "bernoulli"',
        ),
        ("arguments.likelihood", {}, "config.json: story.arguments.likelihood is damaged"),
        ("arguments.encoder.arguments.hidden", ..., "config.json: story.arguments.encoder.arguments lacks 'hidden'"),
        (
            "arguments.encoder.arguments.hidden",
            [8, "a"],
            "story.arguments.encoder.arguments.hidden takes a list of whole numbers",
        ),
        ("arguments.prior.arguments.latent", {"a": 1}, "story.arguments.prior.arguments.latent is damaged"),
        ("arguments.prior", {"class": "os.system", "arguments": {}}, "needs os.system, no part of pyrogen"),
        (
            "arguments.prior",
            {"class": "pyrogen.nn.torch", "arguments": {}},
            "needs pyrogen.nn.torch, no part of pyrogen",
        ),
        ("class", "pyrogen.distributions.Bernoulli", "story.arguments lacks|does not take"),
    ],
)
def test_a_damaged_description_is_refused_in_one_line(description, tmp_path, path, value, message):
    with pytest.raises(ValueError, match=message) as caught:
        rebuild(changed(description, path, value), tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert not isinstance(caught.value, UsageError)


@pytest.mark.parametrize("damaged", [None, [], "vae", {}])
def test_no_description_is_refused(tmp_path, damaged):
    with pytest.raises(ValueError, match=r"config.json: story is damaged"):
        rebuild(damaged, tmp_path)


def test_components_are_no_story(tmp_path):
    with pytest.raises(ValueError, match=r"is a run of pyrogen.distributions.Bernoulli, which is no story"):
        rebuild({"class": "pyrogen.distributions.Bernoulli", "arguments": {}}, tmp_path)


OWN = """
from pyrogen import Story

class Own(Story):
    def __init__(self, words: int, *rest, spread=1.0, **others):
        super().__init__()
        self.received = (words, rest, spread, others)
"""


def test_a_class_of_the_users_own_is_rebuilt_with_all_its_arguments(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    entry = find(f"{path}:Own")
    description = describe_story(entry.build(3, 4, 5, spread=2.0, more=6))
    assert rebuild_as(entry, description, tmp_path).received == (3, (4, 5), 2.0, {"more": 6})
    for name in ("spread", "rest", "others"):  # a default is not what the run was built with
        with pytest.raises(ValueError, match=rf"config.json: story.arguments lacks '{name}', which Own takes"):
            rebuild_as(entry, changed(description, f"arguments.{name}", ...), tmp_path)
    with pytest.raises(ValueError, match=r"config.json: story.arguments lacks 'words', which Own needs"):
        rebuild_as(entry, changed(description, "arguments.words", ...), tmp_path)
    with pytest.raises(ValueError, match=r'story.arguments.words takes a whole number, got "3"'):
        rebuild_as(entry, changed(description, "arguments.words", "3"), tmp_path)
    with pytest.raises(ValueError, match="and the class given is Own"):
        rebuild_as(entry, changed(description, "class", "own.Other"), tmp_path)
    with pytest.raises(ValueError, match=r"built with a some.Part, which config.json cannot describe"):
        rebuild_as(entry, changed(description, "arguments.words", {"opaque": "some.Part"}), tmp_path)
