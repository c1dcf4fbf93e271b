"""What networks have in common that read an image pixel by pixel and are told of those before alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from pyrogen.nn.pixel.masked import Brush, MaskedConv2d, Painted, painted
from pyrogen.nn.shapes import Shape, as_shape, batch_shape

__all__ = ["Canvas", "PixelNetwork", "ResidualPixelNetwork", "Told"]


class Canvas(Protocol):
    """Images that are drawn pixel by pixel, and what was computed of them so far."""

    def paint(self, i: int, j: int, pixel: Tensor) -> None:
        """Put the whole pixel (rows, inside) into row i and column j."""

    def __call__(self, i: int, j: int, pixel: Tensor) -> Tensor:
        """The state (rows, width) at row i and column j, of whose pixel (rows, inside) some channels may be known."""


class Told(nn.Module):
    """A context as what is added to the state of each pixel: the same for all, or from the same place of a map.

    Args:
        context: how many numbers; or (channels, height, width) of a map; 0: there is none, and nothing is added.
        width: of a state.

    Shapes:
        (rows, context) or (rows, *context) -> (rows, width, 1 or height, 1 or width).
    """

    def __init__(self, context: Shape, width: int) -> None:
        super().__init__()
        self.shape = as_shape(context) if context else ()
        self.layer: nn.Module | None = None
        if len(self.shape) == 1:
            self.layer = nn.Sequential(nn.Linear(*self.shape, width), nn.Unflatten(-1, (width, 1, 1)))
        elif self.shape:
            self.layer = nn.Conv2d(self.shape[0], width, 1)

    def forward(self, context: Tensor | None) -> Tensor | float:
        """What is added."""
        if self.layer is None:
            return 0.0
        if context is None:
            raise ValueError(f"the network was made for a context of shape {self.shape}: pass one")
        added: Tensor = self.layer(context)
        return added

    @staticmethod
    def at(added: Tensor | float, i: int, j: int) -> Tensor | float:
        """What is added at row i and column j, (rows, width)."""
        if isinstance(added, float):
            return added
        return added[:, :, min(i, added.shape[2] - 1), min(j, added.shape[3] - 1)]


class PixelNetwork(nn.Module, ABC):
    """Outputs for every element of an image, from those before: pixels in the order of reading, their channels in turn.

    A network of this kind turns an image into states (`_states`), and does so pixel by pixel (`_canvas`). States come
    in one group for each channel of the image, the first of which was told of no channel of its own pixel. Values, in
    [0, 1], are read as 2 x - 1, and symbols, which have no channels, as vectors that are learned.
    """

    by_pixel: bool
    """Whether elements are in the order of pixels, the channels of each in turn, and not in that of memory."""
    unit: ClassVar[tuple[int, ...]] = ()
    """Event shape of an element."""

    event_shape: Shape
    outputs: int
    width: int
    symbols: int
    context: Shape

    def _ends(self, states: int) -> None:
        """The layers at both ends: values or symbols in, outputs for states of so many channels out."""
        self.event_shape = self._in = as_shape(self.event_shape)
        who, shape = type(self).__name__, (1, *self._in) if len(self._in) == 2 else self._in
        if len(shape) != 3 or (self.symbols and shape[0] != 1):
            raise ValueError(
                f"{who} is for images (channels, height, width), and grids (height, width) of symbols, got "
                f"event_shape={self._in} and symbols={self.symbols}"
            )
        self._channels, self._height, self._width = shape
        self.by_pixel = len(self._in) == 3
        if self.width % self._channels:
            raise ValueError(f"{who} has a group for each channel: {self._channels} do not divide width={self.width}")
        self._vectors = nn.Embedding(self.symbols, self.width) if self.symbols else None
        self._inside = self.width if self.symbols else self._channels
        self.last = nn.Sequential(
            nn.SiLU(),
            MaskedConv2d(states, states, 1, self._channels, own=True),
            nn.SiLU(),
            MaskedConv2d(states, self._channels * self.outputs, 1, self._channels, own=True),
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The outputs (rows, height, width, channels, outputs) for `x`."""
        batch_shape(x, self._in, type(self).__name__)
        out: Tensor = self.last(self._states(self._image(x), context))
        return out.unflatten(1, (self._channels, self.outputs)).permute(0, 3, 4, 1, 2)

    def steps(self, rows: int, context: Tensor | None = None) -> Callable[[int, Tensor], Tensor]:
        """The outputs element by element, in order: what was computed is kept.

        Returns:
            From a place and the elements so far (rows, places) to the outputs there (rows, outputs).
        """
        canvas, last = self._canvas(rows, context), painted(self.last, rows, 1, 1)

        def step(place: int, x: Tensor) -> Tensor:
            pixel, channel = divmod(place, self._channels)
            if pixel and not channel:  # the one before was painted before its last channel was known
                canvas.paint(*divmod(pixel - 1, self._width), self._pixel(x, pixel - 1))
            out = last(0, 0, canvas(*divmod(pixel, self._width), self._pixel(x, pixel)))
            return out.unflatten(1, (self._channels, self.outputs))[:, channel]

        return step

    @abstractmethod
    def _states(self, image: Tensor, context: Tensor | None) -> Tensor:
        """The states (rows, states, height, width) of an image (rows, inside, height, width)."""

    @abstractmethod
    def _canvas(self, rows: int, context: Tensor | None) -> Canvas:
        """The same for images that are drawn pixel by pixel."""

    def _image(self, x: Tensor) -> Tensor:
        """What the first layer sees, (rows, inside, height, width)."""
        if self._vectors is None:
            return 2 * x.reshape(len(x), self._channels, self._height, self._width) - 1
        vectors: Tensor = self._vectors(x.reshape(len(x), self._height, self._width))
        return vectors.permute(0, 3, 1, 2)

    def _pixel(self, x: Tensor, pixel: int) -> Tensor:
        """What the first layer sees of one pixel, (rows, inside), of the elements in order (rows, places)."""
        value = x[:, pixel * self._channels : (pixel + 1) * self._channels]
        if self._vectors is None:
            return 2 * value - 1
        vector: Tensor = self._vectors(value[:, 0])
        return vector


