"""A file of a run directory that is damaged is refused by name and field, and nothing is written from it."""

import json
import os
import struct
import zlib

import pyro
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyrogen import Story, fit, load
from pyrogen.inference import adam
from pyrogen.inference.persistence.checkpoint import load_tree, save_tree
from pyrogen.models import PPCA, KMeans, MultivariateGaussian

FILES = ("config.json", "weights.safetensors", "resume.safetensors", "history.jsonl")
X = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))


def run(folder, epochs=3, **options):
    torch.manual_seed(0)
    return fit(PPCA(5, 2), X, epochs=epochs, out=folder, progress=False, **options)


class Kept(dict):
    def __repr__(self):  # hypothesis prints it where a test fails
        return "kept"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept") / "run"
    run(folder)
    return Kept({name: (folder / name).read_bytes() for name in FILES})


@pytest.mark.parametrize("place", range(len("pyrogen.models.PPCA")))
def test_a_changed_class_is_a_damaged_configuration_and_no_foreign_story(kept, tmp_path, place):
    config = bytearray(kept["config.json"])
    config[config.index(b"pyrogen.models.PPCA") + place] ^= 1
    put(tmp_path, {**kept, "config.json": bytes(config)})
    refuses(lambda: load(tmp_path), "config.json")
    refuses(lambda: load(tmp_path, into=PPCA(5, 2)), "config.json")


def put(folder, files):
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def refuses(call, *named):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        call()
    text = str(caught.value)
    for word in named:
        assert word in text, text


@given(place=st.integers(0, 10**9), bit=st.integers(0, 7), name=st.sampled_from(FILES))
def test_any_flipped_bit_is_refused_by_the_name_of_its_file(kept, tmp_path_factory, place, bit, name):
    folder = tmp_path_factory.mktemp("flipped")
    content = bytearray(kept[name])
    content[place % len(content)] ^= 1 << bit
    put(folder, {**kept, name: bytes(content)})
    before = kept["weights.safetensors"]
    if name != "resume.safetensors":
        refuses(lambda: load(folder), name)
    if name in ("resume.safetensors", "history.jsonl"):
        refuses(lambda: run(folder, 6, resume=True), name)
        assert (folder / "weights.safetensors").read_bytes() == (
            bytes(content) if name == "weights.safetensors" else before
        )


@pytest.mark.parametrize("cut", [0, 1, 7, 100, -1])
@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_anywhere_is_refused_by_its_name(kept, tmp_path, name, cut):
    put(tmp_path, {**kept, name: kept[name][:cut]})
    if name == "resume.safetensors":
        refuses(lambda: run(tmp_path, 6, resume=True), name)
    else:
        refuses(lambda: load(tmp_path), name)


def test_a_missing_history_is_refused_by_load_and_made_anew_from_a_short_runs_checkpoint(kept, tmp_path):
    put(tmp_path, {name: content for name, content in kept.items() if name != "history.jsonl"})
    with pytest.raises(FileNotFoundError, match=r"history.jsonl is missing"):
        load(tmp_path)
    run(tmp_path, 3, resume=True)
    assert (tmp_path / "history.jsonl").read_bytes() == kept["history.jsonl"]


def edited(kept, change):
    config = json.loads(kept["config.json"])
    change(config)
    return {**kept, "config.json": json.dumps(config).encode()}


@pytest.mark.parametrize("field", ["run", "data", "options", "limit", "versions"])
@pytest.mark.parametrize("value", [..., 3, []])
def test_a_field_of_the_configuration_that_is_missing_or_of_a_wrong_type_is_named(kept, tmp_path, field, value):
    def change(config):
        config[field] = value
        if value is ...:
            del config[field]

    put(tmp_path, edited(kept, change))
    refuses(lambda: load(tmp_path), "config.json", f"'{field}'")


@pytest.mark.parametrize("name", ["training", "validation", "protocol"])
def test_a_field_of_the_data_is_named(kept, tmp_path, name):
    put(tmp_path, edited(kept, lambda config: config["data"].pop(name)))
    refuses(lambda: load(tmp_path), "config.json", f"'data.{name}'")
    put(tmp_path, edited(kept, lambda config: config["data"].update({name: "x"})))
    refuses(lambda: load(tmp_path), "config.json", f"'data.{name}'")


@pytest.mark.parametrize(
    "protocol", [{"source": 3}, {"rows": []}, {"seed": "x"}, {"label_frequencies": 0}, {"source": "digits"}]
)
def test_a_field_of_the_protocol_is_named(kept, tmp_path, protocol):
    put(tmp_path, edited(kept, lambda config: config["data"].update(protocol=protocol)))
    refuses(lambda: load(tmp_path), "config.json", "data.protocol.")


@pytest.mark.parametrize("argument", ["features", "latent", "guide"])
def test_a_deleted_argument_is_not_defaulted(kept, tmp_path, argument):
    put(tmp_path, edited(kept, lambda config: config["story"]["arguments"].pop(argument)))
    refuses(lambda: load(tmp_path), "config.json: story.arguments lacks", argument)


