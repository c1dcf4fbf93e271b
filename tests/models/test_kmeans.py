"""k-means against scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans as Theirs
from torch import Tensor

from pyrogen import fit
from pyrogen.data import load
from pyrogen.models import KMeans


def blobs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    own = torch.arange(90) % 3
    return centres[own] + torch.randn(90, 2, generator=generator), own


def test_it_finds_planted_clusters() -> None:
    x, own = blobs()
    story = fit(KMeans(2, 3), {"x": x}).story
    found = story.assign(x)
    for k in range(3):
        assert len(found[own == k].unique()) == 1
        torch.testing.assert_close(story.centres[found[own == k][0]].detach(), x[own == k].mean(0))


def test_digits_are_partitioned_as_well_as_by_scikit_learn() -> None:
    x = load("digits").train["x"]
    story = fit(KMeans((1, 8, 8), 10), {"x": x}).story
    inertia = float((story.reconstruct(x) - x).square().sum())
    theirs = Theirs(10, n_init=10, random_state=0).fit(x.flatten(1).numpy()).inertia_
    assert inertia <= 1.01 * theirs


def test_codes_are_one_hot_and_reconstructions_are_the_nearest_centres() -> None:
    x, _ = blobs()
    story = fit(KMeans(2, 3), {"x": x}).story
    code = story.encode(x)
    assert (code.batch_shape, code.event_shape) == ((90,), (3,))
    z = code.mean
    assert z.shape == (90, 3)
    assert set(z.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(z.argmax(-1), story.assign(x))
    nearest = np.linalg.norm(x.numpy()[:, None] - story.centres.detach().numpy(), axis=-1).argmin(-1)
    np.testing.assert_array_equal(story.assign(x).numpy(), nearest)
    assert torch.equal(story.reconstruct(x), story.centres[nearest].detach())
    assert story.reconstruct(x.reshape(9, 10, 2)).shape == (9, 10, 2)


def test_a_seed_decides_the_start() -> None:
    x = load("digits").train["x"]
    first, second, other = (fit(KMeans((1, 8, 8), 10), {"x": x}, seed=s).story.centres for s in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("x", [torch.randn(2, 2), torch.zeros(9, 2)], ids=["few", "copies"])
def test_fewer_data_than_clusters_are_refused(x: Tensor) -> None:
    with pytest.raises(ValueError, match=r"3 clusters need as many .*: take fewer clusters"):
        fit(KMeans(2, 3), {"x": x})
