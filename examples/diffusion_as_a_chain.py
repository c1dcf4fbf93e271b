"""Diffusion as what it is: a chain of latents whose guide only adds noise, and one random link of it a step.

Points of eight clusters on a circle. The guide blurs a point level by level, z_1 to z_T, until nothing is left of it;
the model goes back. As a Pyro program this is a hierarchical VAE with T sites in model and guide, and a step costs
T - 1 passes through the network. Its ELBO is a sum over levels, so a step may look at one random level, T - 1 times as
heavy: the same expectation at the cost of one pass, and noisier. Both programs are `Diffusion`, of which `drawn` says
how many levels are looked at, and both take the same weights. Here the cheap one learns, and then the two are compared:
the ELBO of test points, each with its Monte Carlo error, and what a step costs.

The full chain has weights p(x, z) / q(z | x) of single draws as well, and so a tighter bound of log p(x), which stands
beside the density that the points came from. What lies between is the price of few levels, and of a small network.

Writes demo/diffusion_as_a_chain.png: above what the guide makes of data, below what the model makes of noise. Takes
about half a minute.
"""

import math
import time
from dataclasses import replace
from pathlib import Path

import torch
from pyro.infer import Trace_ELBO

from pyrogen import fit
from pyrogen.data import load
from pyrogen.distributions import LinearLogSNRSchedule
from pyrogen.inference import adam, cosine, held_out_elbo, log_likelihood
from pyrogen.models import Diffusion

BLUR = 0.2
"""Standard deviation of what is added to the ring's points, whose clusters are else too fine for a few levels."""


def milliseconds(story: Diffusion, x: torch.Tensor) -> float:
    """What loss and gradients of a batch take, the shortest of five."""
    elbo, taken = Trace_ELBO(), []
    for _ in range(5):
        begin = time.perf_counter()
        elbo.differentiable_loss(story.model, story.guide, x, len(x)).backward()
        taken.append(time.perf_counter() - begin)
    return 1000 * min(taken)


def picture(story: Diffusion, x: torch.Tensor, out: str | Path) -> None:
    """Above, data as the guide blurs them, from right to left; below, noise as the model sharpens it."""
    import matplotlib.pyplot as plt

    with story.predicting():
        visited = dict(story.descend(torch.randn(len(x), 2)))
        made = story.read(visited[1]).sample()
        scaled, columns = (x - story.shift) / story.scale, {}
        for t in (story.depth, *(round(story.depth * share) for share in (0.6, 0.45, 0.3, 0.15))):
            columns[f"z_{t}"] = (story.noising.noised(scaled, t).sample(), visited[t])
    columns["x"] = (x, made)
    figure, axes = plt.subplots(2, len(columns), figsize=(2 * len(columns), 4), layout="constrained")
    for column, (name, rows) in enumerate(columns.items()):
        for row, points in enumerate(rows):
            axes[row, column].scatter(*points.T, s=1, color=("tab:blue", "tab:red")[row])
            axes[row, column].set(xlim=(-3, 3), ylim=(-3, 3), xticks=[], yticks=[], aspect="equal")
        axes[0, column].set_title(name)
    axes[0, 0].set_ylabel("guide: noise added")
    axes[1, 0].set_ylabel("model: noise removed")
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)
    plt.close(figure)


def main(
    depth: int = 32, epochs: int = 40, runs: int = 30, out: str | Path = "demo/diffusion_as_a_chain.png", seed: int = 0
) -> dict:
    """Train one level a step, score the test points both ways, draw the picture; gives the figures."""
    ring = load("ring")
    torch.manual_seed(seed)
    x, test = (part["x"] + BLUR * torch.randn_like(part["x"]) for part in (ring.train, ring.test))
    true = replace(ring.truth, sd=math.hypot(ring.truth.sd, BLUR))
    options = {"schedule": LinearLogSNRSchedule(high=6.0, low=-6.0), "hidden": (128, 128, 128)}
    one, chain = Diffusion(2, depth, **options), Diffusion(2, depth, drawn=None, **options)
    plan = {"optimizer": adam(2e-3), "schedule": cosine(epochs * math.ceil(len(x) / 128)), "seed": seed}
    fit(one, {"x": x}, epochs=epochs, device="cpu", progress=False, **plan)
    chain.load_state_dict(one.state_dict())

    found = {}
    print(f"Test points of the ring, {depth} levels                  ELBO (nats)          a step of 128 points")
    for name, story in (("the full chain", chain), ("one random level a step", one)):
        elbo, error = held_out_elbo(story, {"x": test}, runs, seed=seed)
        found[name] = (elbo, error, milliseconds(story, x[:128]))
        print(f"{name:36} {elbo:16.4f} +- {error:.4f} {found[name][2]:16.1f} ms")
    (a, b, slow), (c, d, fast) = found.values()
    apart = abs(a - c) / math.hypot(b, d)
    print(f"apart by {abs(a - c):.4f} nats, {apart:.1f} standard errors; a step {slow / fast:.0f} times faster")

    tighter = log_likelihood(chain, {"x": test[:500]}, 200, seed=seed)
    truth = float(true.log_prob(test[:500]).mean())
    print(
        f"first 500: ELBO {tighter.mean_elbo()[0]:.3f}, importance-weighted by 200 draws of the chain "
        f"{tighter.mean()[0]:.3f}, the truth's own density {truth:.3f}"
    )
    picture(chain, test, out)
    print(f"see {out}: the same levels from both ends")
    return {"found": found, "bounds": (tighter.mean_elbo()[0], tighter.mean()[0], truth), "new": chain.sample(2000)}


if __name__ == "__main__":
    main()
