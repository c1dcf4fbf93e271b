"""What README shows runs."""

import re
from pathlib import Path

import pyro
import torch
from pyro.infer.autoguide import AutoNormal

from tests.helpers.stories import schools, schools_model

BLOCKS = re.findall(r"```python\n(.*?)```", Path(__file__).parents[2].joinpath("README.md").read_text(), re.DOTALL)


def test_a_story(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    world = {}
    exec(BLOCKS[0], world)
    assert world["run"].history[-1]["validation_elbo"] > world["run"].history[0]["validation_elbo"]
    assert (tmp_path / "runs" / "topics" / "weights.safetensors").exists()


def test_an_existing_program():
    world = {"model": schools_model, "guide": AutoNormal(schools_model), "pyro": pyro, "torch": torch, **schools()}
    exec(BLOCKS[1].replace("5000", "50"), world)
    assert set(world["tree"]["posterior"].data_vars) == {"mu", "tau", "theta"}
