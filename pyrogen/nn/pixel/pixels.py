"""Base classes of networks over the pixels of an image whose outputs depend on the pixels before alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from torch import Tensor, nn

from pyrogen.annotations import Count, CountOrZero
from pyrogen.nn.pixel.incremental import IncrementalLayer, IncrementalMaskedConv2d, incremental_sequential
from pyrogen.nn.pixel.masked import MaskedConv2d
from pyrogen.nn.shapes import Shape, as_shape, batch_shape

IncrementalNetwork = tuple[Callable[[int, int, Tensor], None], IncrementalLayer]
"""What sets the input at a row and a column, and what sets it and gives the states there."""


class PixelContext(nn.Module):
    """Embedding of a context that is added to the state of every pixel: one for all pixels, or one for each of a map.

    Args:
        context: size of a context vector, or (channels, height, width) of a map; 0 for no context: 0 is added.
        width: size of a state.
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
        """Embed a context.

        Args:
            context: shape (batch, context) or (batch, *context); None without a context.

        Returns:
            Embedding of shape (batch, width, 1, 1) of a vector, (batch, width, height, width of the map) of a map, and
            0.0 without a context.

        Raises:
            ValueError: the context is missing.
        """
        if self.layer is None:
            return 0.0
        if context is None:
            raise ValueError(f"the network was made for a context of shape {self.shape}: pass one")
        return self.layer(context)

    @staticmethod
    def row(embedding: Tensor | float, i: int) -> Tensor | float:
        """Select a row of an embedding.

        Args:
            embedding: what `forward` gives.
            i: the row.

        Returns:
            The embedding (batch, width, 1, 1 or width of the map) in row `i`, and 0.0 without a context.
        """
        return embedding if isinstance(embedding, float) else embedding[:, :, min(i, embedding.shape[2] - 1), None]

    @staticmethod
    def at(embedding: Tensor | float, i: int, j: int) -> Tensor | float:
        """Select a pixel of an embedding.

        Args:
            embedding: what `forward` gives.
            i: the row.
            j: the column.

        Returns:
            The embedding (batch, width) at row `i` and column `j`, and 0.0 without a context.
        """
        row = PixelContext.row(embedding, i)
        return row if isinstance(row, float) else row[:, :, 0, min(j, row.shape[3] - 1)]


