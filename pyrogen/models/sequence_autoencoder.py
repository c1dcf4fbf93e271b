"""The autoencoder of sequences: the sequence VAE without noise."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor

from pyrogen.models.sequence_vae import SequenceVAE


class SequenceAutoencoder(SequenceVAE):
    """`SequenceVAE` without noise: z = encoder(x), a point, and no prior; x_t | x_<t, z as there.

    It has the arguments of `SequenceVAE`, of which `prior` has no effect.

    Example:
        >>> SequenceAutoencoder((6, 2), latent=3, width=8).encode(torch.zeros(5, 6, 2)).event_shape
        torch.Size([3])

    References:
        Sutskever, Vinyals, Le 2014, arXiv:1409.3215; Dai, Le 2015, arXiv:1511.01432.
    """

    unsupported = {
        "density": "there is no prior over codes",
        "sample": "without a prior over codes, an autoencoder defines no distribution over x",
    }

    def _prior(self) -> dist.TorchDistribution:
        return super()._prior().mask(False)  # its log density counts as 0

    def _guide_distribution(self, x: Tensor, length: Tensor | None) -> dist.TorchDistribution:
        z = self.posterior.point(self._encoder_distribution(x, length))
        return dist.Delta(z, event_dim=len(self.latent_shape))
