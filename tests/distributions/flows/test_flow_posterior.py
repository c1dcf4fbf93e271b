"""Flows as priors and posteriors, of the configurations that stories of data are made of."""

import json

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyrogen import fit
from pyrogen.distributions import (
    Affine,
    Autoregressive,
    BijectionConfig,
    Coupling,
    FlowPosterior,
    FlowPrior,
    Gaussian,
    InverseAutoregressiveFlow,
    MultiScale,
    NormalizingFlow,
    Spline,
    VampPrior,
)
from pyrogen.inference import adam
from pyrogen.inference.persistence.config import describe_story
from pyrogen.models import VAE, Flow
from tests.helpers.correlated_posterior import assert_tighter_than_meanfield

CONFIGS: dict[str, BijectionConfig] = {
    "coupling": Coupling(Spline(4), 2, (8,)),
    "autoregressive": Autoregressive(Affine(), 2, (8,)),
    "inverse_autoregressive": Autoregressive(Affine(), 2, (8,), inverse=True),
}


def perturb(module: torch.nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


@pytest.mark.parametrize("name", CONFIGS)
def test_one_config_is_a_story_a_prior_and_a_guide(name: str) -> None:
    """With the same weights the prior has the story's density; the guide transforms another base by the same map."""
    config = CONFIGS[name]
    prior, story = FlowPrior(3, config).double(), Flow(3, config).double()
    perturb(prior)
    story.flow.load_state_dict(prior.flow.state_dict())
    z = torch.randn(20, 3, dtype=torch.float64)
    torch.testing.assert_close(prior().log_prob(z), story.log_prob(z))
    guide = FlowPosterior(3, config, context=4).double()
    perturb(guide)
    outputs = torch.randn(20, 10, dtype=torch.float64)
    q = guide(outputs, (3,))
    mean, raw, context = outputs.split([3, 3, 4], -1)
    start = q.base_dist.sample()
    z, log_det = start, torch.zeros(20, dtype=torch.float64)
    for part in reversed(guide.flow.parts):
        z, more = part.to_data(z, context)
        log_det = log_det + more
    by_hand = dist.Normal(mean, 1e-6 + raw.exp()).log_prob(start).sum(-1) - log_det
    torch.testing.assert_close(q.log_prob(z), by_hand, rtol=0, atol=1e-8)
    assert torch.equal(guide.point(q), NormalizingFlow.forward(guide.flow, context, q.base_dist).transforms[0](mean))


@pytest.mark.parametrize("shape", [(2,), (2, 2, 2)])
def test_a_prior_accepts_latents_of_its_shape_alone(shape: tuple[int, ...]) -> None:
    prior = FlowPrior(shape, MultiScale(steps=1, width=4) if len(shape) == 3 else Coupling(steps=1))
    p = prior()
    assert p.batch_shape == ()
    assert p.sample((5,)).shape == (5, *shape)
    assert p.log_prob(p.sample((5,))).shape == (5,)
    prior.check(shape)
    with pytest.raises(ValueError, match=r"prior=FlowPrior\(.*\) is not for latents of shape \(7,\)"):
        prior.check((7,))


def test_a_prior_integrates_to_one_and_learns_what_the_posterior_puts_there() -> None:
    """Data of two far clusters: a VAE's flow prior becomes their mixture, and its ELBO beats the standard normal's."""
    x = torch.cat([torch.full((256, 1), -1.0), torch.full((256, 1), 1.0)]) * torch.ones(6) + 0.1 * torch.randn(512, 6)
    found = {}
    for name, prior in (("normal", None), ("flow", FlowPrior(2, Coupling(Spline(), 2, (16,))))):
        torch.manual_seed(1)
        story = VAE(6, 2, likelihood=Gaussian(scale=0.1), prior=prior, hidden=())
        run = fit(story, x, steps=300, batch_size=256, optimizer=adam(0.01), compile=False)
        found[name] = run.history[-1]["train_elbo"]
    assert found["flow"] > found["normal"] + 0.3
    ends = torch.arange(-9, 9, 0.03)
    with torch.no_grad():
        mass = prior().log_prob(torch.cartesian_prod(ends, ends)).exp().sum() * 0.03**2
    assert abs(mass - 1) < 2e-3


@pytest.mark.parametrize("name", ["coupling", "inverse_autoregressive"])
def test_a_flow_posterior_is_tighter_than_the_best_meanfield_one(name: str) -> None:
    """On pPCA's exact model with a strongly correlated posterior, whose best mean-field gap is known."""
    assert_tighter_than_meanfield(FlowPosterior(2, CONFIGS[name], context=4), rows=300, steps=400)


def test_a_sequential_log_prob_is_declared_and_refused_by_the_vamp_prior() -> None:
    assert [FlowPosterior(3, config).sequential_log_prob for config in CONFIGS.values()] == [
        False,
        False,
        True,
    ]
    VAE(6, 3, posterior=FlowPosterior(3, CONFIGS["coupling"]), prior=VampPrior(6, 4))
    with pytest.raises(ValueError, match="FlowPosterior computes it one latent at a time: use DiagonalNormal"):
        VAE(6, 3, posterior=FlowPosterior(3, CONFIGS["inverse_autoregressive"]), prior=VampPrior(6, 4))


def test_a_run_folder_describes_flows_by_their_fields() -> None:
    prior, posterior = FlowPrior(3, CONFIGS["coupling"]), FlowPosterior(3, [CONFIGS["inverse_autoregressive"]])
    described = json.dumps(describe_story(VAE(6, 3, prior=prior, posterior=posterior)))
    assert "opaque" not in described
    assert "pyrogen.distributions.Spline" in described


def test_invalid_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="FlowPosterior needs a positive floor, got floor=0"):
        FlowPosterior(3, floor=0)
    with pytest.raises(ValueError, match=r"FlowPosterior is for latents of shape \(K,\), got \(2, 2\)"):
        FlowPosterior(4).size((2, 2))
    with pytest.raises(ValueError, match=r"FlowPosterior\(3\) over \(3,\) .*got \(5, 7\)"):
        FlowPosterior(3)(torch.zeros(5, 7), (3,))
    with pytest.raises(ValueError, match=r"InverseAutoregressiveFlow\(3\) over \(3,\) .*got \(5, 7\)"):
        InverseAutoregressiveFlow(3)(torch.zeros(5, 7), (3,))


def test_a_density_is_freed_without_garbage_collection() -> None:
    """With the activations that its transforms cache, as soon as there is no reference to it."""
    import gc
    import weakref

    flow = NormalizingFlow(3, [Coupling(steps=2), Autoregressive(steps=2)])
    gc.collect()
    gc.disable()
    try:
        kept: list[weakref.ref[Tensor]] = []
        density = flow()
        loss = density.log_prob(torch.randn(5, 3)).sum()
        kept += [weakref.ref(t) for step in density.transforms for t in step._cached_x_y]
        loss.backward()
        del density, loss
        step = None
        assert [ref() for ref in kept] == [None] * len(kept)
    finally:
        gc.enable()
    assert step is None
