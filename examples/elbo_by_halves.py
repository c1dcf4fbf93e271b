"""Why model and guide learn together: what becomes of a VAE of which one half learns.

The ELBO is E_q [log p(x | z)] - KL(q(z | x) || p(z)): codes must tell the data apart, and codes must look like the
prior's draws, from which new data are made. Here a VAE of handwritten digits, with two latents, learns by halves:

1. The decoder alone, against the prior: the guide is p(z) for every digit and stays so. Codes are then
   independent of the digit, and the best that a decoder can do is the mean of all digits, whatever the code.
2. The prior alone, against a fixed encoder: p(z) becomes the cloud of the codes, and the KL term all but vanishes. But
   the decoder is untrained: draws of the prior are decoded into noise.
3. Both halves together.

Writes demo/elbo_by_halves.png: a row for each, codes of real digits in the colour of their class over draws of the
prior in grey, and beside them new digits. Takes some twenty seconds.
"""

from pathlib import Path

import torch

from pyrogen import fit
from pyrogen.data import load
from pyrogen.distributions import NormalMixture, StandardNormal
from pyrogen.inference import adam
from pyrogen.models import VAE
from pyrogen.plots import latent_planes


def made(event_shape: tuple[int, ...], seed: int, guide: str = "any") -> VAE:
    """An untrained VAE, whose guide is the prior, N(0, I), for every datum, or has small standard deviations."""
    torch.manual_seed(seed)
    prior = StandardNormal(2) if guide == "like the prior" else NormalMixture(2, components=10)
    story = VAE(event_shape, 2, prior=prior, hidden=(200,))
    last = story.encoder.layers[-1]
    with torch.no_grad():
        if guide == "like the prior":  # means 0 and log-scales 0, whatever the datum
            last.weight.zero_()
            last.bias.zero_()
        elif guide == "sure":
            last.bias[2:] = -2.5  # log-scales
    return story


def terms(story: VAE, x: torch.Tensor) -> tuple[float, float]:
    """The terms of the ELBO, in nats per datum: E_q [log p(x | z)], and KL(q || p), from one draw for each datum."""
    with story.predicting():
        q = story.encode(x)
        z = q.sample()
        divergence = q.log_prob(z) - story.prior(story.encode).log_prob(z)
        return float(story.decode(z).log_prob(x).mean()), float(divergence.mean())


def main(epochs: int = 120, out: str | Path = "demo/elbo_by_halves.png", seed: int = 0) -> dict:
    """Train the halves and both together, print the terms of the ELBO, draw the picture; returns the results."""
    digits = load("digits", binarize="static")
    x, rows = digits.event_shape, {}
    stories = {
        "decoder alone": (made(x, seed, guide="like the prior"), ["encoder"]),
        "prior alone": (made(x, seed, guide="sure"), ["encoder", "decoder"]),
        "both": (made(x, seed), []),
    }
    print("On validation data, nats per digit    E_q[log p(x|z)]         KL       ELBO")
    for name, (story, freeze) in stories.items():
        fit(story, digits.train, epochs=epochs, freeze=freeze, optimizer=adam(3e-3), seed=seed, device="cpu")
        reconstruction, divergence = rows[name] = terms(story, digits.validation["x"])
        print(f"{name:36} {reconstruction:16.2f} {divergence:10.2f} {reconstruction - divergence:10.2f}")
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    latent_planes({name: story for name, (story, _) in stories.items()}, digits.validation).savefig(out)
    print(f"see {out}: codes without information decode to one image; a prior alone learns codes, not digits")
    return {"rows": rows, "stories": {name: story for name, (story, _) in stories.items()}}


if __name__ == "__main__":
    main()
