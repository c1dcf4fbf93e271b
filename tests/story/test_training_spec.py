"""What a story was trained on, and placeholders made of it."""

import zlib

import torch

from pyrogen import fit
from pyrogen.story import Spec, TrainingSpec
from tests.helpers.stories import Location, Topics


def test_a_fit_notes_columns_rows_plate_and_sites():
    x = torch.ones(50, 10)
    spec = fit(Topics(), {"x": x}, steps=1, batch_size=20).story.training_spec
    sums = {"x": zlib.crc32(x.numpy().tobytes())}
    assert spec == TrainingSpec({"x": Spec((10,), torch.float32)}, 20, 50, "data", ("x",), checksums=sums)
    assert fit(Location(), torch.randn(30), steps=1).story.training_spec.columns == {0: Spec((), torch.float32)}


def test_placeholders_are_constant_columns_but_for_given_ones():
    spec = TrainingSpec({"x": Spec((2,), torch.float32), "y": Spec((), torch.int64)}, 4, 9, "data", ("x",), {"t": 0.5})
    batch = spec.placeholder()
    assert (batch.n, batch.total, batch.extra) == (4, 9, {"t": 0.5})
    assert torch.equal(batch.index, torch.arange(4))
    assert torch.equal(batch.columns["x"], torch.zeros(4, 2))
    y = torch.tensor([2, 1])
    batch = spec.placeholder(2, value=1, given={"y": y})
    assert batch.n == 2
    assert torch.equal(batch.columns["x"], torch.ones(2, 2))
    assert batch.columns["y"] is y


def test_without_a_known_total_it_is_the_rows():
    assert TrainingSpec({}, 4, None, None, ()).placeholder(3).total == 3
    assert Spec((2,), torch.int64).filled(3, 7).tolist() == [[7, 7]] * 3
