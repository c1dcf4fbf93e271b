"""What a sample of an autoregressive model costs: steps that keep what was computed, or a whole pass for each pixel.

    python benchmarks/autoregressive_sampling.py                    # every network, images of 28 by 28
    python benchmarks/autoregressive_sampling.py transformer -n 4   # one of them, four images at once

Weights are random, as they start: what a draw costs does not depend on them. Both ways draw from one seed and must give
the same images, else nothing is recorded. They take turns; the figure is the ratio of their medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from recording import Row, environment, record, table
from torch import Tensor, nn

from pyrogen.autoregressive import AutoregressiveModel
from pyrogen.inference.program.rng import seeded
from pyrogen.nn import GatedPixelCNN, PixelCNN, PixelCNNPlusPlus, PixelRNN, PixelTransformer

NAME, KEY = "autoregressive_sampling", ("network", "n", "device", "threads")
EVENT = (1, 28, 28)
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "transformer": lambda: PixelTransformer(EVENT, width=64, heads=2, layers=8),
    "pixelcnn": lambda: PixelCNN(EVENT, width=16, blocks=15),
    "gated_pixelcnn": lambda: GatedPixelCNN(EVENT, width=32, blocks=8),
    "pixelcnn_pp": lambda: PixelCNNPlusPlus(EVENT, width=24, blocks=2, sizes=2),
    "pixelrnn, row": lambda: PixelRNN(EVENT, width=16, layers=3),
    "pixelrnn, diagonal": lambda: PixelRNN(EVENT, width=16, layers=3, kind="diagonal"),
}


class Whole(nn.Module):
    """A network without its steps."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network, self.outputs, self.unit, self.by_pixel = network, network.outputs, network.unit, network.by_pixel

    def forward(self, x: Tensor) -> Tensor:
        """The outputs for `x`."""
        out: Tensor = self.network(x)
        return out


def drawn(story: AutoregressiveModel, n: int, seed: int) -> tuple[float, Tensor]:
    """Seconds, and the images."""
    with seeded(seed):
        begin = time.perf_counter()
        x = story.sample(n)
        if x.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - begin, x


def measure(name: str, n: int, rounds: int, seed: int, device: str) -> Row:
    """Both ways in turn.

    Raises:
        RuntimeError: they do not draw the same images.
    """
    with seeded(seed):
        network = NETWORKS[name]().to(device)
    ways = {"steps": AutoregressiveModel(EVENT, network), "passes": AutoregressiveModel(EVENT, Whole(network))}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(rounds):
        images = {}
        for way, story in ways.items():
            took, images[way] = drawn(story, n, seed + turn)
            seconds[way].append(took)
        if not torch.equal(*images.values()):
            raise RuntimeError(f"{name}: both ways of drawing give other images at seed {seed + turn}")
    median = {way: statistics.median(times) for way, times in seconds.items()}
    told = {"network": name, "n": n, "rounds": rounds, "seed": seed, "median_seconds": median}
    return {**told, "times_faster": median["passes"] / median["steps"], **environment(torch.device(device))}


def render(rows: list[Row]) -> str:
    """The table."""
    columns: dict[str, Callable[[Row], str]] = {
        "network": lambda row: row["network"],
        "images at once": lambda row: str(row["n"]),
        "a pass for each pixel, s": lambda row: f"{row['median_seconds']['passes']:.2f}",
        "steps, s": lambda row: f"{row['median_seconds']['steps']:.2f}",
        "times faster": lambda row: f"{row['times_faster']:.1f}",
        "rounds": lambda row: str(row["rounds"]),
        "device": lambda row: row["device"],
        "threads": lambda row: str(row["threads"]),
        "torch": lambda row: row["versions"]["torch"],
        "date": lambda row: row["date"],
    }
    return (
        "# Sampling autoregressive models\n\n"
        "Binary images of 28 by 28, drawn pixel by pixel: by a whole pass of the network for each, and by steps\n"
        "that keep what was computed. Both gave the same images, bit for bit, in every round; medians over rounds.\n\n"
        + table(rows, columns)
    )


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="network", help=f"which ({', '.join(NETWORKS)})")
    parser.add_argument("-n", type=int, default=16, help="images at once")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    if unknown := [name for name in options.networks if name not in NETWORKS]:
        parser.error(f"network: expected {', '.join(NETWORKS)}, got {', '.join(unknown)}")
    torch.set_num_threads(options.threads)
    for name in options.networks or NETWORKS:
        row = measure(name, options.n, options.rounds, options.seed, options.device)
        record(NAME, row, KEY, render)
        told = ", ".join(f"{way} {seconds:.2f} s" for way, seconds in row["median_seconds"].items())
        print(f"{name:20} {told}: {row['times_faster']:.1f} times faster", flush=True)


if __name__ == "__main__":
    main()
