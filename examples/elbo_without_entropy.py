"""Why the ELBO holds the guide's entropy: a VAE that learns without it, and with it.

The ELBO is E_q [log p(x, z)] + H[q(z | x)]. Without the second term the objective looks reasonable: put each code where
datum and prior agree, and train the decoder. But nothing keeps a code from being a point: the guide's scale shrinks
without limit, and as the prior's density is highest in the middle, all codes crowd there, as close as the decoder can
distinguish. Draws of the prior fall outside of that crowd, where the decoder was never trained. What is left is an
autoencoder with a penalty on its codes, and no longer a density of digits: new ones are scored and made badly.

The entropy pays for every nat of precision that a code claims: the codes become clouds that fill the prior together.

Writes demo/elbo_without_entropy.png: a row for each, codes of real digits in the colour of their class over draws of
the prior in grey, and beside them new digits. Takes some twenty seconds.
"""

from pathlib import Path
from typing import Any

import torch
from pyro import poutine
from pyro.infer import Trace_ELBO

from pyrogen import fit
from pyrogen.data import load
from pyrogen.inference import adam, log_likelihood
from pyrogen.models import VAE
from pyrogen.plots import latent_planes


class WithoutEntropy(Trace_ELBO):
    """E_q [log p(x, z)]: the ELBO with the guide's log density masked out."""

    def differentiable_loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Any:
        """Minus the objective."""
        return super().differentiable_loss(model, poutine.mask(guide, mask=False), *args, **kwargs)


def main(epochs: int = 120, out: str | Path = "demo/elbo_without_entropy.png", seed: int = 0) -> dict:
    """Train without and with the entropy, print scales and likelihoods, draw the picture; returns the results."""
    digits = load("digits", binarize="static")
    stories, rows = {}, {}
    print("On validation data            spread of codes    scale of a code    ELBO (nats per digit)")
    for name, objective in {"without entropy": WithoutEntropy(), "with entropy": Trace_ELBO()}.items():
        torch.manual_seed(seed)
        story = VAE(digits.event_shape, 2, hidden=(200,))
        options = {"epochs": epochs, "optimizer": adam(3e-3), "seed": seed, "device": "cpu"}
        stories[name] = fit(story, digits.train, objective=objective, **options).story
        x = digits.validation["x"]
        with story.predicting():
            q = story.encode(x)
        elbo = log_likelihood(story, {"x": x}, 50, seed=seed).mean_elbo()[0]
        rows[name] = float(q.mean.std(0).mean()), float(q.stddev.mean()), elbo
        print("{:28} {:16.3f} {:18.4f} {:24.2f}".format(name, *rows[name]))
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    latent_planes(stories, digits.validation).savefig(out)
    print(f"see {out}: without entropy the codes crowd in the middle, and what the prior draws is no code of anything")
    return {"rows": rows, "stories": stories}


if __name__ == "__main__":
    main()
