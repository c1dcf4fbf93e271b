"""Autoregressive models, with their settings for digits and texts; those for MNIST are said with each."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

from torch.nn import Module

from pyrogen import autoregressive, models, nn
from pyrogen.catalog import examples
from pyrogen.catalog.components import Likelihood, Sizes, likelihood_of
from pyrogen.catalog.entry import Entry, chosen, sizes
from pyrogen.distributions import Family, LogisticMixture
from pyrogen.story import Story

__all__ = ["ENTRIES"]

Build = Callable[..., Module]


def _model(
    build: Build,
    event_shape: tuple[int, ...],
    family: Family,
    classes: int | None,
    conditional: bool,
    unit: tuple[int, ...] = (),
) -> Story:
    """The model of a network that `build` makes with the outputs that the family of an element takes."""
    outputs = math.prod(family.size(unit))
    if not conditional:
        return autoregressive.AutoregressiveModel(event_shape, build(outputs=outputs), family)
    if classes is None:
        raise ValueError("conditional=true needs labels y, and the data tell no classes: leave it out")
    network = build(outputs=outputs, context=classes)
    return autoregressive.ConditionalAutoregressiveModel(event_shape, network, classes, likelihood=family)


def _made(
    event_shape: tuple[int, ...],
    classes: int | None = None,
    levels: int | None = None,
    likelihood: Likelihood = "bernoulli",
    hidden: Sizes = (500,),
    conditional: bool = False,
) -> Story:
    """MNIST: --epochs 100 --set hidden=[2000]."""

    def build(**told: Any) -> Module:
        return nn.MaskedDense(event_shape, hidden=sizes("hidden", hidden), **told)

    return _model(build, event_shape, likelihood_of(likelihood, (), levels), classes, conditional)


def _pixelcnn(
    event_shape: tuple[int, ...],
    classes: int | None = None,
    levels: int | None = None,
    likelihood: Likelihood = "bernoulli",
    width: int | None = None,
    blocks: int = 5,
    kernel: int = 7,
    conditional: bool = False,
) -> Story:
    """MNIST: --epochs 50 --set blocks=15."""

    def build(**told: Any) -> Module:
        return nn.PixelCNN(event_shape, width=width or 16 * event_shape[0], blocks=blocks, kernel=kernel, **told)

    return _model(build, event_shape, likelihood_of(likelihood, (), levels), classes, conditional)


def _gated_pixelcnn(
    event_shape: tuple[int, ...],
    classes: int | None = None,
    levels: int | None = None,
    likelihood: Likelihood = "bernoulli",
    width: int | None = None,
    blocks: int = 6,
    kernel: int = 3,
    conditional: bool = False,
) -> Story:
    """MNIST: --epochs 50 --set blocks=12 --set kernel=5."""

    def build(**told: Any) -> Module:
        return nn.GatedPixelCNN(event_shape, width=width or 24 * event_shape[0], blocks=blocks, kernel=kernel, **told)

    return _model(build, event_shape, likelihood_of(likelihood, (), levels), classes, conditional)


def _pixelcnn_pp(
    event_shape: tuple[int, ...],
    classes: int | None = None,
    levels: int | None = None,
    likelihood: Literal["mixture", "bernoulli"] | None = None,
    components: int = 5,
    width: int = 24,
    blocks: int = 2,
    scales: int = 2,
    dropout: float = 0.0,
    conditional: bool = False,
) -> Story:
    """MNIST: --epochs 30 --set scales=3 --set width=32."""
    name = likelihood or ("bernoulli" if levels is None else "mixture")
    if name == "mixture" and levels is None:
        raise ValueError("likelihood=mixture is of grey levels, and the data tell no number of them: set levels=256")
    table: dict[str, Callable[[], Family]] = {
        "mixture": lambda: LogisticMixture(components, levels or 256),
        "bernoulli": lambda: likelihood_of("bernoulli", (), levels),
    }

    def build(**told: Any) -> Module:
        parts: Any = {"width": width, "blocks": blocks, "sizes": scales, "dropout": dropout}
        return nn.PixelCNNPlusPlus(event_shape, **parts, **told)

    family = chosen("likelihood", name, table)()
    return _model(build, event_shape, family, classes, conditional, unit=event_shape[:1])


def _pixelrnn(
    event_shape: tuple[int, ...],
    classes: int | None = None,
    levels: int | None = None,
    likelihood: Likelihood = "bernoulli",
    kind: Literal["row", "diagonal"] = "row",
    width: int | None = None,
    layers: int = 3,
    conditional: bool = False,
) -> Story:
    """MNIST: --epochs 50 --set kind=diagonal --set layers=7."""

    def build(**told: Any) -> Module:
        return nn.PixelRNN(event_shape, width=width or 16 * event_shape[0], layers=layers, kind=kind, **told)

    return _model(build, event_shape, likelihood_of(likelihood, (), levels), classes, conditional)


def _image_transformer(
    event_shape: tuple[int, ...],
    classes: int | None = None,
    levels: int | None = None,
    likelihood: Likelihood = "bernoulli",
    width: int = 64,
    heads: int = 4,
    layers: int = 3,
    conditional: bool = False,
) -> Story:
    """MNIST: --epochs 50 --set layers=8 --set heads=2."""

    def build(**told: Any) -> Module:
        grey = levels if likelihood != "bernoulli" and levels is not None else 2
        return nn.PixelTransformer(event_shape, grey, width=width, heads=heads, layers=layers, **told)

    return _model(build, event_shape, likelihood_of(likelihood, (), levels), classes, conditional)


def _tile_transformer(
    event_shape: tuple[int, ...],
    levels: int | None = None,
    codes: int = 32,
    features: int = 16,
    likelihood: Likelihood = "bernoulli",
    tile: Sizes = 2,
    hidden: Sizes = (64,),
    width: int = 64,
    heads: int = 4,
    layers: int = 2,
) -> Story:
    """MNIST: --epochs 100 --set tile=4 --set codes=256 --set width=128 --set layers=4."""
    family = likelihood_of(likelihood, event_shape, levels)
    cut: Any = {"tile": tile, "hidden": sizes("hidden", hidden)}
    encoder = nn.TileEncoder(event_shape, features, **cut)
    told: Any = {"symbols": codes, "outputs": codes, "width": width, "heads": heads, "layers": layers}
    return models.VQVAE(
        event_shape,
        encoder.grid,
        codes,
        features,
        likelihood=family,
        encoder=encoder,
        decoder=nn.TileDecoder(features, family.size(event_shape), **cut),
        prior=nn.CausalTransformer(math.prod(encoder.grid), **told),
    )


def _language_model(
    event_shape: tuple[int, ...],
    symbols: int | None = None,
    network: Literal["transformer", "recurrent"] = "transformer",
    width: int = 64,
    layers: int = 2,
) -> Story:
    """Text from a .txt file, a line a datum. Recurrent: --set network=recurrent --set layers=1 --set width=128."""
    if symbols is None or len(event_shape) != 1:
        raise ValueError("language_model is for text, a .txt file: images and points have no symbols")
    return autoregressive.LanguageModel(event_shape[0], symbols, network=network, width=width, layers=layers)


def _tiny(network: Module, **told: Any) -> Story:
    return autoregressive.AutoregressiveModel((1, 4, 4), network, **told)


def _tiny_mixture() -> Story:
    network = nn.PixelCNNPlusPlus((1, 4, 4), outputs=6, width=4, blocks=1, sizes=2)
    return _tiny(network, likelihood=LogisticMixture(2, levels=2))


def _tiny_tiles() -> Story:
    prior = nn.CausalTransformer(4, symbols=4, outputs=4, width=8, heads=2, layers=1)
    encoder, decoder = nn.TileEncoder((1, 4, 4), 2, 2, (8,)), nn.TileDecoder(2, (1, 4, 4), 2, (8,))
    return models.VQVAE((1, 4, 4), (2, 2), codes=4, features=2, prior=prior, encoder=encoder, decoder=decoder)


_IMAGE = (1, 4, 4)

ENTRIES = (
    Entry(
        "made",
        "masked dense network: each element given those before; conditional=true: given labels",
        _made,
        {"epochs": 60, "lr": 1e-3},
        lambda: (_tiny(nn.MaskedDense(_IMAGE, hidden=(20,))), {"x": examples.images()}),
    ),
    Entry(
        "pixelcnn",
        "masked convolutions in residual blocks; likelihood=categorical or logistic for grey levels and colours",
        _pixelcnn,
        {"epochs": 40, "lr": 2e-3},
        lambda: (_tiny(nn.PixelCNN(_IMAGE, width=4, blocks=2, kernel=3)), {"x": examples.images()}),
    ),
    Entry(
        "gated_pixelcnn",
        "gated convolutions in two stacks, without a blind spot",
        _gated_pixelcnn,
        {"epochs": 40, "lr": 2e-3},
        lambda: (_tiny(nn.GatedPixelCNN(_IMAGE, width=4, blocks=2)), {"x": examples.images()}),
    ),
    Entry(
        "pixelcnn_pp",
        "whole pixels by mixtures of logistics over their levels, with shortcuts between sizes",
        _pixelcnn_pp,
        {"epochs": 30, "lr": 1e-3},
        lambda: (_tiny_mixture(), {"x": examples.images()}),
    ),
    Entry(
        "pixelrnn",
        "LSTMs over rows or, kind=diagonal, over diagonals",
        _pixelrnn,
        {"epochs": 30, "lr": 2e-3},
        lambda: (_tiny(nn.PixelRNN(_IMAGE, width=4, layers=1, kind="diagonal")), {"x": examples.images()}),
    ),
    Entry(
        "image_transformer",
        "masked transformer over pixels in the order of reading",
        _image_transformer,
        {"epochs": 40, "lr": 1e-3},
        lambda: (_tiny(nn.PixelTransformer(_IMAGE, width=8, heads=2, layers=1)), {"x": examples.images()}),
    ),
    Entry(
        "tile_transformer",
        "an image as a sequence of tiles: their codes by a VQ-VAE, in order by a transformer",
        _tile_transformer,
        {"epochs": 100, "lr": 1e-3},
        lambda: (_tiny_tiles(), {"x": examples.images()}),
    ),
    Entry(
        "language_model",
        "text (.txt), character by character, by a masked transformer or a recurrent network",
        _language_model,
        {"epochs": 30, "lr": 2e-3},
        lambda: (autoregressive.LanguageModel(4, 3, width=8, layers=1), examples.text()),
    ),
)