class ResidualPixelNetwork(PixelNetwork):
    """A masked convolution, then layers, each of which adds to the states; these are twice as many as `width`."""

    kernel: int

    def __post_init__(self) -> None:
        super().__init__()
        wide = 2 * self.width
        self._ends(wide)
        self.first = MaskedConv2d(self._inside, wide, self.kernel, self._channels)
        self.told = Told(self.context, wide)
        self.stack = nn.ModuleList(self._layers(wide))

    @abstractmethod
    def _layers(self, wide: int) -> Iterable[nn.Module]:
        """The layers, from states (rows, wide, height, width) to what they add."""

    @abstractmethod
    def _painted(self, layer: Any, rows: int) -> Brush:
        """A layer of images that come pixel by pixel."""

    def _states(self, image: Tensor, context: Tensor | None) -> Tensor:
        state: Tensor = self.first(image) + self.told(context)
        for layer in self.stack:
            state = state + layer(state)
        return state

    def _canvas(self, rows: int, context: Tensor | None) -> Canvas:
        layers = [self._painted(layer, rows) for layer in self.stack]
        return _Canvas(Painted(self.first, rows, self._height, self._width), self.told(context), layers)


class _Canvas:
    def __init__(self, first: Painted, told: Tensor | float, layers: list[Brush]) -> None:
        self.first, self.told, self.layers, self.paint = first, told, layers, first.paint

    def __call__(self, i: int, j: int, pixel: Tensor) -> Tensor:
        state = self.first(i, j, pixel) + Told.at(self.told, i, j)
        for layer in self.layers:
            state = state + layer(i, j, state)
        return state
