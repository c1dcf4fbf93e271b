"""Parameter stores of one's own, exchanged with Pyro's."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrogen.story import Store


def names():
    return sorted(pyro.get_param_store().keys())


def test_pyro_works_on_the_active_store_and_then_on_its_former_one():
    store = Store()
    with pyro.get_param_store().scope():
        pyro.param("outer", torch.ones(1))
        with store.activated():
            assert names() == []
            scale = pyro.param("scale", torch.tensor(2.0), constraint=dist.constraints.positive)
        assert names() == ["outer"]
        with store.activated():
            assert pyro.param("scale").equal(scale)
    assert float(store.params["scale"].detach()) == pytest.approx(torch.tensor(2.0).log().item())
    assert store.constraints == {"scale": dist.constraints.positive}


def test_the_former_store_comes_back_after_an_exception_and_a_cleared_store():
    store = Store()

    def fail():
        with store.activated():
            pyro.param("first", torch.ones(1))
            pyro.clear_param_store()
            pyro.param("second", torch.ones(1))
            raise RuntimeError("stop")

    with pyro.get_param_store().scope():
        pyro.param("outer", torch.ones(1))
        with pytest.raises(RuntimeError, match="stop"):
            fail()
        assert names() == ["outer"]
    assert list(store.params) == ["second"]


def test_entries_are_selected_put_and_replaced():
    one, two, other = (torch.full((1,), value) for value in (1.0, 2.0, 3.0))
    store = Store()
    store.put("one", one)
    store.put("two", two)
    chosen = store.select(["two"])
    assert list(chosen.params) == ["two"]
    assert chosen.params["two"] is two
    assert chosen.names == {two: "two"}
    chosen.put("two", other)
    assert store.params["two"] is two
    store.update(chosen)
    assert store.params["two"] is other
    assert store.constraints == {"one": dist.constraints.real, "two": dist.constraints.real}


def test_the_current_store_shares_pyros_dictionaries():
    with pyro.get_param_store().scope():
        store = Store.current()
        pyro.param("a", torch.ones(1))
        assert list(store.params) == ["a"]
