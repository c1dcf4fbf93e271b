import copy
import math

import pytest
import torch

from pyrogen.distributions import StandardNormal


@pytest.mark.parametrize("latent", [3, (3,), (2, 4, 4), [5]])
def test_standard_normal_density(latent: object) -> None:
    prior = StandardNormal(latent).double()()
    z = prior.sample((7,))
    assert prior.batch_shape == ()
    assert z.shape[1:] == prior.event_shape
    by_hand = -(z.flatten(1) ** 2).sum(-1) / 2 - math.prod(prior.event_shape) * math.log(2 * math.pi) / 2
    torch.testing.assert_close(prior.log_prob(z), by_hand, rtol=0, atol=1e-10)


def test_standard_normal_follows_the_story_and_saves_nothing() -> None:
    prior = StandardNormal(2)
    assert not prior.state_dict()
    assert not list(prior.parameters())
    assert prior.double()().sample().dtype == torch.float64
    assert copy.deepcopy(prior).to("meta").loc.device.type == "meta"


def test_standard_normal_refuses_other_latents() -> None:
    StandardNormal(2).check((2,))
    with pytest.raises(ValueError, match=r"prior=StandardNormal\(\(3,\)\) is not for latents of shape \(2,\)"):
        StandardNormal(3).check((2,))
