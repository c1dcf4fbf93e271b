"""The history is only ever added to; what checkpoints and weights hold of it does not grow with the run."""

import json
import os
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyrogen import fit, load
from pyrogen.inference import RunDirectory
from pyrogen.inference.persistence.checkpoint import load_tree
from pyrogen.inference.persistence.history import History
from pyrogen.inference.training.loop import Loop
from pyrogen.models import PPCA

X = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))


def run(folder, **options):
    torch.manual_seed(0)
    return fit(PPCA(5, 2), X, out=folder, progress=False, compile=False, **options)


def without_seconds(records):
    return [{**record, "seconds": 0} for record in records]


@pytest.mark.parametrize(
    "options", [{}, {"validation": X[:5]}, {"batch_size": 10}], ids=["whole", "validated", "batches"]
)
def test_files_other_than_the_history_do_not_grow_with_the_run(tmp_path, options):
    for epochs in (60, 80):
        run(tmp_path / str(epochs), epochs=epochs, **options)
    for name in ("resume.safetensors", "weights.safetensors"):
        short, long = ((tmp_path / str(epochs) / name).stat().st_size for epochs in (60, 80))
        assert abs(long - short) < 60
    assert len(load(tmp_path / "80").history) == 80


def test_a_long_history_is_appended_marked_and_restored_in_no_time(tmp_path):
    history = History(tmp_path / "history.jsonl")
    for start in range(0, 200_000, 100):
        history.append(*({"epoch": epoch, "train_elbo": -1.5} for epoch in range(start, start + 100)))
    started = time.monotonic()
    mark = history.mark(with_text=True)
    assert time.monotonic() - started < 1
    assert "text" not in mark
    size = (tmp_path / "history.jsonl").stat().st_size
    history.append({"epoch": 200_001})
    records = History(tmp_path / "history.jsonl").read(mark)
    assert len(records) == 200_000
    other = History(tmp_path / "history.jsonl")
    other.restore(mark, records)
    assert (tmp_path / "history.jsonl").stat().st_size == size
    assert other.mark() == mark


@given(
    parts=st.lists(st.integers(1, 4), min_size=1, max_size=6),
    marked=st.integers(0, 5),
    cut=st.booleans(),
    tail=st.integers(0, 11).map(lambda size: b'{"epoch": 98}'[:size]),
    zeros=st.integers(0, 9),
)
def test_a_file_longer_than_a_mark_gives_the_history_at_the_mark(tmp_path_factory, parts, marked, cut, tail, zeros):
    path = tmp_path_factory.mktemp("history") / "history.jsonl"
    history, written, marks = History(path), [], []
    for number, size in enumerate(parts):
        records = [{"epoch": len(written) + i, "x": float("inf") if i % 2 else 0.1} for i in range(size)]
        history.append(*records, cut_short=cut and number == len(parts) - 1)
        written = [*written, *records]
        marks.append((history.mark(), list(written)))
    path.write_bytes(path.read_bytes() + tail + bytes(zeros))  # as a write that is cut short leaves it
    mark, expected = marks[min(marked, len(marks) - 1)]
    mark = json.loads(json.dumps(mark))
    assert History(path).read(mark) == expected
    again = History(path)
    again.restore(mark, expected[:-1] if mark["cut_short"] else expected)
    again.append({"epoch": 99})
    assert again.read(again.mark())[-1] == {"epoch": 99}


def stop_at(monkeypatch, step):
    """Let a run stop after so many steps, with a checkpoint after each step and record."""
    after_step = Loop.after_step

    def after_each(loop):
        loop.save()
        if loop.step == step:
            raise KeyboardInterrupt
        after_step(loop)

    monkeypatch.setattr(Loop, "after_step", after_each)


@pytest.mark.parametrize("step", [1, 3, 6, 7])
@pytest.mark.parametrize(
    "tail", [b"", b'{"epoch": 9, "st', b'{"epoch": 2, "step": 99}\n' * 3], ids=["clean", "half", "more"]
)
def test_what_was_written_after_the_checkpoint_makes_no_difference(tmp_path, monkeypatch, step, tail):
    options = {"batch_size": 10, "steps": 11}
    whole = run(tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        stop_at(patch, step)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "cut", **options)
    with (tmp_path / "cut" / "history.jsonl").open("ab") as file:
        file.write(tail)
    assert not load(tmp_path / "cut").finished
    assert len(load(tmp_path / "cut").history) == step // 4
    resumed = run(tmp_path / "cut", **options, resume=True)
    assert without_seconds(resumed.history) == without_seconds(whole.history)
    assert without_seconds(load(tmp_path / "cut").history) == without_seconds(whole.history)


@pytest.mark.parametrize("first", [1, 5, 6, 7])
def test_an_epoch_that_was_cut_short_is_replaced_also_after_a_kill_at_any_write(tmp_path, monkeypatch, first):
    whole = run(tmp_path / "whole", batch_size=10, steps=11)
    run(tmp_path / "parts", batch_size=10, steps=first)
    assert load(tmp_path / "parts").history[-1]["step"] == first
    for name in ("append", "write_weights", "write_checkpoint"):
        for call in ("before", "after"):
            with monkeypatch.context() as patch:
                fail_at(patch, name, call)
                with pytest.raises(KeyboardInterrupt):
                    run(tmp_path / "parts", batch_size=10, steps=11, resume=True)
            load(tmp_path / "parts")
    resumed = run(tmp_path / "parts", batch_size=10, steps=11, resume=True)
    assert without_seconds(resumed.history) == without_seconds(whole.history)
    for name, weight in whole.story.state_dict().items():
        assert torch.equal(resumed.story.state_dict()[name], weight)


def fail_at(monkeypatch, name, when):
    method = getattr(RunDirectory, name)

    def failing(self, *args, **kwargs):
        if when == "after":
            method(self, *args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(RunDirectory, name, failing)


def test_a_checkpoint_within_a_reopened_epoch_keeps_the_records_before(tmp_path, monkeypatch):
    whole = run(tmp_path / "whole", batch_size=10, steps=12)
    run(tmp_path / "parts", batch_size=10, steps=5)
    with monkeypatch.context() as patch:
        stop_at(patch, 6)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "parts", batch_size=10, steps=12, resume=True)
    resumed = run(tmp_path / "parts", batch_size=10, steps=12, resume=True)
    assert [each["epoch"] for each in resumed.history] == [1, 2, 3]
    assert without_seconds(resumed.history) == without_seconds(whole.history)


def test_a_checkpoint_says_of_the_history_its_length_and_checksum(tmp_path):
    run(tmp_path / "run", epochs=60)
    state, about = load_tree(tmp_path / "run" / "resume.safetensors")
    assert "history" not in state
    assert about["history"]["bytes"] == os.path.getsize(tmp_path / "run" / "history.jsonl")
    assert set(about["history"]) == {"bytes", "crc32", "cut_short"}
