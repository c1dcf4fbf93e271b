"""Checkpoints that should be the same."""

import torch

__all__ = ["assert_same_checkpoint"]


def assert_same_checkpoint(one, other, path=""):
    """Two trees are equal to the bit but for seconds."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), path
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            if key not in ("seconds", "partial"):
                assert_same_checkpoint(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), path
        for i, pair in enumerate(zip(one, other, strict=True)):
            assert_same_checkpoint(*pair, f"{path}/{i}")
    else:
        assert one == other, path
