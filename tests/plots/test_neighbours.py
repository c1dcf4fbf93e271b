import pytest
import torch

from pyrogen.plots import sample_neighbours


def test_each_sample_stands_before_the_training_images_nearest_to_it():
    shades = torch.arange(5.0)[:, None, None, None].expand(5, 1, 56, 56) / 10  # 0, 0.1, ..., 0.4
    picture = sample_neighbours(torch.stack([shades[3] + 0.02, shades[0]]), shades, count=3)
    assert picture.shape == (2 * 58 + 2, 4 * 58 + 2, 3)
    middle = torch.from_numpy(picture)[29::58, 29::58, 0][:2, :4]
    assert torch.allclose(middle, torch.tensor([[0.32, 0.3, 0.4, 0.2], [0.0, 0.0, 0.1, 0.2]]))


def test_what_is_near_is_said_by_the_features():
    class Negative:
        name = "the other way round"

        def __call__(self, x):
            return (0.5 - x.mean((1, 2, 3))).abs()[:, None]

    training = torch.tensor([0.0, 0.3, 0.9])[:, None, None, None].expand(3, 1, 56, 56)
    picture = torch.from_numpy(sample_neighbours(training[2:] - 0.05, training, Negative(), count=1))
    assert torch.allclose(picture[29, 29 + 58, 0], torch.tensor(0.9))
    picture = torch.from_numpy(sample_neighbours(1 - training[:1], training, Negative(), count=1))
    assert torch.allclose(picture[29, 29 + 58, 0], torch.tensor(0.0))


def test_fewer_training_images_than_are_shown_are_refused():
    with pytest.raises(ValueError, match="7 nearest neighbours are asked for among 5 points"):
        sample_neighbours(torch.rand(2, 1, 8, 8), torch.rand(5, 1, 8, 8))
