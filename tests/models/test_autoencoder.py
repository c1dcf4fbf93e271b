"""The autoencoder: squared error, PCA's subspace, penalties by hand, corruption in training alone."""

import math
from collections.abc import Callable

import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor

from pyrogen import fit
from pyrogen.data import load
from pyrogen.inference import adam, cosine, log_likelihood
from pyrogen.models import Autoencoder
from pyrogen.nn import ConvDecoder, ConvEncoder, GaussianNoise, MaskingNoise
from tests.helpers.statistics import assert_within

EVENT = (1, 4, 4)


def elbo(story: Autoencoder, x: Tensor) -> Tensor:
    return -Trace_ELBO().differentiable_loss(story.model, story.guide, x, len(x))


def test_elbo_is_half_the_squared_error_and_a_constant() -> None:
    story, x = Autoencoder(EVENT, 3, hidden=(8,)).double(), torch.randn(5, *EVENT, dtype=torch.float64)
    error = (x - story.decoder(story.encoder(x))).square().sum()
    by_hand = -error / 2 - 5 * 16 / 2 * math.log(2 * math.pi)
    torch.testing.assert_close(elbo(story, x), by_hand, rtol=0, atol=1e-9)
    torch.testing.assert_close(story.reconstruct(x), story.decode(story.encode(x).mean).detach())


def test_the_linear_one_spans_pcas_subspace() -> None:
    """What its decoder reaches, against the leading eigenvectors of the digits' covariance.

    Its encoder is free in directions in which the digits do not vary, such as pixels that are never set.
    """
    x = load("digits").train["x"]
    options = {"steps": 1000, "optimizer": adam(0.05), "schedule": cosine(1000), "precision": "float64"}
    story = fit(Autoencoder((1, 8, 8), 4, hidden=()), x, batch_size=len(x), compile=False, **options).story
    leading = torch.linalg.eigh(torch.cov(x.flatten(1).double().T)).eigenvectors[:, -4:]
    reached = torch.linalg.qr(story.decoder.layers[0].weight.detach()).Q
    cosine_of_largest = float(torch.linalg.svdvals(leading.T @ reached).min().clamp(max=1))
    assert math.degrees(math.acos(cosine_of_largest)) < 1


@pytest.mark.parametrize("shape", [(3,), (), (2, 2)])
def test_penalties_are_the_ones_by_hand(shape: tuple[int, ...]) -> None:
    """Of a linear encoder W: |W|^2 for every datum, estimated; sum |z|."""
    plain = Autoencoder(EVENT, shape, hidden=()).double()
    story = Autoencoder(EVENT, shape, hidden=(), sparse=0.5).double()
    story.load_state_dict(plain.state_dict())
    x = torch.randn(7, *EVENT, dtype=torch.float64)
    torch.testing.assert_close(elbo(plain, x) - elbo(story, x), 0.5 * plain.encode(x).mean.abs().sum())
    estimates = plain.contraction(x[:1].expand(20_000, *EVENT))
    exact = plain.encoder.layers[0].weight.square().sum()
    assert_within(estimates.mean(), exact, estimates.std() / math.sqrt(len(estimates)))


def test_contraction_of_a_bent_encoder_is_its_jacobians() -> None:
    story, x = Autoencoder(EVENT, 3, hidden=(8,)).double(), torch.randn(2, *EVENT, dtype=torch.float64)
    exact = [torch.autograd.functional.jacobian(story.encoder, row).square().sum() for row in x]
    estimates = story.contraction(x.expand(20_000, 2, *EVENT))
    assert_within(estimates.mean(0), torch.stack(exact), estimates.std(0) / math.sqrt(len(estimates)))


def test_contraction_teaches_the_encoder_alone_and_needs_no_gradients_around_it() -> None:
    story, x = Autoencoder(EVENT, 3, hidden=(8,), contractive=1.0), torch.randn(5, *EVENT)
    story.contraction(x).sum().backward()
    assert all(p.grad is not None for name, p in story.encoder.named_parameters() if name != "layers.2.bias")
    assert all(p.grad is None for p in story.decoder.parameters())
    with torch.no_grad():
        assert not story.contraction(x).requires_grad


@pytest.mark.parametrize("option", ["contractive", "sparse"])
def test_penalties_do_what_they_are_for(option: str) -> None:
    x = torch.randn(200, 2) @ torch.randn(2, 6)
    found = []
    for weight in (0.0, 0.3):
        torch.manual_seed(0)
        story = fit(Autoencoder(6, 2, hidden=(16,), **{option: weight}), x, epochs=30, optimizer=adam(0.01)).story
        penalized = story.contraction(x) if option == "contractive" else story.encode(x).mean
        found.append(float(penalized.detach().abs().sum()))
    assert found[1] < 0.8 * found[0]


@pytest.mark.parametrize("corruption", [MaskingNoise(0.5), GaussianNoise(0.5)])
def test_corruption_hides_x_from_the_encoder_in_training_alone(corruption: torch.nn.Module) -> None:
    story, x = Autoencoder(EVENT, 3, hidden=(8,), corruption=corruption), torch.rand(5, *EVENT) + 1
    assert elbo(story, x) != elbo(story, x)
    story.eval()
    assert elbo(story, x) == elbo(story, x)
    assert torch.equal(story.reconstruct(x), story.decode(story.encode(x).mean))


@pytest.mark.parametrize(
    "build",
    [
        lambda: Autoencoder(EVENT, (2, 2), hidden=(8,), sparse=0.1, contractive=0.1, corruption=MaskingNoise(0.3)),
        lambda: Autoencoder(EVENT, 3, encoder=ConvEncoder(EVENT, 3, (4,)), decoder=ConvDecoder(3, EVENT, (4,))),
    ],
    ids=["penalties", "convolutions"],
)
def test_particles_and_leading_dimensions_fold(build: Callable[[], Autoencoder]) -> None:
    story, x = build().eval(), torch.randn(6, *EVENT)
    torch.testing.assert_close(story.encode(x.reshape(2, 3, *EVENT)).mean.flatten(0, 1), story.encode(x).mean)
    particles = Trace_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1)
    assert particles.differentiable_loss(story.model, story.guide, x, 6).isfinite()


def test_declines_with_its_reasons_and_refuses_what_does_not_fit() -> None:
    story = Autoencoder(EVENT, 3)
    with pytest.raises(ValueError, match="Autoencoder has no sample: without a prior over codes"):
        story.sample(2)
    with pytest.raises(ValueError, match="Autoencoder has no density: squared error scores reconstructions"):
        log_likelihood(story, torch.zeros(2, *EVENT))
    with pytest.raises(ValueError, match=r"event_shape=\(16,\)"):
        story.check({"x": torch.zeros(5, 16)})
    for option in ("sparse", "contractive"):
        with pytest.raises(ValueError, match=f"needs a weight of at least 0, got {option}=-1"):
            Autoencoder(EVENT, 3, **{option: -1})
