"""A CUDA device in appearance, on any machine: tensors that say they are there, compute on the host, meet no other.

Beside torch's FakeTensorMode these have values, random numbers and gradients: trainings and diagnoses run whole.
"""

from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten
CUDA, HOST = torch.device("cuda", 0), torch.device("cpu")
STANDS_IN = torch.device("meta")
"""What torch's own code takes the tensors' device for: autograd asks CUDA for a driver, and meta for nothing."""

INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
COPYING = {aten.copy_.default, aten._to_copy.default}
OF_LISTS = {aten.cat.default, aten.stack.default}


class CudaTensor(Tensor):
    """Says it is on CUDA; its values are in `held`, a tensor of the host."""

    @staticmethod
    def __new__(cls, held):
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        made = Tensor._make_wrapper_subclass(
            cls, held.size(), **layout, device=STANDS_IN, requires_grad=held.requires_grad
        )
        made.held = held
        return made

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_cpu = is_meta = property(lambda self: False)
    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return computed(func, args, kwargs or {})

    def __repr__(self):
        return f"CudaTensor({self.held})"

    def tolist(self):
        return self.cpu().tolist()

    def numpy(self, **_):
        raise TypeError(
            "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy it to the host first."
        )

    def __array__(self, *_, **__):
        return self.numpy()

    def data_ptr(self):
        return self.held.data_ptr()

    def untyped_storage(self):
        return self.held.untyped_storage()


def computed(func, args, kwargs):
    """The result of an operation on the held tensors, on CUDA where arguments or the wanted device are."""
    wanted = kwargs.get("device")
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    on_cuda = any(isinstance(tensor, CudaTensor) for tensor in tensors)
    if on_cuda:
        refuse_meeting(func, args, tensors)
    held_args, held_kwargs = tree_map(lambda leaf: leaf.held if isinstance(leaf, CudaTensor) else leaf, (args, kwargs))
    result = func(*held_args, **(held_kwargs if wanted is None else {**held_kwargs, "device": HOST}))
    if func is aten.copy_.default:
        return args[0]
    if not (on_cuda if wanted is None else wanted.type != "cpu"):
        return result
    result = tree_map(lambda leaf: CudaTensor(leaf) if isinstance(leaf, Tensor) else leaf, result)
    return result if wanted is not None else return_and_correct_aliasing(func, args, kwargs, result)


def refuse_meeting(func, args, tensors):
    """As on a device: a tensor of the host meets others as a number, as an index, or where it is copied."""
    for tensor in tensors:
        if isinstance(tensor, CudaTensor) or func in COPYING or (func in INDEXING and tensor is not args[0]):
            continue
        changed = func._schema.is_mutable and tensor is args[0]
        if tensor.dim() > 0 or func in OF_LISTS or changed:
            raise RuntimeError(f"Expected all tensors to be on the same device, but found cuda:0 and cpu in {func}")


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return computed(func, args, kwargs or {})


class _DeviceNames(TorchFunctionMode):
    """Puts the device that stands in for CUDA in its place before torch asks for a driver."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.device:
            return func(*args, **(kwargs or {}))
        if func is Tensor.cuda:
            func, args = Tensor.to, (args[0], STANDS_IN)
        args, kwargs = tuple(_named(each) for each in args), {key: _named(each) for key, each in (kwargs or {}).items()}
        if func in (torch.tensor, torch.as_tensor, torch.asarray) and kwargs.get("device") == STANDS_IN:
            return func(*args, **{**kwargs, "device": HOST}).to(STANDS_IN)
        if func is Tensor.new_tensor and isinstance(args[0], CudaTensor):
            return torch.tensor(*args[1:], **{"dtype": args[0].dtype, **kwargs}).to(STANDS_IN)
        return func(*args, **kwargs)


def _named(value):
    is_cuda = isinstance(value, (str, torch.device)) and str(value).startswith("cuda")
    return STANDS_IN if is_cuda else value


@contextmanager
def fake_cuda():
    """`device="cuda"` works, and a tensor of the host that meets one of the device raises."""
    memory = patch("torch.cuda.mem_get_info", lambda *_: (2**34, 2**34))
    with memory, torch.backends.cudnn.flags(enabled=False), _DeviceNames(), _Dispatch():
        yield
