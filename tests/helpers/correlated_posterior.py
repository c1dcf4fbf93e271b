"""A posterior that is strongly correlated and known: pPCA whose two columns of weights are almost alike."""

import torch

from pyrogen import fit
from pyrogen.distributions import Gaussian
from pyrogen.inference import adam, log_weights
from pyrogen.models import PPCA, VAE

__all__ = ["assert_tighter_than_meanfield"]


def assert_tighter_than_meanfield(family, rows, steps):
    """A guide of two latents with a linear encoder, trained on the exact model, halves the best mean-field gap."""
    oracle = PPCA(5, 2).double()
    with torch.no_grad():
        oracle.weight.copy_(torch.tensor([[1.0, 1.0], [1.0, 0.9], [1.0, 1.1], [0.9, 1.0], [1.0, 1.0]]))
        oracle.log_sigma.fill_(-1.0)
    story = VAE(5, 2, likelihood=Gaussian(scale=oracle.log_sigma.exp().item()), posterior=family, hidden=()).double()
    with torch.no_grad():
        story.decoder.layers[0].weight.copy_(oracle.weight)
        story.decoder.layers[0].bias.copy_(oracle.mean)
    with oracle.predicting():
        x = oracle.sample(rows)
    options = {"batch_size": rows, "optimizer": adam(0.02), "freeze": ["decoder"], "precision": "float64"}
    fit(story, x, steps=steps, compile=False, **options)
    weights = log_weights(story, x, 200)
    gap = (oracle.log_prob(x) - weights.mean(0)).mean()
    error = (weights.var(0) / len(weights)).sum().sqrt() / len(x)
    assert gap + 4.27 * error < oracle.meanfield_gap() / 2
