"""Pictures of samples with their nearest training images."""

from __future__ import annotations

import torch
from torch import Tensor

from pyrogen.annotations import Count
from pyrogen.diagnostics import Features, Pixels, nearest_neighbours
from pyrogen.plots.images import Picture, image_grid


def sample_neighbours(samples: Tensor, training: Tensor, features: Features | None = None, count: Count = 7) -> Picture:
    """A row for each sample: the sample, then its nearest training images, nearest first.

    A memorized sample stands beside a training image that looks the same.

    Args:
        samples: images (n, 1 or 3, height, width), in [0, 1].
        training: images (N, 1 or 3, height, width), at least `count` of them.
        features: the space in which distances are measured; None (the default): pixels.
        count: training images in a row, 7 by default.

    Returns:
        Pixels (height, width, 3) in [0, 1].

    Example:
        >>> sample_neighbours(torch.rand(2, 1, 8, 8), torch.rand(20, 1, 8, 8), count=3).shape
        (118, 234, 3)
    """
    features = Pixels() if features is None else features
    samples, training = samples.detach().cpu(), training.cpu()
    places = nearest_neighbours(features(samples), features(training), count)[1]
    rows = torch.cat([samples[:, None].float(), training[places].float()], 1)
    return image_grid(rows.flatten(0, 1), columns=count + 1)
