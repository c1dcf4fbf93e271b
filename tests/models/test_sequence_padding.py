"""What stands behind the end of a sequence changes no figure: not its size, not where it is no value of the family."""

import pytest
import torch

from pyrogen import fit
from pyrogen.autoregressive import LanguageModel
from pyrogen.distributions import Bernoulli, Gaussian, SharedScaleGaussian, VampPrior
from pyrogen.inference import codes, log_weights
from pyrogen.models import SequenceAutoencoder, SequenceVAE

LENGTH = torch.arange(40) % 6
"""Of up to five elements, or of none."""

FLOATS = {"width": 8}
TEXT = {"symbols": 3, "width": 8}
STORIES = {
    "recurrent": (lambda: SequenceVAE((5, 2), 2, **FLOATS), 9.97e36),  # what NetCDF fills with
    "transformer": (lambda: SequenceVAE((5, 2), 2, network="transformer", **FLOATS), 9.97e36),
    "hidden": (lambda: SequenceVAE((5, 2), 2, word_keep_prob=0.5, **FLOATS), 1e20),
    "shared-scale": (lambda: SequenceVAE((5, 2), 2, likelihood=SharedScaleGaussian(), **FLOATS), 1e3),
    "vamp": (lambda: SequenceVAE((5, 2), 2, prior=VampPrior((5, 2), 3), **FLOATS), 1e3),
    "binary": (lambda: SequenceVAE((5, 2), 2, likelihood=Bernoulli(), **FLOATS), -1.0),
    "point": (lambda: SequenceAutoencoder((5, 2), 2, **FLOATS), 1e20),
    "text": (lambda: SequenceVAE(5, 2, **TEXT), -1),
    "text-transformer": (lambda: SequenceVAE(5, 2, network="transformer", **TEXT), -1),
    "text-point": (lambda: SequenceAutoencoder(5, 2, **TEXT), -1),
    "language": (lambda: LanguageModel(5, 3, width=8, layers=1), -1),
}


def padded(story, value):
    """Data for the story, with this value behind their ends."""
    generator = torch.Generator().manual_seed(0)
    if story.likelihood.integer:
        x = torch.randint(3, (40, 5), generator=generator)
    else:
        x = torch.randn(40, 5, 2, generator=generator)
        x = (x > 0).float() if isinstance(story.likelihood, Bernoulli) else x
    there = (torch.arange(5) < LENGTH[:, None]).reshape(40, 5, *[1] * (x.dim() - 2))
    return {"x": torch.where(there, x, value), "length": LENGTH}


def figures(name, value):
    """All that training and asking tell."""
    torch.manual_seed(0)
    story = STORIES[name][0]()
    data = padded(story, value)
    run = fit(story, data, steps=3, progress=False)
    told = [torch.tensor([record["train_elbo"] for record in run.history])]
    if isinstance(story, LanguageModel):
        return [*told, run.story.log_prob(**data).detach()]
    told.append(codes(run, data))
    return told if "density" in story.unsupported else [*told, log_weights(run, data, 3, seed=0)]


@pytest.mark.parametrize("name", STORIES)
def test_padding_changes_no_figure(name):
    for one, other in zip(figures(name, 0), figures(name, STORIES[name][1]), strict=True):
        assert bool(one.isfinite().all())
        assert torch.equal(one, other)


def test_components_start_from_what_is_no_padding():
    for fill in (0.0, 1e3):
        story = SequenceVAE((5, 2), 2, likelihood=SharedScaleGaussian(), prior=VampPrior((5, 2), 3), **FLOATS)
        data = padded(story, fill)
        story.prepare(data)
        there = torch.arange(5) < LENGTH[:, None]
        torch.testing.assert_close(story.likelihood.raw_scale.exp(), data["x"][there].std(correction=0))
        series = padded(story, 0.0)["x"]
        assert all(bool((series == each).flatten(1).all(1).any()) for each in story.prior.inputs)


def test_padding_reaches_no_gradient_of_a_decoders_distribution():
    story = SequenceVAE((5, 2), 2, **FLOATS)
    data = padded(story, 1e20)
    score = story.decode(torch.zeros(40, 2), LENGTH).log_prob(data["x"])
    assert torch.equal(score[LENGTH == 0], torch.zeros(int((LENGTH == 0).sum())))
    score.sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in story.decoder.parameters())


def test_values_that_are_no_padding_are_still_refused():
    x = torch.full((40, 5, 2), -1.0)
    with pytest.raises(ValueError, match=r"other values \(first: -1"):
        fit(SequenceVAE((5, 2), 2, likelihood=Bernoulli()), {"x": x, "length": LENGTH}, steps=1)
    with pytest.raises(ValueError, match="symbols are whole numbers from 0 to 2"):
        fit(LanguageModel(5, 3), {"x": torch.full((40, 5), -1), "length": LENGTH}, steps=1)
    with pytest.raises(ValueError, match="NaN or infinite values in 40 of 40 rows"):
        fit(SequenceVAE((5, 2), 2, likelihood=Gaussian()), {"x": x.log(), "length": LENGTH}, steps=1)


def test_lengths_of_a_language_model_are_held_against_its_places():
    story = LanguageModel(5, 3, width=8, layers=1)
    for length in (9, 2.5, torch.tensor([-1, 2])):
        with pytest.raises(ValueError, match="LanguageModel takes a column 'length' of whole numbers from 0 to 5"):
            story.sample(2, length=length)
    with pytest.raises(ValueError, match="a length is a whole number of elements from 0 to 5, int64; got int64 from 6"):
        story.log_prob(torch.zeros(2, 5, dtype=torch.int64), torch.tensor([6, 7]))
