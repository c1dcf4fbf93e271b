"""The cases with networks: variational autoencoders on 784 zeros and ones."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn import functional

from svi.case import Case, Columns, Parameters

__all__ = ["NETWORKS", "dense_program", "images"]

PIXELS, SIDE = 784, 28


def images(rows: int, shape: tuple[int, ...] = (PIXELS,)) -> Columns:
    """Images of zeros and ones, about as many ones as MNIST has."""
    return {"x": torch.bernoulli(torch.full((rows, *shape), 0.13), generator=torch.Generator().manual_seed(4))}


def dense(*widths: int) -> nn.Sequential:
    """A multilayer perceptron."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.ReLU(), nn.Linear(inputs, outputs)]
    return nn.Sequential(*layers[1:])


def normal(outputs: Tensor) -> Any:
    """Independent normals, whose means and log-scales a network gives side by side."""
    loc, log_scale = outputs.chunk(2, -1)
    return dist.Normal(loc, log_scale.exp()).to_event(1)


def drawn(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """By hand: a draw z from such normals, and its log density less the constant."""
    loc, log_scale = outputs.chunk(2, -1)
    noise = torch.randn_like(loc)
    return torch.addcmul(loc, log_scale.exp(), noise), -(0.5 * noise * noise + log_scale).sum()


def through(p: Parameters, name: str, layers: int, x: Tensor) -> Tensor:
    """By hand: a multilayer perceptron."""
    for i in range(0, 2 * layers, 2):
        x = functional.linear(x if i == 0 else x.relu(), p[f"{name}$$${i}.weight"], p[f"{name}$$${i}.bias"])
    return x


def minus_log_bernoulli(logits: Tensor, x: Tensor) -> Tensor:
    """By hand: summed over everything."""
    return functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")


def autoencoder(encoder: nn.Module, decoder: nn.Module, latent: int, event: int) -> tuple[Any, Any]:
    """Standard normal latents, a normal guide, Bernoulli pixels."""

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(latent), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(event), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", normal(encoder(x)))

    return model, guide


def dense_program(hidden: Sequence[int], latent: int) -> tuple[Any, Any]:
    """The autoencoder with multilayer perceptrons."""
    decoder = dense(latent, *reversed(hidden), PIXELS)
    return autoencoder(dense(PIXELS, *hidden, 2 * latent), decoder, latent, 1)


def dense_loss(layers: int, p: Parameters, x: Tensor) -> Tensor:
    """By hand: log q(z | x) - log p(x, z) at one draw."""
    z, log_q = drawn(through(p, "encoder", layers, x))
    return minus_log_bernoulli(through(p, "decoder", layers, z), x) + 0.5 * (z * z).sum() + log_q


def conv_program(latent: int = 20) -> tuple[Any, Any]:
    """The autoencoder with two convolutions in encoder and decoder."""
    width = 32 * 7 * 7
    encoder = nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(width, 2 * latent),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Linear(latent, width), nn.ReLU(), nn.Unflatten(-1, (32, 7, 7)),
        nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(16, 1, 4, 2, 1),
    )  # fmt: skip
    return autoencoder(encoder, decoder, latent, 3)


def conv_loss(p: Parameters, x: Tensor) -> Tensor:
    """By hand."""
    h = functional.conv2d(x, p["encoder$$$0.weight"], p["encoder$$$0.bias"], 2, 1).relu()
    h = functional.conv2d(h, p["encoder$$$2.weight"], p["encoder$$$2.bias"], 2, 1).relu()
    z, log_q = drawn(functional.linear(h.flatten(1), p["encoder$$$5.weight"], p["encoder$$$5.bias"]))
    h = functional.linear(z, p["decoder$$$0.weight"], p["decoder$$$0.bias"]).relu().unflatten(-1, (32, 7, 7))
    h = functional.conv_transpose2d(h, p["decoder$$$3.weight"], p["decoder$$$3.bias"], 2, 1).relu()
    logits = functional.conv_transpose2d(h, p["decoder$$$5.weight"], p["decoder$$$5.bias"], 2, 1)
    return minus_log_bernoulli(logits, x) + 0.5 * (z * z).sum() + log_q


def hierarchical_program() -> tuple[Any, Any]:
    """Two stochastic layers: x from z1, z1 from z2, and the guide the other way."""
    nets = {
        "encoder1": dense(PIXELS, 200, 2 * 20),
        "encoder2": dense(20, 64, 2 * 10),
        "decoder2": dense(10, 64, 2 * 20),
        "decoder1": dense(20, 200, PIXELS),
    }

    def model(x: Tensor) -> None:
        pyro.module("decoder2", nets["decoder2"])
        pyro.module("decoder1", nets["decoder1"])
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Normal(x.new_zeros(10), 1.0).to_event(1))
            z1 = pyro.sample("z1", normal(nets["decoder2"](z2)))
            pyro.sample("x", dist.Bernoulli(logits=nets["decoder1"](z1)).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder1", nets["encoder1"])
        pyro.module("encoder2", nets["encoder2"])
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", normal(nets["encoder1"](x)))
            pyro.sample("z2", normal(nets["encoder2"](z1)))

    return model, guide


def hierarchical_loss(p: Parameters, x: Tensor) -> Tensor:
    """By hand; the constants of both normals cancel."""
    z1, log_q1 = drawn(through(p, "encoder1", 2, x))
    z2, log_q2 = drawn(through(p, "encoder2", 2, z1))
    loc, log_scale = through(p, "decoder2", 2, z2).chunk(2, -1)
    minus_log_p1 = (0.5 * ((z1 - loc) * (-log_scale).exp()) ** 2 + log_scale).sum()
    reconstruction = minus_log_bernoulli(through(p, "decoder1", 2, z1), x)
    return reconstruction + minus_log_p1 + 0.5 * (z2 * z2).sum() + log_q1 + log_q2


def dense_case(hidden: tuple[int, ...], latent: int, rows: int) -> Case:
    """An autoencoder of that size on that many images."""
    widths = "-".join(map(str, (PIXELS, *hidden, latent)))
    data: Callable[[], Columns] = functools.partial(images, rows)
    loss = functools.partial(dense_loss, len(hidden) + 1)
    return Case(f"VAE {widths}, batch {rows}", data, functools.partial(dense_program, hidden, latent), loss)


NETWORKS = {
    "hierarchical_vae": Case(
        "VAE with two stochastic layers, 784-200-20-64-10, batch 128",
        functools.partial(images, 128),
        hierarchical_program,
        hierarchical_loss,
    ),
    "vae_400_20_b128": dense_case((400,), 20, 128),
    "vae_400_20_b512": dense_case((400,), 20, 512),
    "vae_500_500_40_b128": dense_case((500, 500), 40, 128),
    "vae_500_500_40_b512": dense_case((500, 500), 40, 512),
    "conv_vae_b128": Case(
        "VAE with two convolutions, latent 20, batch 128",
        functools.partial(images, 128, (1, SIDE, SIDE)),
        conv_program,
        conv_loss,
    ),
}
