"""A first example: train a variational autoencoder on small digits, estimate the likelihood of unseen ones, and plot.

    python examples/demo.py [--out demo] [--epochs 150]

Writes demo/samples.png, demo/reconstructions.png and demo/training.png, and keeps the run in demo/run. It takes less
than a minute on two cores and may be run again: an earlier demo's run is replaced.
"""

import argparse
import shutil
from pathlib import Path

import pyro
import torch

from pyrogen import fit
from pyrogen.data import Splits, load
from pyrogen.inference import Fit, RunDirectory, adam, log_likelihood
from pyrogen.models import VAE
from pyrogen.plots import reconstructions, save_image_grid, save_picture, training_curve

SEED = 0
DRAWS = 1000


def main() -> None:
    """Train, evaluate, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder to write to (default: demo)")
    parser.add_argument("--epochs", type=int, default=150, help="epochs at most (default: 150)")
    options = parser.parse_args()
    torch.set_num_threads(1)  # more are no faster for networks this small

    splits = load("digits", binarize="threshold")
    run = train(splits, options.out / "run", options.epochs)
    evaluate(run, splits)
    draw(run, splits, options.out)


def train(splits: Splits, folder: Path, epochs: int) -> Fit:
    """Train a VAE, and keep the run in a folder."""
    print(f"Training a VAE on {splits.name}: {splits.train.rows:,} images of 8 x 8 pixels, each black or white.")
    if RunDirectory(folder).used:
        shutil.rmtree(folder)
    pyro.set_rng_seed(SEED)  # the weights that training starts from
    run = fit(
        VAE(event_shape=(1, 8, 8), latent=8, hidden=(256, 128)),
        splits.train,
        validation=splits.validation,
        epochs=epochs,
        optimizer=adam(2e-3),
        seed=SEED,
        out=folder,
    )
    best = next(record for record in run.history if record["epoch"] == run.best_epoch)
    print(
        f"  {len(run.history)} epochs in {run.history[-1]['seconds']:.0f} s; kept: epoch {best['epoch']}, the best on "
        f"validation data (ELBO {best['validation_elbo']:.2f} nats)"
    )
    return run


def evaluate(run: Fit, splits: Splits) -> None:
    """Print the log-likelihood of the test split with its Monte Carlo error."""
    found = log_likelihood(run.story, splits.test, DRAWS, seed=SEED)
    print(f"On the test split of {splits.name} ({splits.test.rows} images, {splits.binarize} binarization), nats each:")
    print("  log p(x) {:.3f} +- {:.3f}".format(*found.mean()), f"({found.kind}, k = {found.k}, seed {SEED})")
    print("  ELBO     {:.3f} +- {:.3f}".format(*found.mean_elbo()), f"(k = {found.k}, seed {SEED})")
    print("  +- is the Monte Carlo error")


def draw(run: Fit, splits: Splits, folder: Path) -> None:
    """Pictures of new images, of reconstructions, and of training."""
    story = run.story
    pyro.set_rng_seed(SEED)
    with story.predicting():
        means = story.likelihood.point(story.decode(story.prior().sample([96])))
    save_image_grid(folder / "samples.png", means, columns=16)
    save_picture(folder / "reconstructions.png", reconstructions(story, splits.test["x"][:48]))
    training_curve(run).savefig(folder / "training.png", dpi=120)
    print(f"{folder / 'samples.png'}: new images, the probability of white at each pixel, for 96 draws from the prior")
    print(f"{folder / 'reconstructions.png'}: images of the test split, below each the probability of white")
    print(f"{folder / 'training.png'}: the ELBO by epoch")
    print(f"{folder / 'run'}: the run; try `pyrogen sample {folder / 'run'} --out {folder / 'draws.png'}`")


if __name__ == "__main__":
    main()
