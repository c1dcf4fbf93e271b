"""Compiled and eager runs of one program, and their comparison."""

import math

import torch

from pyrogen import fit
from pyrogen.inference import adam


def counts(rows=60):
    return torch.poisson(torch.full((rows, 10), 2.0), generator=torch.Generator().manual_seed(3))


def run(make, data, compile, **options):
    torch.manual_seed(4)
    given = {"batch_size": 20, "steps": 12, "optimizer": adam(0.01), **options}
    if "objective" in given:
        given["objective"] = given["objective"]()
    return fit(make(), data(), compile=compile, **given)


def agree(one, other, tolerance=1e-5):
    for mine, theirs in zip(one.history, other.history, strict=True):
        assert math.isclose(mine["train_elbo"], theirs["train_elbo"], rel_tol=tolerance), mine["epoch"]
    first, second = one.story.trainable(), other.story.trainable()
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.allclose(value, second[name], rtol=1e-4, atol=1e-4), name
