"""Principal axes of data, from which several linear stories start."""

from __future__ import annotations

import torch
from torch import Tensor


def principal_axes(x: Tensor, latent: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, eigenvalues and leading eigenvectors of the data's covariance over N, in float64.

    Args:
        x: data, (N, D).
        latent: number of eigenvectors K.

    Returns:
        The mean (D,); all eigenvalues (D,), largest first, none below 0; orthonormal columns (D, K), each with its
        largest entry positive.

    Example:
        >>> _, values, axes = principal_axes(torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]]), 1)
        >>> values.tolist(), axes.tolist()
        ([4.5, 0.5], [[1.0], [0.0]])
    """
    flat = x.detach().double()
    mean = flat.mean(0)
    values, vectors = torch.linalg.eigh((flat - mean).T @ (flat - mean) / len(flat))
    axes = vectors.flip(1)[:, :latent]
    return mean, values.flip(0).clamp(min=0.0), axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
