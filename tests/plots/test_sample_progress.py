"""Strips of samples by epoch."""

import pytest
import torch
from matplotlib.image import imread

from pyrogen import fit
from pyrogen.adversarial import GAN
from pyrogen.inference import adam
from pyrogen.models import VAE, ConditionalVAE
from pyrogen.plots import SampleStrip

X = (torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.3).float()
ROW, GAP = 56 + 2, 2  # images of 8 pixels are enlarged to 56


def train(story, strip, data=None, **options):
    return fit(story, X if data is None else data, callbacks=[strip], progress=False, **{"epochs": 3, **options})


def rows(path):
    picture = imread(path)[GAP:, ..., :3]
    return picture.reshape(-1, ROW, *picture.shape[1:])


def test_a_row_an_epoch_of_the_same_latents(tmp_path):
    """A story that does not learn draws the same row each time, of means, not of black and white draws."""
    story = VAE((1, 8, 8), latent=2, hidden=(8,))
    train(story, SampleStrip(tmp_path / "strip.png", n=4), optimizer=adam(0.0))
    found = rows(tmp_path / "strip.png")
    assert found.shape == (3, ROW, 4 * ROW + GAP, 3)
    assert (found == found[0]).all()
    assert ((found[0] > 0.3) & (found[0] < 0.7)).mean() > 0.8


def test_rows_tell_of_learning(tmp_path):
    train(GAN((1, 8, 8), latent=2, hidden=(8,)), SampleStrip(tmp_path / "strip.png", n=4), optimizer=adam(0.1))
    found = rows(tmp_path / "strip.png")
    assert len(found) == 3
    assert abs(found[0] - found[2]).max() > 0.1


def test_every_second_epoch(tmp_path):
    train(VAE((1, 8, 8), latent=2, hidden=(8,)), SampleStrip(tmp_path / "strip.png", every=2), epochs=5)
    assert len(rows(tmp_path / "strip.png")) == 2


def test_images_of_the_labels_given(tmp_path):
    story = ConditionalVAE((1, 8, 8), latent=2, classes=2, hidden=(8,))
    columns = {"x": torch.ones(64, 1, 8, 8) * (torch.arange(64) % 2)[:, None, None, None], "y": torch.arange(64) % 2}
    strip = SampleStrip(tmp_path / "strip.png", n=2, given={"y": torch.tensor([0, 1])})
    train(story, strip, columns, epochs=30, optimizer=adam(0.05))
    last = rows(tmp_path / "strip.png")[-1]
    assert last[:-GAP, GAP:ROW].mean() < 0.1
    assert last[:-GAP, ROW + GAP : 2 * ROW].mean() > 0.9


def test_a_resumed_run_goes_on_with_the_picture(tmp_path):
    for out, stages in (("whole", (4,)), ("parts", (2, 4))):
        for epochs in stages:
            torch.manual_seed(0)
            strip = SampleStrip(tmp_path / f"{out}.png", n=3)
            options = {"epochs": epochs, "out": tmp_path / out, "resume": epochs != stages[0]}
            train(VAE((1, 8, 8), latent=2, hidden=(8,)), strip, **options)
    whole, parts = (imread(tmp_path / f"{out}.png") for out in ("whole", "parts"))
    assert whole.shape == parts.shape
    assert abs(whole - parts).max() < 1.5 / 255  # what was read was rounded


def test_a_new_run_does_not_go_on_with_an_old_picture(tmp_path):
    for epochs in (3, 2):
        train(VAE((1, 8, 8), latent=2, hidden=(8,)), SampleStrip(tmp_path / "strip.png"), epochs=epochs)
        assert len(rows(tmp_path / "strip.png")) == epochs


def test_points_are_no_images(tmp_path):
    with pytest.raises(ValueError, match="images are"):
        train(GAN(2, latent=2, hidden=(8,)), SampleStrip(tmp_path / "strip.png"), torch.randn(64, 2))