class PixelNetwork(nn.Module, ABC):
    """Base class: outputs for every element of an image that depend on the elements before, pixel by pixel.

    Pixels are in the order of reading, and the channels of a pixel in their order. A subclass maps an image to states
    (`_states`), and does so incrementally (`_incremental`). States come in one group for each channel of the image, the
    first of which depends on no channel of its own pixel. Values in [0, 1] are scaled to 2 x - 1, and symbols, of which
    there is one at each pixel, are embedded.
    """

    by_pixel: bool
    """Whether elements are in the order of pixels, the channels of each in turn, and not in that of memory."""
    unit: ClassVar[tuple[int, ...]] = ()
    """Event shape of an element."""

    event_shape: Shape
    outputs: Count
    width: Count
    symbols: CountOrZero
    context: Shape

    def _add_ends(self, states: int) -> None:
        """Add the embedding of symbols, and the layers from states of so many channels to outputs."""
        self.event_shape = self._in = as_shape(self.event_shape)
        name, shape = type(self).__name__, (1, *self._in) if len(self._in) == 2 else self._in
        if len(shape) != 3 or (self.symbols and shape[0] != 1):
            raise ValueError(
                f"{name} is for images (channels, height, width), and grids (height, width) of symbols, got "
                f"event_shape={self._in} and symbols={self.symbols}"
            )
        self._channels, self._height, self._width = shape
        self.by_pixel = len(self._in) == 3
        if self.width % self._channels:
            raise ValueError(f"{name} has a group for each channel: {self._channels} do not divide width={self.width}")
        self.embedding = nn.Embedding(self.symbols, self.width) if self.symbols else None
        self._in_channels = self.width if self.symbols else self._channels
        self.last = nn.Sequential(
            nn.SiLU(),
            MaskedConv2d(states, states, 1, self._channels, "B"),
            nn.SiLU(),
            MaskedConv2d(states, self._channels * self.outputs, 1, self._channels, "B"),
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Compute the outputs for all elements.

        Args:
            x: values or symbols of shape (batch, *event_shape).
            context: shape (batch, context) or (batch, *context); None, the default, for a network without a context.

        Returns:
            Outputs of shape (batch, height, width, channels, outputs).
        """
        batch_shape(x, self._in, type(self).__name__)
        out: Tensor = self.last(self._states(self._image(x), context))
        return out.unflatten(1, (self._channels, self.outputs)).permute(0, 3, 4, 1, 2)

    def steps(self, batch_size: int, context: Tensor | None = None) -> Callable[[int, Tensor], Tensor]:
        """Prepare incremental evaluation, element by element, which keeps the states and reuses them.

        Args:
            batch_size: number of images.
            context: as that of `forward`.

        Returns:
            A function to be called for the positions in order: from a position and the elements so far, in order
            (batch_size, elements), to the outputs at the position (batch_size, outputs).
        """
        set_pixel, states = self._incremental(batch_size, context)
        last = incremental_sequential(self.last, batch_size, 1, 1)

        def step(position: int, x: Tensor) -> Tensor:
            pixel, channel = divmod(position, self._channels)
            if pixel and not channel:  # the pixel before was last set when its last channel was not known
                set_pixel(*divmod(pixel - 1, self._width), self._pixel(x, pixel - 1))
            out = last(0, 0, states(*divmod(pixel, self._width), self._pixel(x, pixel)))
            return out.unflatten(1, (self._channels, self.outputs))[:, channel]

        return step

    @abstractmethod
    def _states(self, image: Tensor, context: Tensor | None) -> Tensor:
        """The states (batch, states, height, width) of an image (batch, in_channels, height, width)."""

    @abstractmethod
    def _incremental(self, batch_size: int, context: Tensor | None) -> IncrementalNetwork:
        """The same in incremental evaluation; some channels of the last pixel may be unknown yet."""

    def _image(self, x: Tensor) -> Tensor:
        """The input of the first layer, (batch, in_channels, height, width)."""
        if self.embedding is None:
            return 2 * x.reshape(len(x), self._channels, self._height, self._width) - 1
        return self.embedding(x.reshape(len(x), self._height, self._width)).permute(0, 3, 1, 2)

    def _pixel(self, x: Tensor, pixel: int) -> Tensor:
        """The input of the first layer at one pixel, (batch, in_channels), of elements in order (batch, elements)."""
        value = x[:, pixel * self._channels : (pixel + 1) * self._channels]
        return 2 * value - 1 if self.embedding is None else self.embedding(value[:, 0])


class ResidualPixelNetwork(PixelNetwork):
    """Base class: a masked convolution, then residual layers of states that have 2 `width` channels."""

    kernel: Count

    def __post_init__(self) -> None:
        super().__init__()
        states = 2 * self.width
        self._add_ends(states)
        self.first = MaskedConv2d(self._in_channels, states, self.kernel, self._channels)
        self.context_embedding = PixelContext(self.context, states)
        self.stack = nn.ModuleList(self._layers(states))

    @abstractmethod
    def _layers(self, states: int) -> Iterable[nn.Module]:
        """The layers, from states (batch, states, height, width) to what is added to them."""

    @abstractmethod
    def _incremental_layer(self, layer: Any, batch_size: int) -> IncrementalLayer:
        """A layer in incremental evaluation."""

    def _states(self, image: Tensor, context: Tensor | None) -> Tensor:
        state: Tensor = self.first(image) + self.context_embedding(context)
        for layer in self.stack:
            state = state + layer(state)
        return state

    def _incremental(self, batch_size: int, context: Tensor | None) -> IncrementalNetwork:
        first = IncrementalMaskedConv2d(self.first, batch_size, self._height, self._width)
        embedding = self.context_embedding(context)
        layers = [self._incremental_layer(layer, batch_size) for layer in self.stack]

        def states(i: int, j: int, pixel: Tensor) -> Tensor:
            state = first(i, j, pixel) + PixelContext.at(embedding, i, j)
            for layer in layers:
                state = state + layer(i, j, state)
            return state

        return first.set_pixel, states
