"""Chains of latents: one layer is the VAE, and linear-Gaussian chains have an exact marginal likelihood."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, kl_divergence

from pyrogen import fit
from pyrogen.distributions import Bernoulli, DiagonalNormal, FullNormal, Gaussian, StandardNormal, VampPrior
from pyrogen.inference import log_weights
from pyrogen.models import VAE, HierarchicalVAE, LadderVAE
from pyrogen.nn import ConvDecoder, ConvEncoder, Dense
from tests.helpers.statistics import assert_within

EVENT = (1, 4, 5)
BELOW, ABOVE = 0.6, 0.5
"""Scales of x given z_1 and of z_1 given z_2 in the linear chain."""

STORIES: dict[str, Callable[[], HierarchicalVAE]] = {
    "bottom_up": lambda: HierarchicalVAE(EVENT, (4, 3, 2), hidden=(16,)),
    "ladder": lambda: LadderVAE(EVENT, (4, 3, 2), hidden=(16,), features=8),
    "spatial": lambda: LadderVAE(EVENT, ((2, 3), 2), likelihood=Gaussian(), hidden=(16,), features=8),
    "conv": lambda: HierarchicalVAE(
        EVENT,
        (4, 2),
        encoders=(ConvEncoder(EVENT, 8, (4,)), Dense(4, 4)),
        decoders=(ConvDecoder(4, EVENT, (4,)), Dense(2, 8)),
    ),
    "vamp": lambda: LadderVAE(EVENT, (4, 2), prior=VampPrior(EVENT, 5), hidden=(16,), features=8),
}


@pytest.fixture(params=STORIES.values(), ids=STORIES)
def story(request: pytest.FixtureRequest) -> HierarchicalVAE:
    return request.param()


def binary(n: int, *shape: int) -> Tensor:
    return torch.bernoulli(torch.full((n, *(shape or EVENT)), 0.4))


def traces(story: HierarchicalVAE | VAE, x: Tensor) -> tuple[poutine.Trace, poutine.Trace]:
    guide = poutine.trace(story.guide).get_trace(x, len(x))
    model = poutine.trace(poutine.replay(story.model, trace=guide)).get_trace(x, len(x))
    guide.compute_log_prob()
    model.compute_log_prob()
    return model, guide


def set_linear(network: nn.Module, weight: Tensor, bias: Tensor) -> None:
    with torch.no_grad():
        network.layers[0].weight.copy_(weight)
        network.layers[0].bias.copy_(bias)


class Chain:
    """z_2 ~ N(0, I_2),  z_1 | z_2 ~ N(V z_2 + b, ABOVE^2 I_3),  x | z_1 ~ N(W z_1 + c, BELOW^2 I_6), exactly."""

    def __init__(self, orthogonal: bool = False) -> None:
        self.w, self.v = torch.randn(6, 3, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)
        if orthogonal:
            self.w = torch.linalg.qr(self.w).Q * torch.tensor([2.0, 1.0, 0.5])
        self.b, self.c = torch.randn(3, dtype=torch.float64), torch.randn(6, dtype=torch.float64)

    def marginal(self) -> MultivariateNormal:
        """p(x)."""
        z1 = self.prior_below()
        cov = self.w @ z1.covariance_matrix @ self.w.T + BELOW**2 * torch.eye(6).double()
        return MultivariateNormal(self.w @ z1.mean + self.c, cov)

    def prior_below(self) -> MultivariateNormal:
        """p(z_1)."""
        return MultivariateNormal(self.b, self.v @ self.v.T + ABOVE**2 * torch.eye(3).double())

    def posterior_below(self) -> tuple[Tensor, Tensor, Tensor]:
        """A, a and S of p(z_1 | x) = N(A x + a, S)."""
        return updated(self.prior_below(), self.w, self.c, BELOW)

    def posterior_above(self) -> tuple[Tensor, Tensor, Tensor]:
        """A, a and S of p(z_2 | z_1) = N(A z_1 + a, S)."""
        prior = MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
        return updated(prior, self.v, self.b, ABOVE)

    def joint_posterior(self, x: Tensor) -> MultivariateNormal:
        """p(z_1, z_2 | x)."""
        return chained(x, self.posterior_below(), self.posterior_above())


def updated(prior: MultivariateNormal, weight: Tensor, shift: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """A, a and S of p(z | x) = N(A x + a, S) for x ~ N(weight z + shift, scale^2 I)."""
    precision = torch.linalg.inv(prior.covariance_matrix)
    cov = torch.linalg.inv(precision + weight.T @ weight / scale**2)
    gain = cov @ weight.T / scale**2
    return gain, cov @ precision @ prior.mean - gain @ shift, cov


def chained(
    x: Tensor, below: tuple[Tensor, Tensor, Tensor], above: tuple[Tensor, Tensor, Tensor]
) -> MultivariateNormal:
    """N(z_1; A x + a, S) N(z_2; B z_1 + b, T) as one normal over (z_1, z_2)."""
    (a, shift, s), (b, lift, t) = below, above
    first = x @ a.T + shift
    mean = torch.cat([first, first @ b.T + lift], -1)
    cov = torch.cat([torch.cat([s, s @ b.T], 1), torch.cat([b @ s, b @ s @ b.T + t], 1)], 0)
    return MultivariateNormal(mean, cov)


def told(story: HierarchicalVAE, chain: Chain) -> HierarchicalVAE:
    """The story with the chain's own model."""
    story = story.double()
    set_linear(story.decoders[0], chain.w, chain.c)
    set_linear(story.decoders[1], chain.v, chain.b)
    return story


