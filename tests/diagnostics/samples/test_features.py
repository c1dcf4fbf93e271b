import os
import socket

import pytest
import torch

from pyrogen.data import Columns, load
from pyrogen.diagnostics import Pixels, SmallClassifier, suited_features
from tests.helpers.statistics import assert_within


def two_classes(n):
    """Normals whose means are 4 apart: no classifier is right more often than Phi(2)."""
    y = torch.randint(2, (n,))
    return {"x": torch.randn(n, 1) + 4 * y[:, None], "y": y}


def test_raw_values_are_flattened():
    assert torch.equal(Pixels()(torch.arange(24.0).reshape(2, 3, 4)), torch.arange(24.0).reshape(2, 12))
    assert Pixels()(torch.ones(5)).shape == (5, 1)


def test_a_classifier_learns_what_there_is_to_learn(tmp_path, seed):
    features = SmallClassifier(two_classes(2000), units=8, steps=200, seed=seed, folder=tmp_path)
    test = two_classes(4000)
    right = (features.probabilities(test["x"]).argmax(1) == test["y"]).double().mean()
    assert_within(right, torch.special.ndtr(torch.tensor(2.0)), (right * (1 - right) / 4000).sqrt())
    assert features(test["x"]).shape == (4000, 8)


def test_a_classifier_reads_digits(tmp_path):
    splits = load("digits")
    features = SmallClassifier(splits.train, steps=150, folder=tmp_path)
    right = features.probabilities(splits.test["x"]).argmax(1) == splits.test["y"]
    assert right.double().mean() > 0.9  # by chance 0.1
    assert features(splits.test["x"]).shape == (360, 64)


def test_a_classifier_is_trained_once(tmp_path, monkeypatch):
    data = two_classes(100)
    first = SmallClassifier(data, units=3, steps=5, folder=tmp_path)
    (kept,) = tmp_path.iterdir()
    assert sorted({path.suffix for path in kept.iterdir()}) == [".json", ".jsonl", ".safetensors"]  # no pickle
    written = (kept / "weights.safetensors").stat().st_mtime_ns
    again = SmallClassifier(data, units=3, steps=5, folder=tmp_path)
    assert torch.equal(first(data["x"]), again(data["x"]))
    assert first.name == again.name
    assert list(tmp_path.iterdir()) == [kept]
    assert (kept / "weights.safetensors").stat().st_mtime_ns == written

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    SmallClassifier(data, units=3, steps=5)
    assert len(list((tmp_path / "pyrogen" / "features").iterdir())) == 1


def test_other_data_and_settings_are_other_features(tmp_path):
    data, settings = two_classes(100), {"units": 3, "steps": 5, "folder": tmp_path}
    moved = {**data, "x": data["x"] + 1}
    names = [
        SmallClassifier(data, **settings).name,
        SmallClassifier(moved, **settings).name,
        SmallClassifier({**data, "y": 1 - data["y"]}, **settings).name,
        SmallClassifier(data, **settings, seed=1).name,
        SmallClassifier(data, **{**settings, "steps": 6}).name,
        SmallClassifier(data, **{**settings, "units": 4}).name,
    ]
    assert len(set(names)) == len(names)


def test_transforms_of_columns_apply_and_unlabelled_rows_are_left_out(tmp_path):
    columns = Columns(two_classes(100), lambda batch: {**batch, "x": batch["x"] + 1})
    columns["y"][:40] = -1
    settings = {"units": 3, "steps": 5, "folder": tmp_path}
    features = SmallClassifier(columns, **settings)
    assert "60 labelled data" in features.name
    same = {"x": columns["x"][40:] + 1, "y": columns["y"][40:]}
    assert features.name == SmallClassifier(same, **settings).name


def test_without_classes_there_is_nothing_to_learn(tmp_path):
    with pytest.raises(ValueError, match="there is no column 'y'"):
        SmallClassifier({"x": torch.ones(3, 2)}, folder=tmp_path)
    with pytest.raises(ValueError, match="has no class"):
        SmallClassifier({"x": torch.ones(3, 2), "y": -torch.ones(3).long()}, folder=tmp_path)


def test_default_features_of_a_data_set(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(SmallClassifier, "__init__", lambda self, training: None)
    images, y = torch.rand(4, 1, 8, 8), torch.arange(4)
    assert isinstance(suited_features({"x": images, "y": y}), SmallClassifier)
    assert suited_features({"x": images}) == Pixels()
    assert suited_features({"x": images, "y": y.double()}) == Pixels()
    assert suited_features({"x": torch.rand(4, 2), "y": y}) == Pixels()


@pytest.mark.parametrize("number", [2**22 + 1, 2**22 + 7, "no_number"])
def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path, number):
    left = tmp_path / f".classifier-0123.{socket.gethostname()}.{number}"
    (left / "part").mkdir(parents=True)
    SmallClassifier(two_classes(40), units=3, steps=5, folder=tmp_path)
    assert [path.name[:11] for path in tmp_path.iterdir()] == ["classifier-"]


def test_what_a_running_process_writes_is_left_alone(tmp_path):
    running = tmp_path / f".classifier-0123.{socket.gethostname()}.{os.getppid()}"
    elsewhere = tmp_path / f".classifier-0123.another-machine.{2**22 + 1}"
    running.mkdir()
    elsewhere.mkdir()
    SmallClassifier(two_classes(40), units=3, steps=5, folder=tmp_path)
    assert running.exists()
    assert elsewhere.exists()


@pytest.mark.parametrize("name", ["config.json", "weights.safetensors"])
def test_a_kill_while_a_classifier_is_saved_leaves_nothing_that_stays(tmp_path, monkeypatch, name):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pyrogen.inference.Fit.save", killed)
        with pytest.raises(KeyboardInterrupt):
            SmallClassifier(two_classes(40), units=3, steps=5, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
    SmallClassifier(two_classes(40), units=3, steps=5, folder=tmp_path)
    assert (next(tmp_path.iterdir()) / name).is_file()
