"""The command line, called in this process."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from pyrogen.cli import main

OWN = '''"""Stories of a user's own."""
import pyro
import pyro.distributions as dist
import torch
from pyro.infer.autoguide import AutoNormal
from torch import nn

from pyrogen import Story

print("a file that speaks when it is read")


class Classes(Story):
    """Pixels by class."""

    def __init__(self, event_shape, classes, spread=1.0):
        super().__init__()
        self.logits = nn.Parameter(spread * torch.randn(classes, *event_shape))

    def model(self, x, y, n):
        with pyro.plate("data", n):
            return pyro.sample("x", dist.Bernoulli(logits=self.logits[y]).to_event(self.logits.dim() - 1), obs=x)

    def guide(self, x, y, n):
        pass


class Undecided(Classes):
    """Has no density, or so it says."""

    unsupported = {"density": "it would rather not"}


class Location(Story):
    """One latent mean, shared by all data."""

    def __init__(self, event_shape):
        super().__init__()
        self.event_shape = tuple(event_shape)
        self.guide = AutoNormal(self.model)

    def model(self, x, total, index):
        loc = torch.zeros(self.event_shape)
        mu = pyro.sample("mu", dist.Normal(loc, 10.0).to_event(len(self.event_shape)))
        with pyro.plate("data", total, subsample=index):
            return pyro.sample("x", dist.Normal(mu, 1.0).to_event(len(self.event_shape)), obs=x)


class Broken(Classes):
    """Fails in its own way."""

    def model(self, x, y, n):
        return undefined


class Composed(Classes):
    """Built of a part that no config can tell."""

    def __init__(self, event_shape, classes, part=None):
        super().__init__(event_shape, classes)
        self.part = part
'''


class Called(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line on standard error."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("pyrogen: ")
        return lines[0]


Call = Callable[..., Called]


@pytest.fixture(autouse=True)
def _own_features(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Classifiers that `evaluate` trains are kept for these tests, not for whoever runs them."""
    kept = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setattr("pyrogen.diagnostics.samples.features.user_cache", lambda: kept)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls `pyrogen` with arguments."""

    def called(*arguments: object) -> Called:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        return Called(status, *capsys.readouterr())

    return called


@pytest.fixture(scope="session")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a small VAE on digits."""
    return trained(tmp_path_factory, "vae", "digits", "--set", "hidden=[16]", "--set", "latent=4")


@pytest.fixture(scope="session")
def ppca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of probabilistic PCA on dequantized digits."""
    return trained(tmp_path_factory, "ppca", "digits")


@pytest.fixture(scope="session")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with stories of a user's own."""
    path = tmp_path_factory.mktemp("own") / "own.py"
    path.write_text(OWN)
    return path


@pytest.fixture(scope="session")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 binary images of two classes, one row of pixels each; three quarters are of class 0."""
    path = tmp_path_factory.mktemp("bars") / "bars.npz"
    y = np.arange(300) % 4 == 0
    x = np.zeros((300, 1, 4, 4), dtype=np.float32)
    x[~y, :, 0], x[y, :, 2] = 1, 1
    np.savez(path, x=x, y=y.astype(np.int64))
    return path


@pytest.fixture(scope="session")
def classes(tmp_path_factory: pytest.TempPathFactory, own: Path, bars: Path) -> Path:
    """A run of a user's own story on the user's own data."""
    return trained(tmp_path_factory, f"{own}:Classes", bars, "--lr", "0.5", "--epochs", "30")


def trained(factory: pytest.TempPathFactory, name: object, data: object, *options: str) -> Path:
    out = factory.mktemp("runs") / "run"
    length = () if "--epochs" in options else ("--epochs", "2")
    assert main(["train", str(name), "--data", str(data), "--out", str(out), *options, *length]) == 0
    return out
