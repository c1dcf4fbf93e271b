"""Autoregressive models: normalized, drawn as they are scored, completed, and given labels."""

import itertools

import pytest
import torch

from pyrogen.autoregressive import AutoregressiveModel, ConditionalAutoregressiveModel
from pyrogen.distributions import Bernoulli, DiscretizedCategorical, DiscretizedLogistic, LogisticMixture
from pyrogen.nn import GatedPixelCNN, MaskedDense, PixelCNN, PixelCNNPlusPlus, PixelRNN, PixelTransformer
from tests.helpers.statistics import assert_frequencies

NETWORKS = {
    "made": lambda event, **options: MaskedDense(event, hidden=(40,), **options),
    "pixelcnn": lambda event, **options: PixelCNN(event, width=6, blocks=2, kernel=3, **options),
    "gated": lambda event, **options: GatedPixelCNN(event, width=6, blocks=2, **options),
    "pixelcnn++": lambda event, **options: PixelCNNPlusPlus(event, width=4, blocks=1, sizes=2, **options),
    "row LSTM": lambda event, **options: PixelRNN(event, width=6, layers=1, **options),
    "diagonal LSTM": lambda event, **options: PixelRNN(event, width=6, layers=1, kind="diagonal", **options),
    "transformer": lambda event, **options: PixelTransformer(event, width=8, heads=2, layers=1, **options),
}


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


def model(name, event, likelihood=None, **options):
    """A model whose parameters are far from where they start, so that elements depend on each other."""
    torch.manual_seed(0)
    likelihood = Bernoulli() if likelihood is None else likelihood
    unit = event[:1] if name == "pixelcnn++" else ()
    network = NETWORKS[name](event, outputs=max(1, torch.Size(likelihood.size(unit)).numel()), **options)
    for parameter in network.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    if "context" in options:
        return ConditionalAutoregressiveModel(event, network, options["context"], likelihood=likelihood)
    return AutoregressiveModel(event, network, likelihood)


def every(levels, event):
    """Every image of so many grey levels."""
    count = torch.Size(event).numel()
    numbers = torch.tensor(list(itertools.product(range(levels), repeat=count)))
    return (numbers / (levels - 1)).reshape(-1, *event)


@pytest.mark.parametrize("name", NETWORKS)
def test_probabilities_of_all_binary_images_sum_to_one(name):
    x = every(2, (1, 3, 3))
    assert len(x) == 2**9
    probability = model(name, (1, 3, 3)).log_prob(x).double().exp()
    assert float(probability.sum()) == pytest.approx(1, abs=1e-5)
    assert float(probability.max() / probability.min()) > 2  # and they are not all alike


@pytest.mark.parametrize(
    "likelihood", [DiscretizedCategorical(4), DiscretizedLogistic(4)], ids=["categorical", "logistic"]
)
@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "pixelcnn++"])
def test_probabilities_of_all_grey_images_sum_to_one(name, likelihood):
    options = {"levels": 4} if name == "transformer" else {}
    x = every(4, (1, 2, 2))
    assert len(x) == 4**4
    total = model(name, (1, 2, 2), likelihood, **options).log_prob(x).double().exp().sum()
    assert float(total) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("event", "levels"), [((1, 2, 2), 4), ((3, 1, 2), 3), ((2, 2, 1), 4)])
def test_probabilities_under_a_mixture_of_logistics_sum_to_one(event, levels):
    total = model("pixelcnn++", event, LogisticMixture(3, levels)).log_prob(every(levels, event)).double().exp().sum()
    assert float(total) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["pixelcnn", "gated", "row LSTM", "diagonal LSTM", "transformer"])
def test_probabilities_of_all_colour_images_sum_to_one(name):
    options = {"levels": 3} if name == "transformer" else {}
    total = (
        model(name, (3, 1, 2), DiscretizedCategorical(3), **options).log_prob(every(3, (3, 1, 2))).double().exp().sum()
    )
    assert float(total) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_frequencies_of_draws_are_the_probabilities(name, seed):
    story, possible = model(name, (1, 2, 3)), every(2, (1, 2, 3))
    torch.manual_seed(seed)
    drawn = story.sample(20_000).flatten(1)
    counts = (drawn[:, None] == possible.flatten(1)).all(-1).sum(0)
    assert_frequencies(counts, story.log_prob(possible).double().exp())


