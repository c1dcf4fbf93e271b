"""Posteriors of dependent latents: densities by hand, draws that follow them, and validation."""

import copy
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor
from torch.autograd.functional import jacobian

from pyrogen.distributions import (
    DiagonalNormal,
    Family,
    FullNormal,
    InverseAutoregressiveFlow,
    VampPrior,
    precision_weighted,
)
from tests.helpers.statistics import assert_within


def flow(latent: int = 3) -> InverseAutoregressiveFlow:
    """A flow far from an affine map: its weights are twice those that it starts with."""
    family = InverseAutoregressiveFlow(latent, steps=3, context=4, hidden=(16,)).double()
    with torch.no_grad():
        for parameter in family.parameters():
            parameter.mul_(2)
    return family


def test_full_normal_is_the_multivariate_normal_by_hand() -> None:
    outputs = torch.randn(7, 9, dtype=torch.float64)
    q = FullNormal()(outputs, (3,))
    mean, raw, below = outputs.split([3, 3, 3], -1)
    factor = torch.zeros(7, 3, 3, dtype=torch.float64)
    for row, column, k in ((1, 0, 0), (2, 0, 1), (2, 1, 2)):
        factor[:, row, column] = below[:, k]
    for k in range(3):
        factor[:, k, k] = 1e-6 + raw[:, k].exp()
    by_hand = dist.MultivariateNormal(mean, factor @ factor.mT)
    z = torch.randn(7, 3, dtype=torch.float64)
    torch.testing.assert_close(q.log_prob(z), by_hand.log_prob(z), rtol=0, atol=1e-8)
    assert torch.equal(FullNormal().point(q), mean)


def test_full_normal_has_gradients_through_its_draws() -> None:
    outputs = torch.randn(7, 9, requires_grad=True)
    FullNormal()(outputs, (3,)).rsample().square().sum().backward()
    assert outputs.grad is not None
    assert (outputs.grad != 0).all()


def test_the_density_of_a_draw_is_that_of_the_change_of_variables() -> None:
    family, outputs = flow(), torch.randn(10, dtype=torch.float64)
    q = family(outputs, (3,))
    start = q.base_dist.sample()

    def transformed(z: Tensor) -> Tensor:
        for step in q.transforms:
            z = step(z)
        return z

    by_hand = q.base_dist.log_prob(start) - torch.logdet(jacobian(transformed, start))
    torch.testing.assert_close(q.log_prob(transformed(start)), by_hand, rtol=0, atol=1e-10)


def test_the_density_of_other_values_agrees_with_that_of_draws() -> None:
    family, outputs = flow(), torch.randn(5, 10, dtype=torch.float64)
    q = family(outputs, (3,))
    z = q.rsample()
    torch.testing.assert_close(q.log_prob(z.clone()), q.log_prob(z), rtol=0, atol=1e-8)


def test_flow_integrates_to_one() -> None:
    """E_r [q / r] = 1 over draws of a wide normal r."""
    family, n = flow(2), 40_000
    q = family(torch.randn(8, dtype=torch.float64), (2,))
    draws = q.sample((2000,))
    r = dist.Normal(draws.mean(0), 2 * draws.std(0)).to_event(1)
    z = r.sample((n,))
    weights = (q.log_prob(z) - r.log_prob(z)).exp()
    assert_within(weights.mean(), 1.0, weights.std() / math.sqrt(n))


def test_flow_broadcasts_particles_and_every_parameter_has_a_gradient() -> None:
    family, outputs = flow(), torch.randn(5, 10, dtype=torch.float64, requires_grad=True)
    q = family(outputs, (3,)).expand((4, 5))
    z = q.rsample()
    assert z.shape == (4, 5, 3)
    (q.log_prob(z) + z.square().sum(-1)).sum().backward()
    assert outputs.grad is not None
    assert (outputs.grad != 0).any(0).all()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in family.parameters())


def test_the_point_of_a_flow_is_the_image_of_its_bases_mean() -> None:
    family, outputs = flow(), torch.randn(5, 10, dtype=torch.float64)
    narrow = torch.cat([outputs[:, :3], torch.full((5, 3), -30.0), outputs[:, 6:]], -1)
    q = family(narrow, (3,))
    torch.testing.assert_close(q.sample(), family.point(q), rtol=0, atol=1e-4)


def test_flow_is_rebuilt_from_its_fields_and_follows_the_device() -> None:
    family = flow()
    again = InverseAutoregressiveFlow(family.latent, family.steps, family.context, list(family.hidden), family.floor)
    again.double().load_state_dict(family.state_dict())
    outputs = torch.randn(5, 10, dtype=torch.float64)
    assert torch.equal(family.point(family(outputs, (3,))), again.point(again(outputs, (3,))))
    with pyro.validation_enabled(False):
        assert copy.deepcopy(family).to("meta")(outputs.to("meta"), (3,)).rsample().device.type == "meta"


def test_the_density_is_in_float32_under_autocast() -> None:
    family = flow().float()
    with torch.autocast("cpu", torch.bfloat16):
        q = family(torch.randn(5, 10).bfloat16(), (3,))
        z = q.rsample()
        assert z.dtype == q.log_prob(z).dtype == torch.float32


@pytest.mark.parametrize("family", [FullNormal(), InverseAutoregressiveFlow(3)])
def test_refuses_latents_that_are_no_vector(family: Family) -> None:
    with pytest.raises(ValueError, match=r"is for latents of shape \(K,\), got \(2, 3\)"):
        family.size((2, 3))


def test_flow_refuses_invalid_arguments() -> None:
    for arguments, message in (
        ({"latent": 1}, "at least 2 latents"),
        ({"latent": 3, "steps": 0}, "needs a step"),
        ({"latent": 30, "hidden": (16,)}, r"hidden widths must be at least latent=30, got hidden=\(16,\)"),
        ({"latent": 3, "floor": 0.0}, "floor=0.0"),
    ):
        with pytest.raises(ValueError, match=message):
            InverseAutoregressiveFlow(**arguments)
    with pytest.raises(ValueError, match=r"InverseAutoregressiveFlow\(3\) over \(4,\) .*got \(5, 7\)"):
        InverseAutoregressiveFlow(3)(torch.zeros(5, 7), (4,))
    with pytest.raises(
        ValueError, match=r"VampPrior needs log q\(z \| u_c\) .* InverseAutoregressiveFlow computes it one latent"
    ):
        VampPrior((1, 4, 4), 5).check((3,), InverseAutoregressiveFlow(3))


def test_precision_weighted_is_the_normalized_product() -> None:
    p = DiagonalNormal()(torch.randn(5, 6, dtype=torch.float64), (3,))
    q = DiagonalNormal()(torch.randn(4, 5, 6, dtype=torch.float64), (3,))
    both, z = precision_weighted(p, q), torch.randn(2, 4, 5, 3, dtype=torch.float64)
    constant = both.log_prob(z) - p.log_prob(z) - q.log_prob(z)
    assert both.batch_shape == (4, 5)
    torch.testing.assert_close(constant[0], constant[1], rtol=0, atol=1e-9)
