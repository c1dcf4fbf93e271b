"""Which steps are compiled, and what is reported where they stay eager."""

import numpy as np
import pyro
import pytest
import torch
from pyro.infer import TraceGraph_ELBO

from pyrogen import load
from pyrogen.data import Columns
from pyrogen.inference.compile import compiled_step, dispatch
from pyrogen.models import VAE
from tests.helpers.compiled_runs import agree, counts, run
from tests.helpers.stories import Topics


class Reads(Topics):
    """Reads a tensor's value in Python."""

    def model(self, x, n):
        if self.decoder.weight.sum() > -1e6:
            return super().model(x, n)
        return None


class Masks(Topics):
    """Boolean indexing."""

    def model(self, x, n):
        pyro.factor("positive", -1e-3 * self.decoder.weight[self.decoder.weight > 0].sum())
        return super().model(x, n)


class Loops(Topics):
    """A sequential plate over rows."""

    def model(self, x, n):
        for row in pyro.plate("penalties", 3, subsample_size=2):
            pyro.factor(f"penalty_{int(row)}", -1e-3 * self.decoder.weight.square().sum())
        return super().model(x, n)


class Numpy(Topics):
    """Noise of numpy's, which a graph would repeat."""

    def model(self, x, n):
        pyro.factor("noise", np.random.standard_normal() * self.decoder.weight.sum())  # noqa: NPY002
        return super().model(x, n)


class Leaves(Topics):
    """A tensor's values go through numpy."""

    def guide(self, x, n):
        return super().guide(torch.from_numpy(np.minimum(x.numpy(), 5.0)), n)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Numpy, "numpy's or Python's random numbers"),
        (Leaves, "values out of torch"),
        (Reads, "reads the value of a tensor"),
        (Masks, "boolean indexing"),
        (Loops, "reads the value of a tensor"),
        (lambda: Topics(), "TraceGraph_ELBO has no differentiable loss"),
    ],
    ids=["numpy", "leaves", "item", "mask", "loop", "objective"],
)
def test_what_cannot_be_traced_trains_eagerly_with_one_warning(make, reason, monkeypatch):
    monkeypatch.setattr("pyrogen.inference.training.defaults.MIN_STEPS_TO_COMPILE", 1)
    options = {"objective": TraceGraph_ELBO} if "TraceGraph" in reason else {}
    with pytest.warns(UserWarning, match=reason) as caught:
        fast = run(make, counts, "auto", **options)
    assert fast.mode == "eager"
    assert reason in fast.mode_reason
    assert len([w for w in caught if "not compiled" in str(w.message)]) == 1
    agree(fast, run(make, counts, False, **options), 1e-12)
    with pytest.raises(ValueError, match=f"compile=True.*{reason}"):
        run(make, counts, True, **options)


def test_without_a_cpp_compiler_steps_are_traced(monkeypatch):
    monkeypatch.setattr("pyrogen.inference.training.defaults.MIN_STEPS_TO_COMPILE", 1)

    def refused(*_, **__):
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(compiled_step, "COMPILER", refused)
    with pytest.warns(UserWarning, match="no C\\+\\+ compiler here"):
        fast = run(Topics, counts, "auto")
    assert fast.mode == "traced"
    agree(fast, run(Topics, counts, False), 1e-12)


@pytest.mark.parametrize(("steps", "mode", "least"), [(59, "eager", "60"), (60, "traced", "20,000")])
def test_a_short_run_is_not_compiled(steps, mode, least):
    short = run(Topics, counts, "auto", steps=steps)
    assert (short.mode, f"less than {least} steps" in short.mode_reason) == (mode, True)


def test_a_second_size_of_batch_is_compiled_after_some_eager_steps(monkeypatch):
    monkeypatch.setattr(dispatch, "TRACE_AFTER", 2)
    monkeypatch.setattr(dispatch, "RECOMPILE_AFTER", 3)
    inputs = []
    compiler = compiled_step.COMPILER
    monkeypatch.setattr(compiled_step, "COMPILER", lambda *args: inputs.append(args[1]) or compiler(*args))
    eager, fast = (run(Topics, lambda: counts(50), compile, steps=None, epochs=5) for compile in (False, True))
    assert [given[1].shape for given in inputs] == [(20,), (10,)]  # the data set, then positions of rows
    agree(fast, eager)


def untraceable(columns):
    """Fresh noise on the rows, by a transform that cannot be traced."""
    noisy = torch.poisson(columns["x"] + 0.5)
    return {"x": noisy if noisy.sum() >= 0 else noisy + 1}


def test_a_transform_that_cannot_be_traced_runs_before_the_compiled_step(tmp_path):
    make = lambda: Columns({"x": counts(50)}, untraceable)  # noqa: E731
    options = {"steps": None, "out": tmp_path / "whole"}
    whole = run(Topics, make, True, epochs=6, **options)
    assert whole.mode == "compiled"
    agree(whole, run(Topics, make, False, epochs=6, steps=None))
    run(Topics, make, True, epochs=2, **{**options, "out": tmp_path / "parts"})
    parts = run(Topics, make, True, epochs=6, resume=True, **{**options, "out": tmp_path / "parts"})
    for name, value in whole.story.state_dict().items():
        assert torch.equal(value, parts.story.state_dict()[name]), name


def test_a_resumed_run_keeps_its_mode(monkeypatch, tmp_path):
    run(Topics, counts, "auto", steps=None, epochs=1, out=tmp_path)
    monkeypatch.setattr("pyrogen.inference.training.defaults.MIN_STEPS_TO_COMPILE", 1)
    again = run(Topics, counts, "auto", steps=None, epochs=3, out=tmp_path, resume=True)
    assert again.mode == "eager"


def test_a_run_directory_holds_the_mode_of_its_steps(tmp_path):
    run(Topics, counts, True, out=tmp_path)
    assert load(tmp_path, into=Topics()).mode == "compiled"
    again = run(Topics, counts, True, out=tmp_path, resume=True)  # it is finished: no step is taken
    assert (again.mode, load(tmp_path, into=again.story).mode) == ("compiled", "compiled")


@pytest.mark.parametrize("make", [Topics, lambda: VAE((10,), 2, hidden=(4,))], ids=["user's", "pyrogen's"])
def test_checkpoints_and_validation_do_not_record_steps_anew(make, monkeypatch, tmp_path):
    """What `fit` writes to a story on the way is no state that the program reads."""
    monkeypatch.setattr("pyrogen.inference.training.loop.SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    recorded, trace_step = [], dispatch.trace_step
    monkeypatch.setattr(dispatch, "trace_step", lambda *args: recorded.append(1) or trace_step(*args))
    x = (counts() > 1).float()
    run(make, lambda: x, "auto", steps=None, epochs=40, validation=x, out=tmp_path, callbacks=[lambda *_: None])
    assert len(recorded) == 1
