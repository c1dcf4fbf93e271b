"""Threads and processes: a run gives the numbers that it gives alone, or one clear refusal."""

import subprocess
import sys
import threading

import pytest
import torch

from pyrogen import fit
from pyrogen.inference import posterior, posterior_predictive
from pyrogen.models import PPCA

X = torch.linspace(-1, 1, 160).reshape(40, 4).sin()


def story():
    torch.manual_seed(0)
    return PPCA(4, 2)


def losses(callbacks=()):
    run = fit(story(), X, epochs=3, batch_size=16, seed=3, progress=False, callbacks=callbacks)
    return [record["train_elbo"] for record in run.history]


def in_threads(function, count=4):
    results = {}

    def work(key):
        try:
            results[key] = function()
        except Exception as error:
            results[key] = error

    threads = [threading.Thread(target=work, args=(key,)) for key in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return list(results.values())


def test_a_fit_in_another_thread_is_refused():
    for refusal in in_threads(losses, 2):
        assert isinstance(refusal, ValueError)
        assert "main thread" in str(refusal)
    assert losses() == losses()


@pytest.mark.parametrize("predict", [posterior, posterior_predictive])
def test_predictions_in_threads_are_those_of_one(predict):
    run = fit(story(), X, epochs=2, progress=False)
    alone = predict(run, X, 20, seed=5)
    for draws in in_threads(lambda: predict(run, X, 20, seed=5)):
        assert draws.keys() == alone.keys()
        assert all(torch.equal(draws[name], alone[name]) for name in alone)


def test_a_fit_within_a_fit():
    alone, inner = losses(), []
    assert losses([lambda fitted, record: inner.append(losses()) if record["epoch"] == 1 else None]) == alone
    assert inner == [alone]


FORKED = """
import os, torch
torch.set_num_threads(1)  # torch's thread pool does not survive a fork
from tests.inference.training.test_threads import losses
def fork(fitted, record):
    if record["epoch"] == 2:
        child = os.fork()
        if not child:
            try:
                print(losses(), flush=True)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
print(losses(), flush=True)
print(losses([fork]), flush=True)
"""


def test_a_forked_fit():
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=60, check=True)
    assert len(set(done.stdout.splitlines())) == 1
    assert len(done.stdout.splitlines()) == 3