def families() -> dict[str, object]:
    return {"likelihood": Gaussian(scale=BELOW), "conditional": DiagonalNormal(scale=ABOVE), "hidden": ()}


def test_one_layer_is_the_vae() -> None:
    vae = VAE(EVENT, 3, hidden=(16,)).double()
    x = binary(7).double()
    for story in (
        HierarchicalVAE(EVENT, (3,), hidden=(16,)).double(),
        LadderVAE(EVENT, (3,), hidden=(16,), features=6),
    ):
        story = story.double()
        story.decoders[0].load_state_dict(vae.decoder.state_dict())
        story.encoders[0].load_state_dict(vae.encoder.state_dict())
        if isinstance(story, LadderVAE):
            set_linear(story.heads[0], torch.eye(6), torch.zeros(6))
        losses = []
        for each in (vae, story):
            torch.manual_seed(1)
            losses.append(Trace_ELBO(num_particles=3).differentiable_loss(each.model, each.guide, x, 7))
        torch.testing.assert_close(losses[1], losses[0], rtol=0, atol=1e-10)
        torch.testing.assert_close(story.encode(x).mean, vae.encode(x).mean)


def test_linear_chain_with_the_exact_guide_meets_the_marginal_likelihood() -> None:
    """Every log weight is log p(x): q(z_1 | x) q(z_2 | z_1) with full covariances can be the exact posterior."""
    chain = Chain()
    story = told(HierarchicalVAE(6, (3, 2), posterior=FullNormal(floor=1e-12), **families()), chain)
    for encoder, (gain, shift, cov) in zip(
        story.encoders, (chain.posterior_below(), chain.posterior_above()), strict=True
    ):
        factor, k = torch.linalg.cholesky(cov), len(cov)
        row, column = torch.tril_indices(k, k, -1)
        fixed = torch.cat([factor.diagonal().log(), factor[row, column]])
        set_linear(encoder, torch.cat([gain, torch.zeros(len(fixed), gain.shape[1])]), torch.cat([shift, fixed]))
    x = chain.marginal().sample((50,))
    weights = log_weights(story, {"x": x}, 3)
    torch.testing.assert_close(weights, chain.marginal().log_prob(x).expand(3, -1), rtol=0, atol=1e-9)


def test_linear_chain_with_a_meanfield_guide_is_below_by_its_divergence() -> None:
    """log p(x) - ELBO(x) is KL(q(z_1, z_2 | x) || p(z_1, z_2 | x)), in closed form between two normals."""
    chain, x = Chain(), torch.randn(4, 6, dtype=torch.float64)
    story = told(HierarchicalVAE(6, (3, 2), posterior=DiagonalNormal(scale=0.4), **families()), chain)
    below, above = ((e.layers[0].weight.detach(), e.layers[0].bias.detach()) for e in story.encoders)
    spread = [0.4**2 * torch.eye(k, dtype=torch.float64) for k in (3, 2)]
    q = chained(x, (*below, spread[0]), (*above, spread[1]))
    gap = kl_divergence(q, chain.joint_posterior(x))
    weights = log_weights(story, {"x": x}, 20_000)
    error = weights.std(0) / math.sqrt(len(weights))
    assert_within(weights.mean(0), chain.marginal().log_prob(x) - gap, error)


