"""Arguments by name: batches, and what a model or guide receives of them."""

import pyro
import pytest
import torch
from pyro.infer.autoguide import AutoNormal

from pyrogen.story import Batch, Signature
from tests.helpers.stories import schools_model


def batch(**columns):
    columns = columns or {"x": torch.zeros(4), "y": torch.ones(4)}
    return Batch(columns, 4, 10, torch.arange(4))


def bound(function, b):
    args, kwargs = Signature(function, "f").bind(b)
    return function(*args, **kwargs)


def test_columns_and_reserved_names():
    b = batch()
    got = bound(lambda y, n, total, index, x: (y, n, total, index, x), b)
    assert got[0] is b.columns["y"]
    assert got[1:3] == (4, 10)
    assert got[3] is b.index
    assert got[4] is b.columns["x"]


def test_unnamed_columns_go_to_the_first_free_parameters():
    b = Batch({0: "first", 1: "second"}, 4, 10)
    assert bound(lambda n, a, total, b: (n, a, total, b), b) == (4, "first", 10, "second")


def test_a_default_is_kept_where_there_is_no_column():
    b = batch()
    assert bound(lambda x, extra=5, *, z=6: (extra, z), b) == (5, 6)
    assert bound(lambda x, extra=5, *, y=6: y, b) is b.columns["y"]


def test_further_arguments():
    b = Batch({"x": 1}, 4, 10, extra={"temperature": 0.5})
    assert bound(lambda x, temperature: temperature, b) == 0.5


def test_star_arguments_receive_what_the_model_receives():
    guide = AutoNormal(schools_model)
    model = Signature(schools_model, "model")
    b = batch(sigma=torch.ones(4), y=torch.zeros(4))
    assert Signature(guide, "guide", fallback=model).bind(b) == model.bind(b)


def test_a_missing_column_lists_what_there_is():
    with pytest.raises(ValueError, match=r"f asks for 'lable', .*columns: x, label; .*did you mean 'label'\?"):
        Signature(lambda x, lable: None, "f").bind(batch(x=torch.zeros(4), label=torch.zeros(4)))
    with pytest.raises(ValueError, match="asks for 'index', which is not known"):
        Signature(lambda x, index: None, "f").bind(Batch({"x": 1}, 4))


def test_which_columns_are_accepted():
    signature = Signature(lambda n, x, y=None: None, "f")
    assert [signature.accepts(key) for key in ("x", "y", "z", "n", 0, 1, 2)] == [
        True,
        True,
        False,
        False,
        True,
        True,
        False,
    ]
    assert Signature(lambda x, **others: None, "f").accepts("z")
    assert signature.columns == ["x", "y"]


def test_handlers_bound_methods_and_modules_are_unwrapped():
    class Program(torch.nn.Module):
        def forward(self, x, n):
            pass

    assert Signature(Program(), "f").columns == ["x"]
    assert Signature(Program().forward, "f").columns == ["x"]
    assert Signature(pyro.poutine.mask(lambda x, y: None, mask=True), "f").columns == ["x", "y"]


def test_rows_and_repeats():
    b = batch()
    twice = b.repeated(2)
    assert twice.n == 8
    assert torch.equal(twice.index, torch.tensor([0, 1, 2, 3, 0, 1, 2, 3]))
    assert b.rows(1, 3).n == 2
    assert torch.equal(b.rows(3, 9).index, torch.tensor([3]))
