"""What importance weights of every image cost: pyrogen, Pyro traces one draw at a time, and one image at a time.

    python benchmarks/log_weights.py                  # a VAE 784-400-20 on MNIST's test images, k = 100
    python benchmarks/log_weights.py --images 2000 -k 100 --device cuda

Three ways to the same numbers, log p(x, z) - log q(z | x) for k draws of each image: `pyrogen.inference.log_weights`;
Pyro's `poutine.trace`, one draw of one image after the other, as a loop over its handlers takes them; and plain torch,
one image at a time with its k draws side by side, as pythae's evaluation does. The slow ways take fewer images, from
which their time for an image is told. Ways take turns, the figure is the median over rounds. Weights of the three agree
on average, within 5 standard errors, else nothing is recorded. The network is as it starts: cost does not depend on it.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from pyro import poutine
from recording import Row, environment, record, table
from torch import Tensor
from torch.distributions import Bernoulli, Normal

from pyrogen import data
from pyrogen.inference import log_weights
from pyrogen.inference.program.rng import seeded
from pyrogen.models import VAE

NAME, KEY, SEED = "log_weights", ("device", "threads", "k"), 0
FEW = {"Pyro, a draw at a time": 3, "an image at a time": 100}
"""Images that the slow ways take in a round."""


def by_traces(story: VAE, x: Tensor, k: int) -> Tensor:
    """(k, n), each weight from a trace of the guide and one of the model."""
    weights = torch.empty(k, len(x))
    with story.predicting():
        for i in range(len(x)):
            for draw in range(k):
                guide = poutine.trace(story.guide).get_trace(x[i : i + 1], 1)
                model = poutine.trace(poutine.replay(story.model, trace=guide)).get_trace(x[i : i + 1], 1)
                weights[draw, i] = model.log_prob_sum() - guide.log_prob_sum()
    return weights


@torch.no_grad()
def by_images(story: VAE, x: Tensor, k: int) -> Tensor:
    """(k, n), an image at a time, its k draws as one batch."""
    weights = []
    for one in x:
        many = one.expand(k, *one.shape)
        near: Any = story.encode(many)
        loc, scale = near.base_dist.loc, near.base_dist.scale
        z = Normal(loc, scale).sample()
        logits = story.decoder(z)
        log_p = Normal(0.0, 1.0).log_prob(z).sum(-1) + Bernoulli(logits=logits).log_prob(many).flatten(1).sum(-1)
        weights.append(log_p - Normal(loc, scale).log_prob(z).sum(-1))
    return torch.stack(weights, 1)


def timed(act: Callable[[], Tensor], images: int) -> tuple[float, Tensor]:
    """Seconds for an image, and what came."""
    begin = time.perf_counter()
    weights = act()
    if weights.is_cuda:
        torch.cuda.synchronize()
    return (time.perf_counter() - begin) / images, weights.cpu()


def measure(images: int, k: int, rounds: int, device: str, root: str | None) -> list[Row]:
    """A row for each way.

    Raises:
        RuntimeError: the ways do not agree.
    """
    with seeded(SEED):
        story = VAE((1, 28, 28), 20, hidden=(400,)).to(device)
    x = data.load("mnist", root, "static").test["x"][:images]
    there = x.to(device)
    ways: dict[str, tuple[int, Callable[[], Tensor]]] = {
        "pyrogen": (images, lambda: log_weights(story, {"x": x}, k)),
        "Pyro, a draw at a time": (FEW["Pyro, a draw at a time"], lambda: by_traces(story, there[:3], k)),
        "an image at a time": (FEW["an image at a time"], lambda: by_images(story, there[:100], k)),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    first: dict[str, Tensor] = {}
    with seeded(SEED):
        log_weights(story, {"x": x[:200]}, k)  # warm
        for _ in range(rounds):
            for way, (count, act) in ways.items():
                took, weights = timed(act, count)
                seconds[way].append(took)
                first[way] = weights[:, :3].double()
    check(first, k)
    median = {way: statistics.median(times) for way, times in seconds.items()}
    about = {"k": k, "rounds": rounds, **environment(torch.device(device))}
    told = {way: {"ms_per_image": 1e3 * s, "times": s / median["pyrogen"]} for way, s in median.items()}
    return [{"way": way, "images": count, **told[way], **about} for way, (count, _) in ways.items()]


def check(weights: dict[str, Tensor], k: int) -> None:
    """Refuse ways whose mean weights of the first images part."""
    ours = weights["pyrogen"]
    for way, other in weights.items():
        error = ((ours.var(0) + other.var(0)) / k).sqrt()
        if bool(((ours.mean(0) - other.mean(0)).abs() > 5 * error).any()):
            raise RuntimeError(f"{way}: mean log weights {other.mean(0).tolist()}, pyrogen's {ours.mean(0).tolist()}")
    if not all(math.isfinite(float(w.sum())) for w in weights.values()):
        raise RuntimeError("some weights are not finite")


def render(rows: list[Row]) -> str:
    """The table."""
    columns: dict[str, Callable[[Row], str]] = {
        "way": lambda row: row["way"],
        "k": lambda row: str(row["k"]),
        "ms for an image": lambda row: f"{row['ms_per_image']:.3g}",
        "of pyrogen's time": lambda row: f"{row['times']:.1f}",
        "images in a round": lambda row: f"{row['images']:,}",
        "device": lambda row: row["device"],
        "threads": lambda row: str(row["threads"]),
        "torch": lambda row: row["versions"]["torch"],
        "date": lambda row: row["date"],
    }
    return (
        "# Importance weights of every image\n\n"
        f"A VAE 784-400-20 on binarized MNIST, k draws for each image; medians of {rows[0]['rounds']} rounds in turn.\n"
        "Mean weights of the first images agree within 5 standard errors.\n\n" + table(rows, columns)
    )


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("-k", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--data-dir", help="folder of the data sets (else PYROGEN_DATA)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for row in measure(options.images, options.k, options.rounds, options.device, options.data_dir):
        record(NAME, row, ("way", *KEY), render)
        print(
            f"{row['way']:24} {row['ms_per_image']:9.3f} ms for an image, {row['times']:.1f} of pyrogen's", flush=True
        )


if __name__ == "__main__":
    main()
