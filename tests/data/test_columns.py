"""Columns: batches, transforms, and their validation."""

import math
import pickle

import numpy as np
import pytest
import torch

from pyrogen.data import Columns, DynamicBinarization, check_columns
from pyrogen.data import columns as module


def test_columns_are_a_dict_of_tensors_with_rows():
    columns = Columns({"x": torch.arange(6.0).view(3, 2), "y": torch.tensor([4, 5, 6])})
    assert isinstance(columns, dict)
    assert columns.rows == 3
    assert Columns().rows == 0
    assert repr(columns) == "Columns(x: float32 (3, 2), y: int64 (3,))"


def test_batch_indexes_then_transforms():
    columns = Columns({"x": torch.arange(3.0), "y": torch.arange(3)}, lambda batch: {**batch, "x": -batch["x"]})
    drawn = columns.batch(torch.tensor([2, 0]))
    assert drawn["x"].tolist() == [-2.0, 0.0]
    assert drawn["y"].tolist() == [2, 0]
    assert columns.batch()["x"].tolist() == [0.0, -1.0, -2.0]
    assert columns["x"].tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    "change",
    [lambda c: c.take(slice(0, 2)), lambda c: c.to("cpu"), lambda c: c.copy(), lambda c: pickle.loads(pickle.dumps(c))],
    ids=["take", "to", "copy", "pickle"],
)
def test_the_transform_stays(change):
    columns = Columns({"x": torch.rand(4)}, DynamicBinarization())
    changed = change(columns)
    assert isinstance(changed, Columns)
    assert changed.transform == DynamicBinarization()
    assert torch.equal(changed["x"], columns["x"][: changed.rows])


def test_good_columns_pass_and_are_counted():
    assert check_columns({"x": torch.randn(7, 2, 3), "y": torch.arange(7), "m": torch.ones(7, dtype=torch.bool)}) == 7
    assert check_columns({"x": torch.zeros(3, 0)}) == 3
    assert check_columns({"x": torch.zeros(3, dtype=torch.complex64)}) == 3
    assert check_columns({"x": torch.full((2,), torch.finfo(torch.float32).max)}) == 2
    assert check_columns({"x": torch.zeros(2, requires_grad=True)}) == 2


@pytest.mark.parametrize(
    ("columns", "kind", "words"),
    [
        ({}, ValueError, ["train", "no columns", "expected at least one"]),
        (
            {"x": torch.zeros(3), "y": torch.zeros(4)},
            ValueError,
            ["train", "'x' has 3", "'y' has 4", "different lengths"],
        ),
        ({"x": torch.zeros(0, 2)}, ValueError, ["train", "empty", "0 rows"]),
        ({"x": torch.tensor(1.0)}, ValueError, ["train", "'x'", "scalar"]),
        ({"n": torch.zeros(2)}, ValueError, ["train", "'n'", "reserved", "rename"]),
        ({"index": torch.zeros(2)}, ValueError, ["'index'", "reserved"]),
        ({1: torch.zeros(2)}, TypeError, ["train", "1", "int", "string"]),
        ({"x": [1.0, 2.0]}, TypeError, ["train", "'x'", "list", "as_tensor"]),
    ],
)
def test_bad_columns_are_refused_in_one_line(columns, kind, words):
    with pytest.raises(kind) as caught:
        check_columns(columns, "train")
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("shape", [(9,), (9, 2), (9, 2, 2)])
def test_nonfinite_values_are_counted_by_rows(bad, shape):
    x = torch.zeros(shape)
    x[4] = bad
    x[7, ...] = bad
    with pytest.raises(ValueError, match=r"data: column 'x' has NaN or infinite values in 2 of 9 rows, first in row 4"):
        check_columns({"y": torch.arange(9), "x": x})


def test_nonfinite_values_are_found_in_every_chunk(monkeypatch):
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", 4)
    x = torch.zeros(11, 2)
    assert [len(chunk) for chunk in module.chunks(x)] == [2, 2, 2, 2, 2, 1]
    x[10, 1] = math.nan
    with pytest.raises(ValueError, match="1 of 11 rows, first in row 10"):
        check_columns({"x": x.t().contiguous().t()})


def test_complex_columns_are_checked():
    with pytest.raises(ValueError, match="1 of 2 rows, first in row 1"):
        check_columns({"x": torch.tensor([0j, complex(0, math.inf)])})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: torch.eye(3).to_sparse(), ["sparse", "to_dense()"]),
        (lambda: torch.eye(3).to_sparse_csr(), ["sparse", "to_dense()"]),
        (lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]), ["nested", "to_padded_tensor"]),
        (lambda: torch.quantize_per_tensor(torch.eye(3), 0.1, 0, torch.qint8), ["quantized", "dequantize()"]),
        (lambda: torch.empty(3, 2, device="meta"), ["meta"]),
        (lambda: np.ma.masked_equal([1.0, 2.0], 2.0), ["masked array", "poutine.mask"]),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # of torch, of such tensors
def test_columns_whose_values_would_be_lost_are_refused(make, words):
    with pytest.raises(ValueError, match="column 'x' is a ") as caught:
        check_columns({"x": make()})
    assert all(word in str(caught.value) for word in words), caught.value
