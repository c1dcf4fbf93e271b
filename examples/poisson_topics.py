"""A story of one's own: word counts in which each document mixes a few hidden themes.

A document's mix z is standard normal; each word's rate is log-linear in it; counts are Poisson. We plant three themes,
write 2,000 documents with them, and see whether a story recovers them from the counts alone.
"""

import pyro
import pyro.distributions as dist
import torch
from torch import nn

from pyrogen import Story, fit
from pyrogen.diagnostics import to_datatree
from pyrogen.inference import adam, cosine, log_likelihood


class Topics(Story):
    """Word counts (n, words): each document mixes a few hidden themes."""

    def __init__(self, words: int, themes: int) -> None:
        super().__init__()
        self.decoder, self.encoder = nn.Linear(themes, words), nn.Linear(words, 2 * themes)

    def model(self, x, n):
        """A mix for each document, and counts at the rates that it gives; draws them where x is None."""
        with pyro.plate("data", n):
            z = pyro.sample("z", dist.Normal(torch.zeros(self.decoder.in_features), 1.0).to_event(1))
            return pyro.sample("x", dist.Poisson(self.decoder(z).exp()).to_event(1), obs=x)

    def guide(self, x, n):
        """A network's guess at the mix, from the counts."""
        mean, log_scale = self.encoder(x.log1p()).chunk(2, dim=-1)
        with pyro.plate("data", n):
            pyro.sample("z", dist.Normal(mean, log_scale.exp()).to_event(1))


def plant(documents: int, words: int, themes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Counts (documents, words), and the loadings (words, themes) that they were written with."""
    generator = torch.Generator().manual_seed(seed)
    loadings = 0.4 * torch.randn(words, themes, generator=generator)
    mixes = torch.randn(documents, themes, generator=generator)
    return torch.poisson((mixes @ loadings.T + 0.5).exp(), generator=generator), loadings


def similarity(found: torch.Tensor, planted: torch.Tensor) -> float:
    """Mean cosine of the angles between the spaces that two sets of themes span: 1 for the same space.

    A rotation of all mixes z leaves the data's distribution unchanged, so that themes are identified only up to one.
    """
    bases = [torch.linalg.qr(loadings).Q for loadings in (found, planted)]
    return float(torch.linalg.svdvals(bases[0].T @ bases[1]).mean())


def main(documents: int = 2000, epochs: int = 30, seed: int = 0) -> dict:
    """Plant, fit and compare; returns the numbers that were printed."""
    counts, planted = plant(documents + 500, words=50, themes=3, seed=seed)
    train, test = {"x": counts[:documents]}, {"x": counts[documents:]}
    steps = epochs * -(-documents // 128)
    run = fit(Topics(50, 3), train, epochs=epochs, optimizer=adam(0.02), schedule=cosine(steps), seed=seed)
    # The guide is not the exact posterior, so log p(x) is estimated from 200 importance-weighted draws, with its error.
    held_out = log_likelihood(run.story, test, 200, seed=seed)
    value, error = held_out.mean()
    alike = similarity(run.story.decoder.weight.detach(), planted)
    chance = similarity(torch.randn(50, 3, generator=torch.Generator().manual_seed(seed + 1)), planted)
    print(f"held-out log p(x)   {value:.2f} nats per document, Monte Carlo error {error:.2f} (k={held_out.k})")
    print(f"held-out ELBO       {held_out.mean_elbo()[0]:.2f}, lower by what the guide loses")
    print(f"themes recovered    similarity {alike:.3f} to the planted ones (random themes: {chance:.3f})")

    new = run.story.sample(1000)
    print(f"new documents       {new.sum(-1).mean():.0f} words on average (data: {counts.sum(-1).mean():.0f})")

    # For ArviZ: draws, predictions, likelihoods and weights with named dimensions.
    tree = to_datatree(run, {"x": test["x"][:20]}, 100, dims={"z": ["theme"]})
    print(f"posterior           {dict(tree.posterior.sizes)}, groups: {', '.join(tree.children)}")
    return {"value": value, "error": error, "similarity": alike, "chance": chance, "new": new, "tree": tree}


if __name__ == "__main__":
    main()
