"""Autoregressive models of images and texts. Defaults suit digits and short texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, Literal, get_args

from annotated_types import Interval, Len
from torch.nn import Module

from pyrogen import autoregressive, models, nn
from pyrogen.catalog import examples, types
from pyrogen.catalog.components import likelihood_of, number_of_labels
from pyrogen.catalog.entry import Entry
from pyrogen.catalog.settings import Auto, UsedIf
from pyrogen.distributions import Family, LogisticMixture
from pyrogen.nn import as_shape
from pyrogen.story import Story

Kernel = Annotated[int, Interval(ge=1, le=99)]
_NOT_BERNOULLI = tuple(name for name in get_args(types.ElementLikelihood) if name != "bernoulli")


def _model(
    build: Callable[..., Module],
    event_shape: tuple[int, ...],
    family: Family,
    classes: int | None,
    conditional: bool,
    unit: tuple[int, ...] = (),
) -> Story:
    """The model of a network that `build` makes with the outputs that the family of an element takes."""
    outputs, labels = math.prod(family.size(unit)), number_of_labels(conditional, classes)
    if not labels:
        return autoregressive.AutoregressiveModel(event_shape, build(outputs=outputs), family)
    network = build(outputs=outputs, context=labels)
    return autoregressive.ConditionalAutoregressiveModel(event_shape, network, labels, likelihood=family)


def _made(
    event_shape: tuple[int, ...],
    classes: types.Classes = None,
    levels: types.Levels = None,
    likelihood: types.ElementLikelihood = "bernoulli",
    hidden: types.Sizes = (500,),
    conditional: bool = False,
) -> Story:
    """masked dense network: each element given those before; conditional=true: given labels."""
    # For MNIST: --epochs 100 --set hidden=[2000].
    build = partial(nn.MaskedDense, event_shape, hidden=as_shape(hidden))
    return _model(build, event_shape, likelihood_of(likelihood, (), levels), classes, conditional)


def _pixelcnn(
    event_shape: tuple[int, ...],
    classes: types.Classes = None,
    levels: types.Levels = None,
    likelihood: types.ElementLikelihood = "bernoulli",
    width: types.Size | None = None,
    blocks: types.Count = 5,
    kernel: Kernel = 7,
    conditional: bool = False,
) -> Story:
    """masked convolutions in residual blocks; likelihood=categorical or logistic for grey levels and colours."""
    # For MNIST: --epochs 50 --set blocks=15.
    build = partial(nn.PixelCNN, event_shape, width=width or 16 * event_shape[0], blocks=blocks, kernel=kernel)
    return _model(build, event_shape, likelihood_of(likelihood, (), levels), classes, conditional)


def _gated_pixelcnn(
    event_shape: tuple[int, ...],
    classes: types.Classes = None,
    levels: types.Levels = None,
    likelihood: types.ElementLikelihood = "bernoulli",
    width: types.Size | None = None,
    blocks: types.Count = 6,
    kernel: Kernel = 3,
    conditional: bool = False,
) -> Story:
    """gated convolutions in two stacks, without a blind spot."""
    # For MNIST: --epochs 50 --set blocks=12 --set kernel=5.
    build = partial(nn.GatedPixelCNN, event_shape, width=width or 24 * event_shape[0], blocks=blocks, kernel=kernel)
    return _model(build, event_shape, likelihood_of(likelihood, (), levels), classes, conditional)


def _pixelcnn_pp(
    event_shape: tuple[int, ...],
    classes: types.Classes = None,
    levels: Annotated[types.GreyLevels | None, UsedIf(likelihood="mixture")] = None,
    likelihood: Annotated[
        Literal["mixture", "bernoulli"] | None, Auto(lambda levels: "bernoulli" if levels is None else "mixture")
    ] = None,
    components: Annotated[types.Count, UsedIf(likelihood="mixture")] = 5,
    width: types.Size = 24,
    blocks: types.Count = 2,
    scales: types.Count = 2,
    dropout: types.Share = 0.0,
    conditional: bool = False,
) -> Story:
    """whole pixels by mixtures of logistics over their levels, with shortcuts between sizes."""
    # For MNIST: --epochs 30 --set scales=3 --set width=32.
    if likelihood == "bernoulli":
        family = likelihood_of("bernoulli", (), levels)
    elif levels is None:
        raise ValueError("likelihood=mixture needs the number of grey levels, and the data have none: --set levels=256")
    else:
        family = LogisticMixture(components, levels)
    build = partial(nn.PixelCNNPlusPlus, event_shape, width=width, blocks=blocks, sizes=scales, dropout=dropout)
    return _model(build, event_shape, family, classes, conditional, unit=event_shape[:1])


def _pixelrnn(
    event_shape: tuple[int, ...],
    classes: types.Classes = None,
    levels: types.Levels = None,
    likelihood: types.ElementLikelihood = "bernoulli",
    kind: Literal["row", "diagonal"] = "row",
    width: types.Size | None = None,
    layers: types.Count = 3,
    conditional: bool = False,
) -> Story:
    """LSTMs over rows or, kind=diagonal, over diagonals."""
    # For MNIST: --epochs 50 --set kind=diagonal --set layers=7.
    build = partial(nn.PixelRNN, event_shape, width=width or 16 * event_shape[0], layers=layers, kind=kind)
    return _model(build, event_shape, likelihood_of(likelihood, (), levels), classes, conditional)


def _image_transformer(
    event_shape: tuple[int, ...],
    classes: types.Classes = None,
    levels: Annotated[types.GreyLevels | None, UsedIf(likelihood=_NOT_BERNOULLI)] = None,
    likelihood: types.ElementLikelihood = "bernoulli",
    width: types.Size = 64,
    heads: types.Count = 4,
    layers: types.Count = 3,
    conditional: bool = False,
) -> Story:
    """masked transformer over pixels in the order of reading."""
    # For MNIST: --epochs 50 --set layers=8 --set heads=2.
    symbols = levels if likelihood != "bernoulli" and levels is not None else 2
    build = partial(nn.PixelTransformer, event_shape, symbols, width=width, heads=heads, layers=layers)
    return _model(build, event_shape, likelihood_of(likelihood, (), levels), classes, conditional)


def _tile_transformer(
    event_shape: tuple[int, ...],
    levels: types.Levels = None,
    codes: types.Size = 32,
    features: types.Size = 16,
    likelihood: types.Likelihood = "bernoulli",
    tile: types.Size | Annotated[Sequence[types.Size], Len(1, 2)] = 2,
    hidden: types.Sizes = (64,),
    width: types.Size = 64,
    heads: types.Count = 4,
    layers: types.Count = 2,
) -> Story:
    """an image as a sequence of tiles: their codes by a VQ-VAE, in order by a transformer."""
    # For MNIST: --epochs 100 --set tile=4 --set codes=256 --set width=128.
    family = likelihood_of(likelihood, event_shape, levels)
    tiles: Any = {"tile": tile, "hidden": as_shape(hidden)}
    encoder = nn.TileEncoder(event_shape, features, **tiles)
    return models.VQVAE(
        event_shape,
        encoder.grid,
        codes,
        features,
        likelihood=family,
        encoder=encoder,
        decoder=nn.TileDecoder(features, family.size(event_shape), **tiles),
        prior=nn.CausalTransformer(
            math.prod(encoder.grid), symbols=codes, outputs=codes, width=width, heads=heads, layers=layers
        ),
    )


def _language_model(
    event_shape: tuple[int, ...],
    symbols: types.Size | None = None,
    network: Literal["transformer", "recurrent"] = "transformer",
    width: types.Size = 64,
    layers: types.Count = 2,
) -> Story:
    """text (.txt), character by character, by a masked transformer or a recurrent network."""
    # Recurrent: --set network=recurrent --set layers=1 --set width=128.
    if symbols is None or len(event_shape) != 1:
        raise ValueError("language_model takes text, a .txt file; images and points have no symbols")
    return autoregressive.LanguageModel(event_shape[0], symbols, network=network, width=width, layers=layers)


_IMAGE = (1, 4, 4)


def _tiny(network: Module, **likelihood: Family) -> tuple[Story, examples.Columns]:
    return autoregressive.AutoregressiveModel(_IMAGE, network, **likelihood), examples.images()


def _tiny_mixture() -> tuple[Story, examples.Columns]:
    network = nn.PixelCNNPlusPlus(_IMAGE, outputs=6, width=4, blocks=1, sizes=2)
    return _tiny(network, likelihood=LogisticMixture(2, levels=2))


def _tiny_tiles() -> tuple[Story, examples.Columns]:
    prior = nn.CausalTransformer(4, symbols=4, outputs=4, width=8, heads=2, layers=1)
    encoder, decoder = nn.TileEncoder(_IMAGE, 2, 2, (8,)), nn.TileDecoder(2, _IMAGE, 2, (8,))
    story = models.VQVAE(_IMAGE, (2, 2), codes=4, features=2, prior=prior, encoder=encoder, decoder=decoder)
    return story, examples.images()


ENTRIES = (
    Entry.of(_made, lambda: _tiny(nn.MaskedDense(_IMAGE, hidden=(20,))), epochs=60, lr=1e-3),
    Entry.of(_pixelcnn, lambda: _tiny(nn.PixelCNN(_IMAGE, width=4, blocks=2, kernel=3)), epochs=40, lr=2e-3),
    Entry.of(_gated_pixelcnn, lambda: _tiny(nn.GatedPixelCNN(_IMAGE, width=4, blocks=2)), epochs=40, lr=2e-3),
    Entry.of(_pixelcnn_pp, _tiny_mixture, epochs=30, lr=1e-3),
    Entry.of(_pixelrnn, lambda: _tiny(nn.PixelRNN(_IMAGE, width=4, layers=1, kind="diagonal")), epochs=30, lr=2e-3),
    Entry.of(
        _image_transformer, lambda: _tiny(nn.PixelTransformer(_IMAGE, width=8, heads=2, layers=1)), epochs=40, lr=1e-3
    ),
    Entry.of(_tile_transformer, _tiny_tiles, epochs=100, lr=1e-3),
    Entry.of(
        _language_model,
        lambda: (autoregressive.LanguageModel(4, 3, width=8, layers=1), examples.text()),
        epochs=30,
        lr=2e-3,
    ),
)
