"""Rows of the batches that a loader gives, of whatever leaves they are made."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import DataLoader

from pyrogen import fit
from pyrogen.inference.batching.loader_batches import LoaderBatches

T = torch.zeros


def rows(item, size, collate=None, number=8):
    """Rows of the first batch of a data set that holds one item many times."""
    loader = DataLoader([item] * number, batch_size=size, collate_fn=collate)
    return LoaderBatches(loader, number, torch.device("cpu")).first().n


@pytest.mark.parametrize(
    "item",
    [
        {"x": {"a": T(3), "b": T(2)}},
        {"x": (T(3), T(2))},
        {"x": {"a": {"b": T(5, 2)}, "text": "words"}},
        ({"a": T(3), "b": T(2), "c": T(1)}, {"d": T(3)}),
        {"x": "words"},
        {"x": {"text": "words", "number": 3}},
        {"x": [T(7), [T(6), T(5)]]},
        {"x": {"a": T(3), "b": T(2)}, "y": T(())},
    ],
    ids=range(8),
)
@pytest.mark.parametrize("size", [1, 4, 5])
def test_nested_columns_have_the_rows_of_their_tensors(item, size):
    assert rows(item, size) == size


@given(st.integers(1, 7), st.integers(1, 7), st.booleans())
@settings(deadline=None)
def test_a_list_of_rows_has_a_row_in_each_item(size, length, ragged):
    def collate(items):
        return {"x": [T(length + (k if ragged else 0)) for k, _ in enumerate(items)]}

    assert rows(T(()), size, collate) == size


def test_a_packed_sequence_has_a_row_for_each_sequence():
    assert rows(T(2), 4, lambda items: {"x": {"packed": pack_sequence([*items, T(1)])}}) == 5


def test_a_story_of_nested_columns_trains_on_its_rows():
    def model(x, n):
        assert n == len(x["a"])
        with pyro.plate("data", n):
            pyro.sample("y", dist.Normal(x["a"] + pyro.param("b", torch.tensor(0.0)), 1.0), obs=x["b"])

    items = [{"x": {"a": torch.tensor(float(i)), "b": torch.tensor(1.0)}} for i in range(10)]
    run = fit((model, lambda x: None), DataLoader(items, batch_size=5), steps=2, progress=False)
    a = torch.arange(10.0)
    assert run.history[0]["train_elbo"] == pytest.approx(
        float(dist.Normal(a, 1.0).log_prob(torch.ones(10)).mean()), abs=0.1
    )


def test_nested_tensors_go_to_the_device():
    loader = DataLoader([{"x": {"a": T(2), "b": [T(1)]}, "s": "text"}] * 2, batch_size=2)
    column = LoaderBatches(loader, 2, torch.device("meta")).first().columns["x"]
    assert column["a"].is_meta
    assert column["b"][0].is_meta


@pytest.mark.parametrize("size", [2, 3, 4, 5])
@pytest.mark.parametrize("fields", [2, 3, 4, 5])
@pytest.mark.parametrize("drop_last", [False, True])
def test_lists_of_fields_have_the_rows_of_each_batch_also_of_the_smaller_last_one(size, fields, drop_last):
    data = [{"x": [T(2) for _ in range(fields)]} for _ in range(2 * size + 1)]
    loader = DataLoader(data, batch_size=size, drop_last=drop_last)
    found = [batch.n for batch in LoaderBatches(loader, len(data), torch.device("cpu")).epoch()]
    assert found == [size, size] + ([] if drop_last else [1])


@pytest.mark.parametrize("size", [2, 3, 4])
def test_lists_of_rows_have_as_many_rows_as_elements(size):
    data = [T(2) for _ in range(2 * size + 1)]
    loader = DataLoader(data, batch_size=size, collate_fn=lambda items: {"x": list(items)})
    assert [b.n for b in LoaderBatches(loader, len(data), torch.device("cpu")).epoch()] == [size, size, 1]


def test_a_sampler_of_fewer_rows_decides_on_the_last_batch():
    data = [{"x": [T(2), T(2), T(2)]} for _ in range(20)]
    loader = DataLoader(data, batch_size=3, sampler=[4, 1, 7, 8])
    assert [b.n for b in LoaderBatches(loader, len(data), torch.device("cpu")).epoch()] == [3, 1]
