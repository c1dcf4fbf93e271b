"""The VQ-VAE: its codebook is a mean and k-means' where it must be, its bound is one, and it says what it uses."""

import pytest
import torch
from pyro.infer import Trace_ELBO
from sklearn.cluster import KMeans
from torch import nn

from pyrogen import fit
from pyrogen.data import load
from pyrogen.distributions import Categorical, Gaussian
from pyrogen.inference import adam, log_likelihood
from pyrogen.models import VQVAE, vq_vae
from pyrogen.nn import CausalTransformer, GatedPixelCNN

EVENT = (1, 3, 3)


def points(centres, each=60, spread=0.4):
    generator = torch.Generator().manual_seed(1)
    return torch.cat([centre + spread * torch.randn(each, 2, generator=generator) for centre in centres])


def of_points(codes, **options):
    """x is its own encoding, and its code's vector the mean of p(x | z)."""
    same = {"encoder": nn.Unflatten(-1, (1, 2)), "decoder": nn.Flatten(-2)}
    return VQVAE(2, 1, codes, 2, likelihood=Gaussian(scale=1.0), prior="uniform", **same, **options)


def bits(rows=200):
    return (torch.rand(rows, *EVENT, generator=torch.Generator().manual_seed(2)) < 0.3).float()


class Frequencies(nn.Module):
    """The simplest prior: a frequency for each code in each place."""

    def __init__(self, codes, places):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(places, codes))

    def forward(self, x):
        return self.logits.expand(len(x), *self.logits.shape)


def learned(story, x, steps):
    """The codebook after so many averages over whole data; nothing else is to be learned here."""
    story.prepare({"x": x})
    for _ in range(steps):
        near = story.encodings(x)
        story.codebook.update(near, story.codebook.nearest(near))
    return story


def test_one_code_is_the_mean():
    x = points(torch.tensor([[0.0, 0.0], [3.0, 1.0]]))
    story = learned(of_points(1, decay=0.5), x, 40)
    assert torch.allclose(story.codebook.vectors[0], x.mean(0), atol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
def test_one_code_is_the_mean_in_every_precision(precision):
    x = points(torch.tensor([[3.0, 3.0]]), each=300)
    story = of_points(1, decay=0.5)
    story.decoder = nn.Sequential(nn.Flatten(-2), nn.Linear(2, 2))
    story = fit(story, {"x": x}, steps=25, batch_size=len(x), precision=precision).story
    assert torch.allclose(story.codebook.vectors[0].float(), x.mean(0), atol=1e-5)


def test_with_a_fixed_encoder_the_codebook_is_that_of_k_means():
    centres = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 4.0], [8.0, 2.0]])
    x = points(centres)
    torch.manual_seed(0)
    stories = [learned(of_points(5, decay=0.5), x, 60) for _ in range(10)]  # the best of ten starts, as k-means has
    errors = [float((x - story.codebook.vectors[story.codes(x)[:, 0]]).square().sum()) for story in stories]
    best = KMeans(5, n_init=10, random_state=0).fit(x.numpy())
    assert min(errors) == pytest.approx(best.inertia_, rel=1e-4)
    vectors = stories[errors.index(min(errors))].codebook.vectors
    nearest = torch.cdist(vectors, torch.from_numpy(best.cluster_centers_)).min(1).values
    assert float(nearest.max()) < 1e-3


def test_with_a_linear_encoder_held_fixed_the_codebook_is_as_good_as_that_of_k_means():
    """Of five runs of fit on digits the best is within 1 % of the inertia of scikit-learn's best of ten; starts are a
    quarter above it and more."""
    x, inertias = load("digits").train["x"], []
    for start in range(5):
        torch.manual_seed(0)
        told = {"likelihood": Gaussian(scale=1.0), "prior": "uniform", "hidden": (), "decay": 0.8}
        story = VQVAE((1, 8, 8), 1, codes=8, features=2, **told)
        with torch.no_grad():
            before = story.encodings(x)
        fit(story, {"x": x}, steps=50, batch_size=len(x), freeze="encoder", seed=start)
        with torch.no_grad():
            near = story.encodings(x)
        assert torch.equal(near, before)
        inertias.append(float((near - story.codebook(story.codebook.nearest(near))).square().sum()))
    best = KMeans(8, n_init=10, random_state=0).fit(near.flatten(1).numpy()).inertia_
    assert min(inertias) == pytest.approx(best, rel=0.01)
    assert max(inertias) < 1.2 * best


def test_fit_finds_what_k_means_finds():
    x = points(torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]]))
    torch.manual_seed(0)
    story = of_points(3, decay=0.9)
    story.prior = Frequencies(3, 1)
    fitted = fit(story, {"x": x}, steps=150, batch_size=len(x), optimizer=adam(0.1)).story
    best = KMeans(3, n_init=10, random_state=0).fit(x.numpy())
    gaps = torch.cdist(fitted.codebook.vectors, torch.from_numpy(best.cluster_centers_)).min(1).values
    assert float(gaps.max()) < 0.02
    # The prior over codes learns their frequencies.
    frequency = torch.bincount(fitted.codes(x)[:, 0], minlength=3) / len(x)
    assert torch.allclose(fitted.prior.logits.softmax(1)[0], frequency, atol=0.02)