def test_a_changed_argument_is_refused_by_the_checksum_also_for_a_story_that_is_given(kept, tmp_path):
    put(tmp_path, edited(kept, lambda config: config["options"].update(seed=9)))
    refuses(lambda: load(tmp_path), "config.json", "checksum")
    refuses(lambda: load(tmp_path, into=PPCA(5, 2)), "config.json", "checksum")


@pytest.mark.parametrize("depth", [400, 100_000])
def test_deep_nesting_is_refused_in_one_line(kept, tmp_path, depth):
    nested = b'{"a":' * depth + b"1" + b"}" * depth
    put(tmp_path, {**kept, "config.json": nested})
    refuses(lambda: load(tmp_path), "config.json")
    deep = "[" * depth + "]" * depth
    config = kept["config.json"].replace(b'"features": 5', f'"features": {deep}'.encode())
    put(tmp_path, {**kept, "config.json": config})
    refuses(lambda: load(tmp_path), "config.json")
    put(tmp_path, {**kept, "history.jsonl": deep.encode() + b"\n" + kept["history.jsonl"]})
    refuses(lambda: load(tmp_path), "history.jsonl", "line 1")


@pytest.mark.parametrize(
    "line", [b"\xff\n", b"3\n", b"{}\n", b'{"epoch": "1"}\n', b"\n", b'{"epoch": ' + b"1" * 5000 + b"}\n"]
)
def test_a_line_of_the_history_that_is_no_record_is_named(kept, tmp_path, line):
    lines = kept["history.jsonl"].splitlines(keepends=True)
    put(tmp_path, {**kept, "history.jsonl": b"".join([lines[0], line, *lines[1:]])})
    refuses(lambda: load(tmp_path), "history.jsonl", "line 2")
    refuses(lambda: run(tmp_path, 6, resume=True), "history.jsonl", "line 2")


def header(content, change):
    """A safetensors file whose entry of pyrogen's is changed by a function of its text."""
    (length,) = struct.unpack("<Q", content[:8])
    entries = json.loads(content[8 : 8 + length])
    entries["__metadata__"]["pyrogen"] = change(entries["__metadata__"]["pyrogen"])
    new = json.dumps(entries).encode()
    return struct.pack("<Q", len(new)) + new + content[8 + length :]


DEEP = "[" * 9999 + "]" * 9999
CHANGED = {  # the old text, the new one, and what the message names
    "no JSON": ('{"checksum"', "{{", "header"),
    "no tree": ('"tree"', '"three"', "field 'tree'"),
    "a tensor that is not there": ('{"tensor": "', '{"tensor": "x', "field 'tree."),
    "an unknown kind": ('{"tensor"', '{"tenser"', "field 'tree."),
    "items that are no pairs": ('{"dict": [[', '{"dict": [3, [', "field 'tree'"),
    "a format that is no number": ('"format": 3', '"format": "three"', "checksum"),
    "another format": ('"format": 3', '"format": 2', "checksum"),
    "no checksum": ("crc32:", "crc31:", "checksum"),
    "deep nesting": ('"tree"', f'"x": {DEEP}, "tree"', "header is nested too deeply"),
}


@pytest.mark.parametrize("change", CHANGED)
@pytest.mark.parametrize("name", ["weights.safetensors", "resume.safetensors"])
def test_a_header_that_is_changed_is_refused_with_its_field(kept, tmp_path, name, change):
    old, new, named = CHANGED[change]
    put(tmp_path, {**kept, name: header(kept[name], lambda text: text.replace(old, new))})
    call = (lambda: run(tmp_path, 6, resume=True)) if name[0] == "r" else lambda: load(tmp_path)
    refuses(call, name, named)


@pytest.mark.parametrize("field", ["best_epoch", "mode", "seen"])
def test_a_field_that_weights_without_a_checksum_lack_is_named(kept, tmp_path, field):
    put(tmp_path, former(kept))
    tensors, about = load_tree(tmp_path / "weights.safetensors")
    del about[field]
    save_tree(tmp_path / "weights.safetensors", tensors, **about)
    refuses(lambda: load(tmp_path), "weights.safetensors", f"'{field}'")


def former(kept):
    """The files as format 2 had them: no checksums, the history in the checkpoint."""
    records = [json.loads(line) for line in kept["history.jsonl"].splitlines()]
    config = json.loads(kept["config.json"])
    del config["checksum"]
    config["format"] = 2

    def as_format_2(text):
        about = json.loads(text)
        del about["checksum"], about["history"]
        about["format"] = 2
        if "config" in about:
            about["config"]["format"] = 2
            about["tree"]["dict"].append(["history", {"list": [{"dict": list(r.items())} for r in records]}])
        return json.dumps(about)

    names = ("weights.safetensors", "resume.safetensors")
    return {
        **kept,
        "config.json": json.dumps(config).encode(),
        **{name: header(kept[name], as_format_2) for name in names},
    }


