import copy
import math

import pyro.distributions as dist
import pytest
import torch

from pyrogen.distributions import NormalMixture, StandardNormal, VampPrior
from tests.helpers.statistics import assert_within


@pytest.mark.parametrize("latent", [3, (3,), (2, 4, 4), [5]])
def test_standard_normal_density(latent: object) -> None:
    prior = StandardNormal(latent).double()()
    z = prior.sample((7,))
    assert prior.batch_shape == ()
    assert z.shape[1:] == prior.event_shape
    by_hand = -(z.flatten(1) ** 2).sum(-1) / 2 - math.prod(prior.event_shape) * math.log(2 * math.pi) / 2
    torch.testing.assert_close(prior.log_prob(z), by_hand, rtol=0, atol=1e-10)


def test_standard_normal_follows_the_dtype_and_device_and_has_no_state() -> None:
    prior = StandardNormal(2)
    assert not prior.state_dict()
    assert not list(prior.parameters())
    assert prior.double()().sample().dtype == torch.float64
    assert copy.deepcopy(prior).to("meta").loc.device.type == "meta"


def test_standard_normal_refuses_other_latents() -> None:
    StandardNormal(2).check((2,))
    with pytest.raises(ValueError, match=r"prior=StandardNormal\(\(3,\)\) is not for latents of shape \(2,\)"):
        StandardNormal(3).check((2,))


@pytest.mark.parametrize("latent", [3, (2, 4)])
def test_mixture_density_is_the_one_by_hand(latent: object) -> None:
    prior = NormalMixture(latent, components=4).double()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(torch.randn_like(parameter))
    p = prior()
    z = p.sample((7,))
    normals = torch.distributions.Normal(prior.means, 1e-3 + prior.raw_scales.exp())
    inside = normals.log_prob(z[:, None]).flatten(2).sum(-1)
    by_hand = (prior.logits.log_softmax(0) + inside).logsumexp(-1)
    assert p.batch_shape == ()
    torch.testing.assert_close(p.log_prob(z), by_hand, rtol=0, atol=1e-10)


def test_mixture_draws_have_its_moments() -> None:
    prior, n = NormalMixture(2, components=3).double(), 20_000
    draws = prior().sample((n,))
    mean = prior.means.mean(0)
    variance = 1.001**2 + (prior.means - mean).square().mean(0)
    assert_within(draws.mean(0), mean, (variance / n).sqrt())


def test_every_parameter_of_a_prior_has_a_gradient() -> None:
    mixture, vamp = NormalMixture(3, components=4), VampPrior((1, 2, 3), components=4)
    z = torch.randn(7, 3)
    (mixture().log_prob(z).sum() + vamp(encode).log_prob(z).sum()).backward()
    for parameter in (*mixture.parameters(), *vamp.parameters()):
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


def encode(x: torch.Tensor) -> torch.distributions.Distribution:
    return dist.Normal(x.mean((-3, -2)), 0.5).to_event(1)


def test_vamp_prior_is_the_mixture_of_posteriors() -> None:
    prior = VampPrior((1, 2, 3), components=4)
    z = prior(encode).sample((7,))
    by_hand = torch.stack([encode(u).log_prob(z) for u in prior.inputs]).logsumexp(0) - math.log(4)
    torch.testing.assert_close(prior(encode).log_prob(z), by_hand)
    assert list(prior.state_dict()) == ["inputs"]


@pytest.mark.parametrize(("rows", "components"), [(9, 4), (3, 7)])
def test_vamp_prior_starts_at_data(rows: int, components: int) -> None:
    prior, x = VampPrior((2,), components), torch.randn(rows, 2)
    prior.prepare(x)
    counts = (prior.inputs[:, None] == x).all(-1).sum(0)
    assert counts.sum() == components
    assert counts.max() - counts.min() <= 1


def test_mixtures_refuse_other_latents_and_no_components() -> None:
    with pytest.raises(ValueError, match=r"prior=NormalMixture\(\(3,\)\) is not for latents of shape \(2,\)"):
        NormalMixture(3).check((2,))
    for build in (lambda: NormalMixture(3, 0), lambda: VampPrior((2,), 0)):
        with pytest.raises(ValueError, match="needs at least one component, got components=0"):
            build()
    with pytest.raises(ValueError, match="floor=0"):
        NormalMixture(3, floor=0)
