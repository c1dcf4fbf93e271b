"""Memory is kept between steps, and given back afterwards."""

import os
import platform
import subprocess
import sys
from contextlib import contextmanager

import pytest
import torch

from pyrogen import fit
from pyrogen.models import PPCA

STEPS = """
import resource, sys
import torch
from contextlib import nullcontext
from pyrogen.inference.training.allocator import keep_freed_memory

def step():
    held = [torch.zeros(800_000) for _ in range(20)]  # 64 MB

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

step()
before = resident()
with keep_freed_memory() if sys.argv[1] == "kept" else nullcontext():
    with keep_freed_memory() if sys.argv[1] == "kept" else nullcontext():
        step()
    step()
    start = faults()
    for _ in range(10):
        step()
    taken = faults() - start
print(taken, resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's memory is meant")
def test_steps_do_not_fetch_their_memory_anew():
    def run(how, **environment):
        told = {name: value for name, value in os.environ.items() if "MALLOC" not in name and "GLIBC" not in name}
        done = subprocess.run(
            [sys.executable, "-c", STEPS, how], env={**told, **environment}, capture_output=True, text=True, check=True
        )
        return [int(number) for number in done.stdout.split()]

    def most(how, **environment):
        """Pages that were fetched anew: none where something small happens to lie on top of the heap, so of several."""
        tried = (run(how, **environment)[0] for _ in range(10))
        return next((pages for pages in tried if pages), 0)

    pages, grown = run("kept")
    usual = most("not kept")
    assert pages < usual / 20
    assert grown < 20e6
    asked_for = most("kept", MALLOC_TRIM_THRESHOLD_="100000")
    assert asked_for > usual / 2  # what the user says is heeded


def test_fit_keeps_memory(monkeypatch):
    told = []

    @contextmanager
    def noted():
        told.append("open")
        yield
        told.append("closed")

    monkeypatch.setattr(sys.modules[fit.__module__], "keep_freed_memory", noted)
    fit(PPCA(3, 1), torch.randn(20, 3), epochs=1, progress=False, callbacks=[lambda *_: told.append("step")])
    assert told == ["open", "step", "closed"]