def test_dead_codes_live_again():
    x = points(torch.tensor([[0.0, 0.0], [50.0, 0.0]]))
    story = of_points(4, decay=0.5)
    story.codebook.initialize(x[:1])  # all at one point of the first group
    story.codebook.vectors[1:] = 1e3
    for _ in range(30):
        near = story.encodings(x)
        story.codebook.update(near, story.codebook.nearest(near))
    assert story.usage(x).used == 4


@pytest.mark.parametrize("prior", ["transformer", "uniform"])
def test_the_elbo_bounds_the_exact_likelihood(prior):
    torch.manual_seed(0)
    story = fit(VQVAE(EVENT, 2, codes=3, features=2, hidden=(8,), prior=prior), {"x": bits()}, epochs=3).story
    x = bits(20)
    with torch.no_grad():
        codes = torch.cartesian_prod(*[torch.arange(3)] * 2)
        prior = story.code_prior().log_prob(codes)
        joint = prior + story.decode(story.codebook(codes)).log_prob(x[:, None])
    assert float(prior.exp().sum()) == pytest.approx(1, abs=1e-5)
    exact, bound = joint.logsumexp(1), log_likelihood(story, {"x": x}, 3)
    assert bool((bound.value <= exact + 1e-4).all())
    own = joint[torch.arange(20), (codes == story.codes(x)[:, None]).all(-1).long().argmax(1)]
    assert torch.allclose(bound.value.float(), own, atol=1e-4)


def test_the_prior_moves_nothing_but_itself_and_the_decoder_reaches_the_encoder():
    gradients = {}
    for prior in ("transformer", "uniform"):
        torch.manual_seed(0)
        story = VQVAE(EVENT, 2, codes=3, features=2, hidden=(8,), prior=prior)
        fit(story, {"x": bits()}, steps=1, optimizer=adam(1e-12), seed=1)
        torch.manual_seed(5)
        with story.param_store_scope():
            loss = Trace_ELBO().differentiable_loss(story.model, story.guide, bits(), 200)
        story.zero_grad()
        loss.backward()
        gradients[prior] = {name: p.grad.clone() for name, p in story.named_parameters() if "prior" not in name}
    assert float(gradients["uniform"]["encoder.layers.0.weight"].norm()) > 0
    for name, gradient in gradients["uniform"].items():
        assert torch.allclose(gradient, gradients["transformer"][name], atol=1e-4), name


def test_commitment_is_paid_in_training_alone():
    values = []
    for commitment in (0.0, 10.0):
        torch.manual_seed(0)
        story = VQVAE(EVENT, 2, codes=3, features=2, hidden=(8,), commitment=commitment)
        run = fit(story, {"x": bits()}, steps=1, optimizer=adam(1e-12), seed=1)
        values.append((run.history[0]["train_elbo"], float(log_likelihood(run, {"x": bits()}, 2).value.mean())))
    assert values[1][0] < values[0][0] - 0.01
    assert values[1][1] == pytest.approx(values[0][1], abs=1e-4)


def test_usage_tells_codes_and_perplexity():
    x = points(torch.tensor([[0.0, 0.0], [4.0, 0.0]]), spread=0.01)
    story = of_points(4)
    story.codebook.vectors[:] = torch.tensor([[0.0, 0.0], [4.0, 0.0], [9.0, 9.0], [-9.0, 9.0]])
    usage = story.usage(x)
    assert (usage.used, usage.codes) == (2, 4)
    assert usage.perplexity == pytest.approx(2.0)
    assert str(usage) == "2 of 4 codes used, perplexity 2.0"


def test_refusals():
    with pytest.raises(ValueError, match="prior is one of transformer, pixelcnn, uniform or a network, got 'normal'"):
        VQVAE(EVENT, 2, prior="normal")
    with pytest.raises(ValueError, match=r"prior='pixelcnn' needs a grid .* got grid=\(8,\): set grid="):
        VQVAE(EVENT, 8, prior="pixelcnn")
    with pytest.raises(ValueError, match=r"commitment of at least 0, got -1"):
        VQVAE(EVENT, 2, commitment=-1)
    with pytest.raises(ValueError, match=r"a code and a feature at least, 0 <= decay < 1 .* got codes=0"):
        VQVAE(EVENT, 2, codes=0)
    with pytest.raises(ValueError, match="event_shape"):
        fit(VQVAE(EVENT, 2), {"x": torch.zeros(5, 4)}, steps=1)


def test_any_network_serves_as_a_prior():
    prior = CausalTransformer(2, symbols=3, outputs=3, width=8, heads=2, layers=1)
    story = VQVAE(EVENT, 2, codes=3, features=2, hidden=(8,), prior=prior)
    assert story.sample(4).shape == (4, *EVENT)
    assert story.code_prior().support.check(torch.tensor([0, 2]))
    assert Categorical(3).size((2,)) == (6,)


