"""Pictures of latent spaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from pyrogen.inference import posterior, prior
from pyrogen.plots.images import image_grid
from pyrogen.plots.theme import plain_label
from pyrogen.story import Story

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def latent_planes(stories: Mapping[str, Story], data: Mapping[str, Any]) -> Figure:
    """A row for each story of images with a two-dimensional latent z: its latent plane, and new images.

    The latent plane shows a posterior draw of each datum in the colour of its class, over draws from the prior in
    grey; the new images are the means of p(x | z) at 64 of those prior draws.

    Args:
        stories: by title; each decodes z (..., 2) by its method `decode`, as a `VAE` does.
        data: images `x` (N, channels, height, width) and classes `y` (N,).

    Returns:
        A Matplotlib figure; pyplot and its backend are left alone.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6 * len(stories)), layout="constrained")
    axes = figure.subplots(len(stories), 2, squeeze=False)
    for (title, story), (plane, new) in zip(stories.items(), axes, strict=True):
        decoder: Any = story
        codes = posterior(story, {"x": data["x"]}, 1, seed=0)["z"][0].cpu()
        drawn = prior(story, {"x": data["x"]}, 1, seed=1)["z"][0]  # another seed: other noise than the codes'
        plane.scatter(*drawn.cpu().T, s=6, color="lightgrey")
        plane.scatter(*codes.T, s=6, c=torch.as_tensor(data["y"]).cpu(), cmap="tab10")
        plane.set(title=plain_label(title), xlabel="$z_1$", ylabel="$z_2$", aspect="equal")
        with story.predicting():
            new.imshow(image_grid(decoder.decode(drawn[:64]).mean))
        new.set(title="new images", xticks=[], yticks=[])
    return figure
