"""The traceback of an exception in a user's model: few frames of pyrogen's between the call and the user's line."""

import os
import subprocess
import sys
import traceback

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrogen import Story, fit

STORY = """
import torch
from pyrogen import Story


class Broken(Story):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(()))

    def model(self, x, n):
        raise {error}

    def guide(self, x, n):
        pass
"""


class Later(Story):
    """Fails in one of its later steps."""

    def __init__(self):
        super().__init__()
        self.w, self.runs = torch.nn.Parameter(torch.zeros(())), 0

    def model(self, x, n):
        self.runs += 1
        if self.runs > 9:
            raise KeyError("mine")
        with pyro.plate("data", n):
            return pyro.sample("x", dist.Normal(self.w, 1.0), obs=x)

    def guide(self, x, n):
        pass


def own_frames(text):
    folder = f"{os.sep}pyrogen{os.sep}"
    return [line for line in text.splitlines() if line.strip().startswith("File") and folder in line]


@pytest.mark.parametrize("error", ["KeyError('mine')", "RuntimeError('mine')"])
def test_by_the_command_line(tmp_path, error):
    (tmp_path / "broken.py").write_text(STORY.format(error=error))
    command = ["train", f"{tmp_path}/broken.py:Broken", "--data", "digits", "--out", str(tmp_path / "run"), "--debug"]
    done = subprocess.run([sys.executable, "-m", "pyrogen", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "mine" in done.stderr
    assert 4 <= len(own_frames(done.stderr)) <= 7, done.stderr


def test_of_a_later_step():
    with pytest.raises(KeyError) as caught:
        fit(Later(), torch.zeros(5), steps=20, compile=False)
    text = "".join(traceback.format_exception(caught.value))
    assert 3 <= len(own_frames(text)) <= 5, text
