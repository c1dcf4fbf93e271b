"""Fake CUDA tensors, on any machine: shapes, types and devices without values; host and device must not meet."""

from contextlib import contextmanager

import pyro
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributions import Distribution

from pyrogen.inference.compile.pyro_patches import patched_for_tracing


@contextmanager
def fake_cuda():
    """Tensors made here without a device are on a fake CUDA device; one of the host that meets them raises."""
    validates = Distribution._validate_args
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    try:
        Distribution.set_default_validate_args(False)
        with patched_for_tracing(), pyro.validation_enabled(False), mode, torch.device("cuda"):
            yield
    finally:
        Distribution.set_default_validate_args(validates)


def on_device(tensor):
    """A fake tensor of the same shape and type on the device."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")


def move(module):
    """Put fake tensors in the place of a module's parameters and buffers."""
    for part in module.modules():
        for name, value in [*part._parameters.items(), *part._buffers.items()]:
            if isinstance(value, torch.nn.Parameter):
                part._parameters[name] = torch.nn.Parameter(on_device(value), value.requires_grad)
            elif value is not None:
                part._buffers[name] = on_device(value)
    return module
