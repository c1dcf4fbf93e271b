"""Samples of run folders on MNIST side by side, a row for each, test digits at the top.

    python benchmarks/mnist_samples.py runs/mnist-vae runs/mnist-pixelcnn runs/mnist-gan
    python benchmarks/mnist_samples.py runs/mnist-flow runs/mnist-vq_vae --name mnist_samples_more

Drawn once from one seed and not chosen; pixels as the story draws them, black or white where its likelihood is of zeros
and ones. What is given a label is given that of the test digit above. A diffusion is drawn by DDIM, in as many steps as
`--steps` says.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
from recording import RESULTS
from sample_quality import sampled
from torch import Tensor

from pyrogen import data, load
from pyrogen.plots import image_grid

COUNT = 16


def rows(folders: list[Path], options: argparse.Namespace) -> dict[str, Tensor]:
    """By what is written at its left, each row's images."""
    raw = data.load("mnist", options.data_dir)
    found = {"test digits": raw.test["x"][:COUNT]}
    for folder in folders:
        run = load(folder)
        samples, sampler = sampled(run, raw, options)
        name = folder.name.removeprefix("mnist-").replace("_", " ")
        found[f"{name}\n{sampler}" if sampler else name] = samples
    return found


def main() -> None:
    """Parse the command line, draw, and keep the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="RUN", help="run folders of MNIST")
    parser.add_argument("--name", default="mnist_samples", help="of the picture in results/ (mnist_samples)")
    parser.add_argument("--steps", type=int, default=50, help="passes through a diffusion for a sample (50)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-dir", help="folder of the data sets (else PYROGEN_DATA)")
    options = parser.parse_args(namespace=argparse.Namespace(num_samples=COUNT))
    drawn = rows(options.folders, options)
    figure, axes = plt.subplots(len(drawn), figsize=(10, 0.6 * len(drawn)), layout="constrained")
    for axis, (name, images) in zip(axes, drawn.items(), strict=True):
        axis.imshow(image_grid(images, COUNT))
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        axis.set(xticks=[], yticks=[], frame_on=False)
    path = RESULTS / f"{options.name}.png"
    figure.savefig(path, dpi=120, bbox_inches="tight")
    print(path)


if __name__ == "__main__":
    main()