def test_a_folder_of_format_2_is_read_and_resumed(kept, tmp_path):
    put(tmp_path, former(kept))
    assert load(tmp_path).history == [json.loads(line) for line in kept["history.jsonl"].splitlines()]
    run(tmp_path, 3, resume=True)
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == former(kept), "not rewritten unchecked"
    more, whole = run(tmp_path, 6, resume=True), run(tmp_path / "whole", 6)
    assert len(load(tmp_path).history) == 6
    assert [each["train_elbo"] for each in more.history] == [each["train_elbo"] for each in whole.history]
    assert json.loads((tmp_path / "config.json").read_bytes())["format"] == 3


@pytest.mark.parametrize("field", ["steps", "best", "about", "reopen", "random"])
def test_a_field_that_a_checkpoint_without_a_checksum_lacks_is_named(kept, tmp_path, field):
    put(tmp_path, former(kept))
    state, about = load_tree(tmp_path / "resume.safetensors")
    del state[field]
    save_tree(tmp_path / "resume.safetensors", state, **about)
    refuses(lambda: run(tmp_path, 6, resume=True), "resume.safetensors", f"'{field}'")
    assert (tmp_path / "weights.safetensors").read_bytes() == former(kept)["weights.safetensors"]


def test_the_checksum_is_that_of_the_file_with_zeros_in_its_place(kept):
    for name in FILES[:3]:
        content = kept[name]
        place = content.index(b"crc32:") + 6
        blank = content[:place] + b"00000000" + content[place + 8 :]
        assert content[place : place + 8].decode() == f"{zlib.crc32(blank):08x}"


class Endless(Story):
    """Has an argument that JSON has no number for."""

    def __init__(self, ends: tuple[float, float] = (0.0, float("inf"))):
        super().__init__()
        self.mean = torch.nn.Parameter(torch.zeros(()))

    def model(self, x, n):
        with pyro.plate("data", n):
            return pyro.sample("x", pyro.distributions.Normal(self.mean, 1.0), obs=x)

    def guide(self, x, n):
        pass


@pytest.mark.parametrize("end", [float("inf"), float("-inf"), float("nan")])
def test_arguments_that_are_no_json_numbers_are_kept(tmp_path, end):
    fit(Endless((0.0, end)), torch.randn(10), epochs=1, out=tmp_path / "run", optimizer=adam(0.1))
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["story"]["arguments"]["ends"] == [0.0, {"float": repr(end)}]
    assert load(tmp_path / "run", into=Endless((0.0, end))).config == {
        k: v for k, v in config.items() if k != "checksum"
    }
    fit(Endless((0.0, end)), torch.randn(10), epochs=1, out=tmp_path / "other", resume=True)


@pytest.mark.parametrize("names", [("a/b", "a"), ("a/0", "a"), ("x", "x'")])
def test_names_with_slashes_are_kept_apart(tmp_path, names):
    first, second = torch.zeros(1), torch.ones(1)
    tree = {names[0]: first, names[1]: {"b": second, "0": second}, "x": [first]}
    save_tree(tmp_path / "tree", tree)
    assert repr(load_tree(tmp_path / "tree")[0]) == repr(tree)


@pytest.mark.parametrize("story", [MultivariateGaussian(5), KMeans(5, 2), PPCA(5, 2)], ids=lambda story: story.name)
@pytest.mark.parametrize("kind", ["missing", "folder", "link", "noise"])
def test_a_history_that_is_no_file_of_records_is_refused_also_where_it_is_empty(tmp_path, story, kind):
    fit(story, X, out=tmp_path / "run", progress=False, **({} if "steps" in story.unsupported else {"epochs": 2}))
    path = tmp_path / "run" / "history.jsonl"
    content = path.read_bytes()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("/dev/null")
    elif kind == "noise":
        path.write_bytes(content + b"\xff\xfe")
    with pytest.raises((ValueError, FileNotFoundError), match=r"history\.jsonl"):
        load(tmp_path / "run")


@pytest.mark.parametrize("version", ["3", 3.0, True, None, [3]])
def test_a_format_of_another_type_is_named(kept, tmp_path, version):
    put(tmp_path, edited(kept, lambda config: config.update(format=version)))
    refuses(lambda: load(tmp_path), "config.json", "'format'")


@pytest.mark.parametrize("name", ["config.json", "resume.safetensors"])
@pytest.mark.parametrize("epochs", [1, 3])
def test_a_checkpoint_and_a_configuration_of_two_runs_are_refused_on_resume(kept, tmp_path, name, epochs):
    run(tmp_path / "other", epochs)
    put(tmp_path / "run", {**kept, name: (tmp_path / "other" / name).read_bytes()})
    refuses(lambda: run(tmp_path / "run", 6, resume=True), "another run")


@pytest.mark.parametrize("name", ["config.json", "history.jsonl", "resume.safetensors"])
def test_a_pipe_in_the_place_of_a_file_makes_nothing_wait(kept, tmp_path, name):
    put(tmp_path, kept)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    if name == "config.json":
        assert len(run(tmp_path, 6, resume=True).history) == 6  # written anew from the checkpoint
    else:
        with pytest.raises((ValueError, FileNotFoundError), match=name):
            run(tmp_path, 6, resume=True)
