"""What a flow is given of Pyro's and torch's own: transforms, and distributions as a base."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from pyro.distributions.conditional import ConditionalTransform
from pyro.distributions.transforms import Transform
from torch import Tensor, nn
from torch.distributions import Distribution

__all__ = ["DistributionModule", "TransformModule"]


class DistributionModule(nn.Module):
    """A distribution whose tensors follow the device and type of the module that holds it; called, it gives it.

    Args:
        distribution: stays as it is; a copy moves.
    """

    def __init__(self, distribution: Distribution) -> None:
        super().__init__()
        copies: dict[int, Any] = {}
        self.distribution: Distribution = _mapped(distribution, lambda tensor: tensor, copies)
        # Tells the story where it is, where there are no parameters to tell it.
        held = next((tensor for tensor in copies.values() if isinstance(tensor, Tensor)), None)
        self.register_buffer("held", held, persistent=False)

    def forward(self) -> Distribution:
        """The distribution."""
        return self.distribution

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> DistributionModule:
        super()._apply(fn, recurse)
        self.distribution = _mapped(self.distribution, fn, {})
        return self


def _mapped(thing: Any, function: Callable[[Tensor], Tensor], copies: dict[int, Any]) -> Any:
    """A copy of a distribution with other tensors, and of those and the transforms inside it.

    Args:
        thing: the distribution.
        function: from its tensors to the others.
        copies: what was copied so far, by identity: a transform and its inverse hold each other.
    """
    if id(thing) in copies:
        return copies[id(thing)]
    if isinstance(thing, list):
        return [_mapped(each, function, copies) for each in thing]
    copies[id(thing)] = again = function(thing) if isinstance(thing, Tensor) else copy.copy(thing)
    if not isinstance(thing, Tensor):
        for name, value in vars(thing).items():
            if isinstance(value, Tensor | list | Distribution | Transform):
                vars(again)[name] = _mapped(value, function, copies)
    return again


class TransformModule(nn.Module):
    """A transform of Pyro's or torch's in a flow.

    Args:
        transform: from z to x.
        event_shape: shape of x.

    Raises:
        TypeError: it is no transform.
        ValueError: when called: it needs a context that is not given; by `check_invertible`, it takes no x back to z.
    """

    def __init__(self, transform: Any, event_shape: tuple[int, ...]) -> None:
        super().__init__()
        if not isinstance(transform, Transform | ConditionalTransform):
            raise TypeError(
                f"a flow is made of transforms, such as Coupling() or those of pyro.distributions.transforms, got "
                f"{type(transform).__name__}"
            )
        self.transform: Any = transform
        self.event_shape = self.base_shape = event_shape
        if isinstance(transform, Transform):
            self.base_shape = tuple(transform.inverse_shape(torch.Size(event_shape)))
        # An inverse is no module itself, and a composition of torch's neither, though their parts may be.
        inside = [] if isinstance(transform, nn.Module) else _parts_of(transform)
        self.held = nn.ModuleList(part for part in inside if isinstance(part, nn.Module))

    def forward(self, context: Tensor | None = None) -> Transform:
        """The transform z -> x at this context."""
        if isinstance(self.transform, ConditionalTransform):
            if context is None:
                raise ValueError(
                    f"{type(self.transform).__name__} needs a context: take ConditionalFlow, with labels y"
                )
            return self.transform.condition(context)
        for module in _parts_of(self.transform):
            for part in module.modules() if isinstance(module, nn.Module) else [module]:
                if getattr(part, "_cache_size", 0):
                    part._cached_x_y = None, None  # of the last step, and of its parameters
        transform: Transform = self.transform
        return transform

    def prepare(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Nothing to start from data; gives z."""
        z: Tensor = self(context).inv(x)
        return z

    def check_invertible(self, context: Tensor | None) -> None:
        """Take one event back to z, and refuse a transform that cannot."""
        name, modes = _called(self.transform), [(module, module.training) for module in self.modules()]
        x = torch.full((1, *self.event_shape), 0.5)
        self.eval()  # layers that count what they meet would count this
        try:
            z = self.prepare(x.to(next(self.parameters(), x)), None if context is None else context[None])
        except (KeyError, NotImplementedError):
            raise ValueError(
                f"{name} has no inverse at values that it did not make itself, such as data: take {name}.inv, which "
                "can be scored and not drawn from, or another transform"
            ) from None
        except (RuntimeError, ValueError, IndexError) as error:
            raise ValueError(f"{name} does not take events of shape {self.event_shape}: {_first_line(error)}") from None
        finally:
            for module, mode in modes:
                module.training = mode
        if tuple(z.shape[1:]) != self.base_shape:
            raise ValueError(f"{name} takes events of shape {self.event_shape} to {tuple(z.shape[1:])}")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _called(transform: Any) -> str:
    """How messages call a transform: the name of its class, and of one that is turned around, its own with `.inv`."""
    if type(transform).__name__ == "_InverseTransform":
        return f"{_called(transform._inv)}.inv"
    return type(transform).__name__


def _parts_of(transform: Any) -> list[Any]:
    """The transform and those inside it."""
    inside = [*getattr(transform, "parts", ()), getattr(transform, "base_transform", None)]
    inside.append(transform._inv if type(transform).__name__ == "_InverseTransform" else None)
    return [transform, *(part for one in inside if one is not None for part in _parts_of(one))]
