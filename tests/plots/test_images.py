import pyro
import pyro.distributions as dist
import pytest
import torch
from matplotlib import get_backend
from matplotlib.image import imread

from pyrogen import Story
from pyrogen.models import VAE
from pyrogen.plots import image_grid, reconstructions, save_image_grid


class Constant(Story):
    """Grey everywhere, whatever is seen."""

    def model(self, x, n):
        with pyro.plate("data", n):
            return pyro.sample("x", dist.Bernoulli(torch.full((1, 4, 4), 0.5)).to_event(3), obs=x)

    def guide(self, x, n):
        pass


def test_pixels_stay_where_and_what_they_are():
    images = torch.rand(5, 1, 28, 28)
    grid = image_grid(images, columns=3)
    assert grid.shape == (2 * 58 + 2, 3 * 58 + 2, 3)
    assert 0 <= grid.min() <= grid.max() <= 1
    tile = torch.from_numpy(grid)[2 + 58 : 58 + 58, 2 + 58 : 58 + 58]
    assert torch.equal(tile[::2, ::2, 1], images[4, 0])
    assert torch.equal(tile[1::2, 1::2, 2], images[4, 0])
    assert (grid[:2] == 0.25).all()


def test_small_images_are_enlarged_and_large_ones_are_not():
    assert image_grid(torch.rand(1, 8, 8)).shape == (60, 60, 3)
    assert image_grid(torch.rand(1, 3, 64, 128)).shape == (68, 132, 3)


def test_colours_values_and_default_columns():
    colour = torch.tensor([2.0, -1.0, float("nan")]).reshape(1, 3, 1, 1).expand(4, 3, 8, 8)
    grid = image_grid(colour)
    assert grid.shape == (2 * 58 + 2, 2 * 58 + 2, 3)
    assert grid[10, 10].tolist() == [1, 0, 0]


@pytest.mark.parametrize("shape", [(4, 64), (4, 2, 8, 8), (0, 1, 8, 8), (1, 1, 1, 8, 8)])
def test_what_is_no_image_is_refused(shape):
    with pytest.raises(ValueError, match="images are"):
        image_grid(torch.zeros(shape))
    with pytest.raises(ValueError, match="columns must be at least 1"):
        image_grid(torch.zeros(4, 8, 8), columns=0)


def test_a_file_holds_the_grid(tmp_path):
    images, backend = torch.rand(3, 8, 8), get_backend()
    save_image_grid(tmp_path / "new" / "x.png", images)
    read = torch.from_numpy(imread(tmp_path / "new" / "x.png")[..., :3].copy())
    assert torch.allclose(read, torch.from_numpy(image_grid(images)), atol=1 / 255)
    assert get_backend() == backend


def test_reconstructions_are_below_their_originals():
    story = VAE((1, 4, 4), 2, hidden=(8,))
    x = torch.rand(5, 1, 4, 4).round()
    picture = torch.from_numpy(reconstructions(story, x, columns=3))
    assert picture.shape == (4 * 58 + 2, 3 * 58 + 2, 3)
    pixels = picture[9::58, 9::58][:4, :3, 0]
    made = story.reconstruct(x)[:, 0, 0, 0]
    assert torch.allclose(pixels[0], x[:3, 0, 0, 0])
    assert torch.allclose(pixels[1], made[:3])
    assert torch.allclose(pixels[2], torch.cat([x[3:, 0, 0, 0], torch.zeros(1)]))
    assert torch.allclose(pixels[3], torch.cat([made[3:], torch.zeros(1)]))


def test_a_story_that_cannot_reconstruct_predicts():
    picture = torch.from_numpy(reconstructions(Constant(), torch.ones(4, 1, 4, 4)))
    assert picture.shape == (2 * 58 + 2, 4 * 58 + 2, 3)
    inside = picture[62:116, 2:-2].reshape(-1)
    assert (picture[2:58, 4:50] == 1).all()
    assert abs(float(inside.mean()) - 0.5) < 0.1