def test_frequencies_of_colours_are_the_probabilities(seed):
    story, possible = model("pixelcnn++", (2, 1, 2), LogisticMixture(2, 3)), every(3, (2, 1, 2))
    torch.manual_seed(seed)
    drawn = (2 * story.sample(20_000).flatten(1)).round()
    counts = (drawn[:, None] == (2 * possible.flatten(1)).round()).all(-1).sum(0)
    assert_frequencies(counts, story.log_prob(possible).double().exp())


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "made"])
def test_draws_are_the_same_with_incremental_evaluation_and_with_whole_passes(name, seed, monkeypatch):
    story = model(name, (2, 3, 3), context=3)
    draws = []
    for _ in range(2):
        torch.manual_seed(seed)
        draws.append(story.sample(20, y=1))
        monkeypatch.setattr(type(story.network), "steps", None)
    assert torch.equal(*draws)
    assert draws[0].unique(dim=0).shape[0] > 1


@pytest.mark.parametrize("name", NETWORKS)
def test_a_completion_begins_with_the_given_part_and_follows_the_conditional(name, seed):
    story, possible = model(name, (1, 2, 2)), every(2, (1, 2, 2))
    torch.manual_seed(seed)
    top = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2)
    drawn = story.complete(top.expand(20_000, 1, 1, 2))
    assert bool((drawn[:, :, :1] == top).all())
    rest = (possible[:, :, :1] == top).flatten(1).all(1)
    counts = (drawn.flatten(1)[:, None] == possible[rest].flatten(1)).all(-1).sum(0)
    assert_frequencies(counts, story.log_prob(possible[rest]).double().softmax(0))


def test_labels_change_the_probabilities_and_are_checked():
    story = model("gated", (1, 3, 3), context=3)
    x = every(2, (1, 3, 3))
    log_prob = torch.stack([story.log_prob(x, torch.full((len(x),), label)) for label in range(3)])
    assert torch.allclose(log_prob.double().exp().sum(1), torch.ones(3, dtype=torch.float64), atol=1e-5)
    assert float((log_prob[0] - log_prob[1]).abs().max()) > 0.1
    assert story.complete(x[:5, :, :1], y=2).shape == (5, 1, 3, 3)
    with pytest.raises(ValueError, match="none of 0 to 2"):
        story.sample(2, y=3)
    with pytest.raises(ValueError, match="build it with context=3"):
        ConditionalAutoregressiveModel((1, 3, 3), PixelCNN((1, 3, 3), width=4, context=2), 3)


def test_many_rows_are_scored_as_few_are():
    x = torch.randint(2, (9000, 1, 3, 3)).float()  # more elements than a chunk has
    y = torch.randint(3, (9000,))
    for story, columns in ((model("made", (1, 3, 3)), (x,)), (model("made", (1, 3, 3), context=3), (x, y))):
        parts = [story.log_prob(*(column[rows] for column in columns)) for rows in (slice(100), slice(100, None))]
        torch.testing.assert_close(story.log_prob(*columns), torch.cat(parts))


def test_events_that_are_no_images_are_completed_from_their_first_elements():
    story = AutoregressiveModel((5,), MaskedDense((5,), hidden=(8,)))
    x = torch.randint(2, (4, 5)).float()
    assert torch.equal(story.beginning(x, 0.4), x[:, :2])
    assert torch.equal(story.complete(x[:, :2])[:, :2], x[:, :2])
    with pytest.raises(ValueError, match=r"completes x of shape \(n, up to 5\), got \(4, 6\)"):
        story.complete(torch.zeros(4, 6))


def test_arguments_and_data_that_do_not_fit_are_refused():
    story = model("pixelcnn", (1, 3, 3))
    with pytest.raises(ValueError, match=r"completes x of shape \(n, 1, up to 3, 3\), got \(2, 1, 3, 2\)"):
        story.complete(torch.zeros(2, 1, 3, 2))
    with pytest.raises(ValueError, match="build it with outputs=4"):
        AutoregressiveModel((1, 3, 3), PixelCNN((1, 3, 3), width=4), DiscretizedCategorical(4))
    with pytest.raises(ValueError, match=r"channels of a pixel, \(channels,\)"):
        LogisticMixture().size((3, 4, 4))
    with pytest.raises(ValueError, match="the 4 grey levels"):
        model("pixelcnn", (1, 3, 3), DiscretizedCategorical(4)).check({"x": torch.full((2, 1, 3, 3), 0.5)})