def test_ladder_on_a_chain_of_orthogonal_directions_is_exact() -> None:
    """Where what x says of z_1 has a diagonal precision, the product with p(z_1 | z_2) is the exact q(z_1 | z_2, x)."""
    chain = Chain(orthogonal=True)
    chain.v = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.7]], dtype=torch.float64)
    story = told(LadderVAE(6, (3, 2), posterior=DiagonalNormal(floor=1e-12), features=6, **families()), chain)
    for encoder in story.encoders:
        set_linear(encoder, torch.eye(6), torch.zeros(6))
    precision = (chain.w.T @ chain.w).diagonal() / BELOW**2
    gain = (chain.w / precision / BELOW**2).T
    said = (gain, -gain @ chain.c, (1 / precision).diag())
    gain, shift, cov = chain.posterior_below()
    lift, up, rest = chain.posterior_above()
    top = (lift @ gain, lift @ shift + up, lift @ cov @ lift.T + rest)
    for head, (matrix, offset, spread) in zip(story.heads, (said, top), strict=True):
        torch.testing.assert_close(spread, spread.diagonal().diag())
        scale = spread.diagonal().sqrt()
        raw = torch.where(scale < 1, scale.log(), scale - 1)  # what DiagonalNormal makes this scale of
        set_linear(head, torch.cat([matrix, torch.zeros_like(matrix)]), torch.cat([offset, raw]))
    x = chain.marginal().sample((50,))
    weights = log_weights(story, {"x": x}, 3)
    torch.testing.assert_close(weights, chain.marginal().log_prob(x).expand(3, -1), rtol=0, atol=1e-8)


def test_sites_are_a_chain_in_the_data_plate(story: HierarchicalVAE) -> None:
    x = binary(6)
    model, guide = traces(story, x)
    names = [f"z{t}" for t in range(1, story.num_layers + 1)]
    for name, shape in zip(["x", *names], story.shapes, strict=True):
        for site in [trace.nodes[name] for trace in (model, guide) if name in trace.nodes]:
            assert [(f.name, f.dim, f.size) for f in site["cond_indep_stack"]] == [("data", -1, 6)]
            assert site["fn"].event_shape == shape
            assert site["log_prob"].shape == (6,)
    assert story.sample(4).shape == (4, *EVENT)
    particles = Trace_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1)
    assert particles.differentiable_loss(story.model, story.guide, x, 6).isfinite()


def test_every_parameter_learns(story: HierarchicalVAE) -> None:
    before = {name: p.detach().clone() for name, p in story.named_parameters()}
    fit(story, binary(32), steps=3, compile=False)
    for name, parameter in story.named_parameters():
        assert not torch.equal(parameter, before[name]), name


def test_prepare_reaches_the_components() -> None:
    story, x = STORIES["vamp"](), binary(9)
    story.prepare({"x": x})
    assert all(any(torch.equal(u, row) for row in x) for u in story.prior.inputs)


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"^HierarchicalVAE needs at least one layer of latents, .*latents=\(32, 16\)"):
        HierarchicalVAE(EVENT, ())
    with pytest.raises(ValueError, match=r"^HierarchicalVAE has 2 layers of latents, got 1 encoders$"):
        HierarchicalVAE(EVENT, (3, 2), encoders=[Dense(EVENT, 6)])
    with pytest.raises(ValueError, match=r"^LadderVAE has 2 layers of latents, got 1 heads$"):
        LadderVAE(EVENT, (3, 2), heads=[Dense(200, 6)])
    with pytest.raises(ValueError, match=r"is not for latents of shape \(2,\)"):
        HierarchicalVAE(EVENT, (3, 2), prior=StandardNormal(3))
    story = HierarchicalVAE(EVENT, (3, 2))
    with pytest.raises(ValueError, match=r"^HierarchicalVAE takes .*got \(5, 20\)"):
        story.check({"x": torch.ones(5, 20)})
    with pytest.raises(ValueError, match=r"Bernoulli has support \{0, 1\}"):
        story.check({"x": torch.full((5, *EVENT), 0.5)})
    assert isinstance(story.likelihood, Bernoulli)
    assert len(list(itertools.pairwise(story.shapes))) == story.num_layers == 2