@pytest.mark.parametrize(
    ("network", "places", "wrong", "remedy"),
    [
        (CausalTransformer, 2, {"symbols": 5, "outputs": 5}, "symbols=5: build it with symbols=3"),
        (CausalTransformer, 2, {"symbols": 2}, "symbols=2: build it with symbols=3"),
        (CausalTransformer, 2, {"outputs": 4}, "outputs=4: build it with outputs=3"),
        (CausalTransformer, 1, {}, "length=1: build it with length=2"),
        (GatedPixelCNN, (1, 2), {"outputs": 2}, "outputs=2: build it with outputs=3"),
    ],
)
def test_a_prior_for_other_codes_or_fewer_places_is_refused(network, places, wrong, remedy):
    prior = network(places, **{"symbols": 3, "outputs": 3, **wrong})
    who = rf"VQVAE has 3 codes in 2 positions, and its prior is a {network.__name__} with {remedy}"
    with pytest.raises(ValueError, match=who):
        VQVAE(EVENT, 2, codes=3, features=2, hidden=(8,), prior=prior)


def test_a_prior_for_more_places_serves():
    network = CausalTransformer(5, symbols=3, outputs=3, width=8, heads=2, layers=1)
    assert VQVAE(EVENT, 2, codes=3, features=2, hidden=(8,), prior=network).sample(2).shape == (2, *EVENT)


@pytest.mark.parametrize("freeze", ["codebook", "guide", ("encoder", "codebook")])
def test_a_frozen_codebook_stays_and_learns_again_when_it_is_not(freeze):
    torch.manual_seed(0)
    story = fit(VQVAE(EVENT, 2, codes=3, features=2, hidden=(8,)), {"x": bits()}, steps=2).story
    before = {name: value.clone() for name, value in story.codebook.state_dict().items()}
    first = story.decoder.layers[0].weight.detach().clone()
    fit(story, {"x": bits()}, steps=5, freeze=freeze)
    assert all(torch.equal(value, before[name]) for name, value in story.codebook.state_dict().items())
    assert not torch.equal(story.decoder.layers[0].weight, first)
    fit(story, {"x": bits()}, steps=1)
    assert not torch.equal(story.codebook.vectors, before["vectors"])


@pytest.mark.parametrize(("vectorized", "times"), [(False, 3), (True, 1)])
def test_particles_average_as_another_decay_would(vectorized, times):
    """Those that run one by one average several times, those that run at once see the same rows again."""
    vectors = []
    for decay, objective in ((0.5, Trace_ELBO(3, 1, vectorize_particles=vectorized)), (0.5**times, Trace_ELBO())):
        torch.manual_seed(0)
        story = VQVAE(EVENT, 2, codes=1, features=2, hidden=(8,), decay=decay, prior="uniform")
        fit(story, {"x": bits()}, steps=1, batch_size=200, objective=objective)
        vectors.append(story.codebook.vectors.clone())
    assert torch.allclose(*vectors, atol=1e-5)


def test_many_data_are_encoded_some_at_a_time(monkeypatch):
    story = VQVAE(EVENT, 2, codes=3, features=2, hidden=(8,))
    x = bits(20).reshape(4, 5, *EVENT)
    whole = story.codes(x), story.reconstruct(x), story.usage(x)
    seen = []
    story.encoder.register_forward_hook(lambda _module, given, _out: seen.append(len(given[0])))
    monkeypatch.setattr(vq_vae, "MAX_ELEMENTS", 64)  # seven data of nine numbers
    assert torch.equal(story.codes(x), whole[0])
    assert seen == [7, 7, 6]
    assert torch.allclose(story.reconstruct(x), whole[1], atol=1e-6)
    assert story.usage(x) == whole[2]
    assert (whole[0].shape, whole[1].shape) == ((4, 5, 2), (4, 5, *EVENT))
    assert story.codes(x[0, 0]).shape == (2,)
    with pytest.raises(ValueError, match=r"VQVAE takes tensors of shape \(\.\.\., 1, 3, 3\), got \(4, 9\)"):
        story.codes(torch.zeros(4, 9))


@pytest.mark.parametrize(
    ("codes", "perplexity", "constant", "words"),
    [
        ([[0, 1, 2, 3]] * 8, 1.0, 4, "each place has one code for all data"),  # pooled: perplexity 4
        ([[0, 1, 2, 3], [1, 1, 2, 3]] * 4, 1.25, 3, "3 of them have one code for all data"),
        ([[k % 4] * 4 for k in range(8)], 4.0, 0, "perplexity 4.0, mean over 4 places"),
    ],
)
def test_usage_is_counted_at_each_place(monkeypatch, codes, perplexity, constant, words):
    story = VQVAE(EVENT, 4, codes=4, features=2, hidden=(8,))
    monkeypatch.setattr(story, "codes", lambda x: torch.tensor(codes))
    usage = story.usage(bits()[:8])
    assert usage.perplexity == pytest.approx(perplexity)
    assert (usage.used, usage.constant, usage.places) == (4, constant, 4)
    assert words in str(usage)
