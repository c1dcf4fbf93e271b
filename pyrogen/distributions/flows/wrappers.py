"""Modules around Pyro's and torch's own transforms and distributions, as parts and as the base of a flow."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from pyro.distributions.conditional import ConditionalTransform
from pyro.distributions.transforms import Transform
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.distributions.transforms import _InverseTransform


class DistributionModule(nn.Module):
    """A copy of a distribution, whose tensors follow the device and dtype of the module that contains it.

    Args:
        distribution: of Pyro's or torch's.
    """

    def __init__(self, distribution: Distribution) -> None:
        super().__init__()
        copies: dict[int, Any] = {}
        self.distribution: Distribution = _copy(distribution, lambda tensor: tensor, copies)
        # By a buffer the story knows its device, also where there are no parameters.
        tensor = next((each for each in copies.values() if isinstance(each, Tensor)), None)
        self.register_buffer("tensor", tensor, persistent=False)

    def forward(self) -> Distribution:
        """Return the distribution.

        Returns:
            The copy, at the module's present device and dtype.
        """
        return self.distribution

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> DistributionModule:
        super()._apply(fn, recurse)
        self.distribution = _copy(self.distribution, fn, {})
        return self


def _copy(original: Any, function: Callable[[Tensor], Tensor], copies: dict[int, Any]) -> Any:
    """A deep copy of a distribution with `function` applied to its tensors; `copies` so far, as there are cycles."""
    if id(original) in copies:
        return copies[id(original)]
    if isinstance(original, list):
        return [_copy(each, function, copies) for each in original]
    copies[id(original)] = new = function(original) if isinstance(original, Tensor) else copy.copy(original)
    if not isinstance(original, Tensor):
        for name, value in vars(original).items():
            if isinstance(value, Tensor | list | Distribution | Transform):
                vars(new)[name] = _copy(value, function, copies)
    return new


class TransformModule(nn.Module):
    """A transform of Pyro's or torch's from z to x, as a part of a flow.

    Args:
        transform: the transform, conditional or not.
        event_shape: shape of x.

    Raises:
        TypeError: `transform` is not a transform.
    """

    def __init__(self, transform: Any, event_shape: tuple[int, ...]) -> None:
        super().__init__()
        if not isinstance(transform, Transform | ConditionalTransform):
            raise TypeError(
                f"a flow needs transforms, such as Coupling() or those of pyro.distributions.transforms, got "
                f"{type(transform).__name__}"
            )
        self.transform: Any = transform
        self.event_shape = self.base_shape = event_shape
        if isinstance(transform, Transform):
            self.base_shape = tuple(transform.inverse_shape(torch.Size(event_shape)))
        # An inverse is no module, nor is a composition of torch's, though their parts may be.
        inside = [] if isinstance(transform, nn.Module) else _parts_of(transform)
        self.submodules = nn.ModuleList(part for part in inside if isinstance(part, nn.Module))

    def forward(self, context: Tensor | None = None) -> Transform:
        """The transform z -> x at one context.

        Args:
            context: (..., context), which a conditional transform needs and others ignore; None, the default: none.

        Returns:
            The transform, without the cache of the last step.

        Raises:
            ValueError: a conditional transform gets no context.
        """
        if isinstance(self.transform, ConditionalTransform):
            if context is None:
                raise ValueError(f"{type(self.transform).__name__} needs a context: use ConditionalFlow, with labels y")
            return self.transform.condition(context)
        for module in _parts_of(self.transform):
            for part in module.modules() if isinstance(module, nn.Module) else [module]:
                if getattr(part, "_cache_size", 0):
                    part._cached_x_y = None, None  # those of the last step, with its parameters
        return self.transform

    def prepare(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Map data to the base; there is nothing to initialize.

        Args:
            x: training data (n, *event_shape).
            context: their contexts (n, context), or None.

        Returns:
            z (n, *base_shape).
        """
        return self(context).inv(x)

    def check_invertible(self, context: Tensor | None) -> None:
        """Map one event to z, in evaluation mode.

        Args:
            context: one context (context,), or None.

        Raises:
            ValueError: the transform has no inverse, or does not map events of the shape `event_shape`.
        """
        name, modes = _name_of(self.transform), [(module, module.training) for module in self.modules()]
        x = torch.full((1, *self.event_shape), 0.5)
        self.eval()  # so that this event does not enter running averages
        try:
            z = self.prepare(x.to(next(self.parameters(), x)), None if context is None else context[None])
        except (KeyError, NotImplementedError):
            raise ValueError(
                f"{name} has no inverse at values other than its own outputs, such as data: use {name}.inv, which has "
                "a density but no samples, or another transform"
            ) from None
        except (RuntimeError, ValueError, IndexError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise ValueError(f"{name} cannot map events of shape {self.event_shape}: {reason}") from None
        finally:
            for module, mode in modes:
                module.training = mode
        if tuple(z.shape[1:]) != self.base_shape:
            shapes = f"{tuple(z.shape[1:])}, expected {self.base_shape}"
            raise ValueError(f"{name} maps events of shape {self.event_shape} to shape {shapes}")


def _name_of(transform: Any) -> str:
    """The name of a transform's class, for an inverse that of the original with `.inv`."""
    return f"{_name_of(transform._inv)}.inv" if isinstance(transform, _InverseTransform) else type(transform).__name__


def _parts_of(transform: Any) -> list[Any]:
    """The transform and those inside it."""
    inside = [*getattr(transform, "parts", ()), getattr(transform, "base_transform", None)]
    inside.append(transform._inv if isinstance(transform, _InverseTransform) else None)
    return [transform, *(part for one in inside if one is not None for part in _parts_of(one))]
