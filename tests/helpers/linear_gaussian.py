"""Probabilistic PCA with guides that are wrong by a known amount, and what follows from that in closed form."""

import torch

from pyrogen.models import PPCA

WEIGHT = torch.tensor([[1.0, 0.4, 0.0], [0.5, 1.0, 0.2], [0.5, -0.2, 0.6], [0.0, 0.5, 0.3], [0.4, 0.4, -0.5]])


def ppca(guide="full", latent=2, sigma=0.8):
    """PPCA of five features in float64 with a correlated posterior, its guide solved."""
    story = PPCA(5, latent, guide=guide).double()
    with torch.no_grad():
        story.weight.copy_(WEIGHT[:, :latent])
        story.mean.copy_(torch.arange(5) / 5)
        story.log_sigma.fill_(torch.tensor(sigma).log())
    return story.solve_guide()


def scaled(story, c):
    """The story with its guide's standard deviations c times as large."""
    with torch.no_grad():
        raw, shift = story.raw_scale, torch.tensor(c).log()
        raw.copy_(c * raw.tril(-1) + (raw.diagonal() + shift).diag() if story.full else raw + shift)
    return story


def guide_covariance(story):
    """B, the same for every datum."""
    q = story.encode(torch.zeros(5).double())
    return (q.covariance_matrix if story.full else q.variance.diag_embed()).detach()


def precision(story):
    """P = M / sigma^2 of the exact posterior, the same for every datum."""
    return story.exact_posterior(torch.zeros(5).double()).precision_matrix.detach()


def chi_square(story):
    """The chi-square divergence of the posterior from a guide with the same mean; inf where the weights' is."""
    P, B = precision(story), guide_covariance(story)
    A = 2 * P - torch.linalg.inv(B)
    if torch.linalg.eigvalsh(A)[0] <= 0:
        return torch.tensor(torch.inf)
    return B.det().sqrt() * P.det() / A.det().sqrt() - 1


def pareto_k(story):
    """1 - lambda_min(P B)."""
    return 1 - torch.linalg.eigvals(precision(story) @ guide_covariance(story)).real.min()


@torch.no_grad()
def shifted(story, by):
    """The story with its guide's means `by` posterior standard deviations too high."""
    story.encoder.bias.add_(by * story.exact_posterior(torch.zeros(5).double()).stddev)
    return story


@torch.no_grad()
def untrained(story):
    """The story with a guide as it is made."""
    fresh = PPCA(5, story.latent)
    story.encoder.load_state_dict(fresh.encoder.state_dict())
    story.raw_scale.zero_()
    return story


@torch.no_grad()
def correlated():
    """Two latents that move the same features, under the best mean-field guide."""
    story = ppca("meanfield", sigma=0.5)
    story.weight[:, 1] = story.weight[:, 0] + 0.15 * WEIGHT[:, 2]
    return story.solve_guide()
