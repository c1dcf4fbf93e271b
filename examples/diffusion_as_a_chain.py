"""Diffusion as a chain of latents whose guide only adds noise, trained on the full chain or on random timesteps.

The data are points of eight clusters on a circle. The guide adds noise timestep by timestep, z_1 to z_T, until nothing
of the point is left; the model reverses this. As a Pyro program it is a hierarchical VAE with T sites in model and
guide, and a step costs T - 1 passes through the network. As its ELBO is a sum over timesteps, a step can use one random
timestep with weight T - 1: the same expectation at the cost of one pass, with a larger variance. Both programs are
`Diffusion`, with `timesteps_per_datum=None` or 1, and both have the same weights. Here the cheap one is trained, and
then the two are compared: the ELBO of test points, each with its Monte Carlo error, and the time of a step.

The full chain also has importance weights p(x, z) / q(z | x), and so a tighter bound on log p(x), which is printed next
to the density that the points were drawn from. The difference is due to few timesteps and a small network.

Writes demo/diffusion_as_a_chain.png: in the upper row the guide's z_t of data, in the lower the model's. Takes about
half a minute.
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
"""Standard deviation of noise added to the ring's points, whose clusters are otherwise too narrow for few timesteps."""


def milliseconds(story: Diffusion, x: torch.Tensor) -> float:
    """Time of loss and gradients of a batch, the shortest of five."""
    elbo, taken = Trace_ELBO(), []
    for _ in range(5):
        begin = time.perf_counter()
        elbo.differentiable_loss(story.model, story.guide, x, len(x)).backward()
        taken.append(time.perf_counter() - begin)
    return 1000 * min(taken)


def picture(story: Diffusion, x: torch.Tensor, out: str | Path) -> None:
    """Upper row: z_t drawn from the guide, with noise increasing to the left; lower row: z_t drawn from the model."""
    import matplotlib.pyplot as plt

    with story.predicting():
        visited = dict(story.reverse_trajectory(torch.randn(len(x), 2)))
        made = story.reconstruction(visited[1]).sample()
        scaled, columns = (x - story.shift) / story.scale, {}
        for t in (story.num_timesteps, *(round(story.num_timesteps * share) for share in (0.6, 0.45, 0.3, 0.15))):
            columns[f"z_{t}"] = (story.noising.marginal(scaled, t).sample(), visited[t])
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
    num_timesteps: int = 32,
    epochs: int = 40,
    runs: int = 30,
    out: str | Path = "demo/diffusion_as_a_chain.png",
    seed: int = 0,
) -> dict:
    """Train with one timestep a step, score the test points both ways, draw the picture; returns the results."""
    ring = load("ring")
    torch.manual_seed(seed)
    x, test = (part["x"] + BLUR * torch.randn_like(part["x"]) for part in (ring.train, ring.test))
    true = replace(ring.truth, sd=math.hypot(ring.truth.sd, BLUR))
    options = {"schedule": LinearLogSNRSchedule(high=6.0, low=-6.0), "hidden": (128, 128, 128)}
    one = Diffusion(2, num_timesteps, **options)
    chain = Diffusion(2, num_timesteps, timesteps_per_datum=None, **options)
    plan = {"optimizer": adam(2e-3), "schedule": cosine(epochs * math.ceil(len(x) / 128)), "seed": seed}
    fit(one, {"x": x}, epochs=epochs, device="cpu", progress=False, **plan)
    chain.load_state_dict(one.state_dict())

    found = {}
    print(f"Test points of the ring, {num_timesteps} timesteps               ELBO (nats)          a step of 128 points")
    for name, story in (("the full chain", chain), ("one random timestep a step", one)):
        elbo, error = held_out_elbo(story, {"x": test}, runs, seed=seed)
        found[name] = (elbo, error, milliseconds(story, x[:128]))
        print(f"{name:36} {elbo:16.4f} +- {error:.4f} {found[name][2]:16.1f} ms")
    (a, b, slow), (c, d, fast) = found.values()
    apart = abs(a - c) / math.hypot(b, d)
    print(f"difference {abs(a - c):.4f} nats, {apart:.1f} standard errors; a step is {slow / fast:.0f} times faster")

    tighter = log_likelihood(chain, {"x": test[:500]}, 200, seed=seed)
    truth = float(true.log_prob(test[:500]).mean())
    print(
        f"first 500: ELBO {tighter.mean_elbo()[0]:.3f}, importance-weighted by 200 draws of the chain "
        f"{tighter.mean()[0]:.3f}, the true density {truth:.3f}"
    )
    picture(chain, test, out)
    print(f"see {out}: the same timesteps drawn from guide and model")
    return {"found": found, "bounds": (tighter.mean_elbo()[0], tighter.mean()[0], truth), "new": chain.sample(2000)}


if __name__ == "__main__":
    main()
