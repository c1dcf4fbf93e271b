"""Text files: a datum on each line, and lines again."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyrogen.data import as_symbols, as_text, describe, load
from pyrogen.data.texts import encoded_as

LINES = ["ein Bild", "zwei", "", "drei Zahlen", "vier", "fünf"]


@pytest.fixture
def text(tmp_path):
    file = tmp_path / "lines.txt"
    file.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return file


def test_lines_become_symbols_and_lines_again(text):
    splits = load(str(text))
    assert splits.event_shape == (11,)
    assert splits.alphabet == "".join(sorted(set("".join(LINES))))
    lines = []
    for part in (splits.train, splits.validation, splits.test):
        assert part["x"].dtype == part["length"].dtype == torch.int64
        behind = torch.arange(11) >= part["length"][:, None]
        assert bool((part["x"][behind] == 0).all())
        lines += as_text(part["x"], part["length"], splits.alphabet)
    assert sorted(lines) == sorted(line for line in LINES if line)
    assert splits.protocol()["alphabet"] == splits.alphabet
    assert any("PATH.txt" in name for name, _ in describe())


def test_symbols_are_positions_in_the_alphabet():
    assert as_symbols("bca", "abc").tolist() == [1, 2, 0]
    assert as_text(as_symbols("bca", "abc")[None], None, "abc") == ["bca"]
    with pytest.raises(ValueError, match="the text has 'x', which is not in the alphabet 'abc'"):
        as_symbols("ax", "abc")


def test_bad_text_is_refused_in_one_line(tmp_path):
    file = tmp_path / "bad.txt"
    file.write_text("\n \n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"the text is empty \(0 lines\)"):
        load(str(file))
    file.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ValueError, match="no text in UTF-8"):
        load(str(file))
    file.write_text("a\nb\n" + 2000 * "c", encoding="utf-8")
    with pytest.raises(ValueError, match="a line has 2000 characters, expected at most 1000"):
        load(str(file))


def written(tmp_path, name, lines):
    (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return load(tmp_path / name)


@given(lines=st.lists(st.text("bcd", min_size=1, max_size=6), min_size=3, max_size=8))
def test_another_text_is_encoded_as_the_first(tmp_path_factory, lines):
    other = written(tmp_path_factory.mktemp("texts"), "other.txt", lines)
    again = encoded_as(other, "abcd", 6)
    assert again.event_shape == (6,)
    for before, after in ((other.train, again.train), (other.test, again.test)):
        decoded = as_text(before["x"], before["length"], other.alphabet)
        assert as_text(after["x"], after["length"], "abcd") == decoded
        padding = torch.arange(6) >= after["length"][:, None]
        assert not after["x"][padding].any()


@pytest.mark.parametrize(
    ("lines", "words"), [(["ab", "ax", "b"], "'x', which is not in"), (["ab", "a", "aaaa"], "4 characters, and .* 3")]
)
def test_a_text_that_the_model_does_not_know_is_refused(tmp_path, lines, words):
    with pytest.raises(ValueError, match=words):
        encoded_as(written(tmp_path, "other.txt", lines), "ab", 3)
