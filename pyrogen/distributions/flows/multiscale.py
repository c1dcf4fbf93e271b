"""Multi-scale flows over images."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pyrogen.annotations import Count, CountOrZero
from pyrogen.distributions.family import without_autocast
from pyrogen.distributions.flows.bijections import Bijection, BijectionConfig, ValueAndLogDet
from pyrogen.distributions.flows.couplings import CouplingLayer
from pyrogen.distributions.flows.elementwise import Affine, Elementwise
from pyrogen.distributions.flows.layers import Actnorm, Chain
from pyrogen.nn import ConvNetwork


@dataclass(frozen=True)
class MultiScale(BijectionConfig):
    """A flow of images whose channels are factored out by halves, scale by scale, as in RealNVP and Glow.

    At each scale: 2 x 2 pixels become channels; then come `steps` layers, each an `Actnorm`, a learned invertible 1 x 1
    convolution and a coupling of half of the channels by a convolutional network on the other half; then half of the
    channels are factored out. There are further scales while height and width are even, down to 2 x 2 pixels. z is a
    vector that begins with the part factored out first.

    Args:
        elementwise: the couplings' map, `Affine()` by default.
        scales: largest number of scales, 3 by default.
        steps: layers at each scale, 4 by default.
        width: channels of the networks' hidden layers, 32 by default.
        blocks: residual blocks in each network, 1 by default.

    Raises:
        ValueError: `scales` or `steps` is below 1.

    Example:
        >>> MultiScale(scales=2, steps=1, width=8).build((1, 8, 8))(None)(torch.zeros(5, 64)).shape
        torch.Size([5, 1, 8, 8])

    References:
        Dinh, Sohl-Dickstein, Bengio 2016, arXiv:1605.08803; Kingma, Dhariwal 2018, arXiv:1807.03039.
    """

    elementwise: Elementwise = Affine()  # noqa: RUF009 (frozen)
    scales: Count = 3
    steps: Count = 4
    width: Count = 32
    blocks: CountOrZero = 1

    def __post_init__(self) -> None:
        if self.scales < 1 or self.steps < 1:
            raise ValueError(f"MultiScale needs a scale and a step, got scales={self.scales!r}, steps={self.steps!r}")

    @staticmethod
    def supports(event_shape: tuple[int, ...]) -> bool:
        """Whether there is such a flow over events of a shape.

        Args:
            event_shape: shape of one datum.

        Returns:
            Whether events are images of even height and width.
        """
        return len(event_shape) == 3 and event_shape[1] % 2 == event_shape[2] % 2 == 0

    def build(self, event_shape: tuple[int, ...], context: int = 0) -> Bijection:
        """Make the scales.

        Args:
            event_shape: (channels, height, width).
            context: size of the context, 0 by default: none.

        Returns:
            The map, of which all but the 1 x 1 convolutions is the identity.

        Raises:
            ValueError: events are no images of even height and width.
        """
        if not self.supports(event_shape):
            raise ValueError(
                f"MultiScale is for images (channels, height, width) of even height and width, got {event_shape}: use "
                "Coupling or Autoregressive, or pad the images"
            )
        scales: list[Chain] = []
        shape = event_shape
        while len(scales) < self.scales and self.supports(shape) and (not scales or min(shape[1:]) > 2):
            squeeze = _Squeeze(shape)
            layers = [layer for _ in range(self.steps) for layer in self._step(squeeze.base_shape, context)]
            scales.append(Chain([squeeze, *layers]))
            channels, *size = squeeze.base_shape
            shape = (channels // 2, *size)
        return _Scales(event_shape, scales)

    def _step(self, shape: tuple[int, ...], context: int) -> list[Bijection]:
        channels, *size = shape
        fixed = channels // 2
        raw = self.elementwise.num_parameters * (channels - fixed)
        network = ConvNetwork((fixed + context, *size), (raw, *size), self.width, self.blocks)
        return [Actnorm(shape), _InvertibleConv1x1(shape), CouplingLayer(shape, fixed, self.elementwise, network)]


class _Scales(Bijection):
    def __init__(self, event_shape: tuple[int, ...], scales: list[Chain]) -> None:
        super().__init__(event_shape, (math.prod(event_shape),))
        self.scales = nn.ModuleList(scales)

    def to_base(self, x: Tensor, context: Tensor | None) -> ValueAndLogDet:
        return self._factored_out(x, lambda scale, x: scale.to_base(x, context))

    def to_data(self, z: Tensor, context: Tensor | None) -> ValueAndLogDet:
        total = z.new_zeros(())
        sizes = [math.prod(scale.base_shape) // (1 if last else 2) for scale, last in self._scales()]
        parts = list(z.split(sizes, -1))
        x = self._image(parts.pop(), len(self.scales) - 1)
        for scale, last in reversed(self._scales()):
            if not last:
                x = torch.cat([x, self._image(parts.pop(), len(parts), halved=True)], -3)
            x, log_det = scale.to_data(x, context)
            total = total + log_det
        return x, total

    @torch.no_grad()
    def prepare(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._factored_out(x, lambda scale, x: (scale.prepare(x, context), x.new_zeros(())))[0]

    def _factored_out(self, x: Tensor, function: Callable[[Chain, Tensor], ValueAndLogDet]) -> ValueAndLogDet:
        """The parts that are factored out where `function` maps the rest at each scale, concatenated."""
        parts, total = [], x.new_zeros(())
        for scale, last in self._scales():
            x, log_det = function(scale, x)
            total = total + log_det
            if not last:
                x, part = x.chunk(2, -3)
                parts.append(part.flatten(-3))
        return torch.cat([*parts, x.flatten(-3)], -1), total

    def _scales(self) -> list[tuple[Chain, bool]]:
        return [(scale, scale is self.scales[-1]) for scale in self.scales]  # type: ignore[misc]

    def _image(self, flat: Tensor, scale: int, halved: bool = False) -> Tensor:
        channels, height, width = self.scales[scale].base_shape  # type: ignore[misc]
        return flat.reshape(*flat.shape[:-1], channels // 2 if halved else channels, height, width)


class _Squeeze(Bijection):
    """2 x 2 pixels become 4 channels, so that a coupling of channels is one of a pattern of pixels."""

    def __init__(self, event_shape: tuple[int, ...]) -> None:
        channels, height, width = event_shape
        super().__init__(event_shape, (4 * channels, height // 2, width // 2))

    def to_base(self, x: Tensor, context: Tensor | None) -> ValueAndLogDet:
        return functional.pixel_unshuffle(x, 2), x.new_zeros(())

    def to_data(self, z: Tensor, context: Tensor | None) -> ValueAndLogDet:
        return functional.pixel_shuffle(z, 2), z.new_zeros(())


class _InvertibleConv1x1(Bijection):
    """z = P L U x over the channels of each pixel: an invertible 1 x 1 convolution, initialized at a random rotation.

    Pyro's GeneralizedChannelPermute is the same map; it computes the products of every pair of channels at every pixel
    before it sums them, and is 4 to 8 times slower from 12 channels on.
    """

    def __init__(self, event_shape: tuple[int, ...]) -> None:
        super().__init__(event_shape)
        channels = event_shape[0]
        rotation = torch.linalg.qr(torch.randn(channels, channels))[0]
        order, lower, upper = torch.linalg.lu(rotation)
        self.order = nn.Buffer(order)
        self.sign = nn.Buffer(upper.diagonal().sign())
        self.lower, self.upper = nn.Parameter(lower.tril(-1)), nn.Parameter(upper.triu(1))
        self.log_diagonal = nn.Parameter(upper.diagonal().abs().log())

    def to_base(self, x: Tensor, context: Tensor | None) -> ValueAndLogDet:
        return self._multiply(x, self._matrix), self._log_det()

    def to_data(self, z: Tensor, context: Tensor | None) -> ValueAndLogDet:
        return self._multiply(z, lambda: torch.linalg.inv(self._matrix())), -self._log_det()

    def _multiply(self, x: Tensor, matrix: Callable[[], Tensor]) -> Tensor:
        # Autocast is for networks: with products in bfloat16, log densities of images would be off by tens of nats.
        with without_autocast(x):
            return (matrix() @ x.flatten(-2)).unflatten(-1, self.event_shape[1:])

    def _matrix(self) -> Tensor:
        one = torch.eye(len(self.sign), dtype=self.lower.dtype, device=self.lower.device)
        lower = self.lower.tril(-1) + one
        return self.order @ lower @ (self.upper.triu(1) + (self.sign * self.log_diagonal.exp()).diag())

    def _log_det(self) -> Tensor:
        return self.log_diagonal.sum() * math.prod(self.event_shape[1:])
