import os
import subprocess
import sys
from pathlib import Path

import pyrogen
from pyrogen import load

ROOT = Path(pyrogen.__file__).parents[1]


def test_the_demo_runs_and_runs_again(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for epochs in ("1", "2"):
        command = [sys.executable, "-W", "error", "examples/demo.py", "--out", str(tmp_path), "--epochs", epochs]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
        assert (ended.returncode, ended.stderr) == (0, "")
    assert "k = 1000, seed 0" in ended.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "reconstructions.png",
        "run",
        "samples.png",
        "training.png",
    ]
    assert all(str(path) in ended.stdout for path in tmp_path.iterdir())
    assert len(load(tmp_path / "run").history) == 2
