"""Bayes' rule between stories: p(y | x) from p(x | y), and p(x | y) from p(y | x) and p(x)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyrogen.annotations import Count, Seed
from pyrogen.inference.likelihood.marginal_likelihood import LogLikelihood, log_likelihood
from pyrogen.inference.program.evaluation_context import evaluation_context
from pyrogen.inference.program.rng import seeded
from pyrogen.story import Story, as_story

NO_CLASS = -1
"""Label of data that are like no class."""


@dataclass(frozen=True)
class Classification:
    """The class of each datum.

    Args:
        label: (N,) int64, the most probable class; -1 for an outlier, which is like none of them.
        log_prob: (N, C) log p(y | x), of each class.
        log_evidence: (N,) log p(x) = log sum_y p(x | y) p(y), in nats.
        error: (N,) its Monte Carlo standard error.
        p_value: (N,) how often a datum of the reference is as unusual, in either direction; None, the default, without
            a reference.
    """

    label: Tensor
    log_prob: Tensor
    log_evidence: Tensor
    error: Tensor
    p_value: Tensor | None = None


def classify(
    story: Any,
    data: Any,
    *,
    classes: int | None = None,
    prior: Tensor | None = None,
    reference: Any = None,
    false_alarm: float = 0.01,
    num_samples: Count = 100,
    seed: Seed | None = None,
) -> Classification:
    r"""The class of each datum by Bayes' rule from any conditional story: $p(y|x) = p(x|y) p(y) / \sum_y p(x|y) p(y)$.

    Each p(x | y) is exact where the story's is, else importance-weighted, in bounded memory. With a reference, outliers
    get the label -1: data whose log p(x) is too small, or too large (Nalisnick et al. 2019), compared with the
    reference. A datum from the distribution of the reference is labelled so with probability `false_alarm` at most,
    whatever the size of the reference, if the story was not trained on it; approximately if it was.

    Raises a ValueError where the number of classes is not known, the prior is no distribution of them, the story has no
    column `y` or no density, or the reference is too small for the rate.

    Args:
        story: a `Fit`, a story, or a pair of Pyro functions, that conditions on a label: a column `y`, int64.
        data: N rows, as columns that `fit` takes; a column `y` is ignored.
        classes: number of classes C; None, the default, for the story's own attribute `classes`.
        prior: (C,) p(y), up to a factor; None, the default, is uniform.
        reference: data of the classes, such as validation data, or the `Classification` of such; None by default.
        false_alarm: the rate at which data like the reference may be labelled -1; 0.01 by default.
        num_samples: draws for each p(x | y), 100 by default.
        seed: of the draws; None, the default, continues torch's own generator.

    Returns:
        Labels, class probabilities and log p(x) of each datum.

    Example:
        >>> from pyrogen.models import ConditionalVAE
        >>> story = ConditionalVAE(4, latent=1, classes=3, hidden=(8,))
        >>> classify(story, torch.ones(5, 4), num_samples=10).log_prob.shape
        torch.Size([5, 3])

    References:
        Ng, Jordan 2001, "On discriminative vs. generative classifiers", NIPS 14; Nalisnick et al. 2019,
        arXiv:1810.09136; Vovk, Gammerman, Shafer 2005, "Algorithmic learning in a random world" (the p-values).
    """
    if reference is not None and not isinstance(reference, Classification):
        reference = classify(story, reference, classes=classes, prior=prior, num_samples=num_samples, seed=seed)
    log_prior = _log_prior(story, classes, prior)
    columns = _without_label(story, data)
    rows = len(next(iter(columns.values())))
    with seeded(seed) if seed is not None else nullcontext():
        labels = [torch.full((rows,), each) for each in range(len(log_prior))]
        by_class = [log_likelihood(story, {**columns, "y": y}, num_samples) for y in labels]
    joint = torch.stack([each.value.detach().double() for each in by_class], 1) + log_prior
    evidence = joint.logsumexp(1)
    log_prob = joint - evidence[:, None]
    errors = torch.stack([each.error.detach().double() for each in by_class], 1)
    error = (errors * log_prob.exp()).square().sum(1).sqrt()
    label = log_prob.argmax(1)
    if reference is None:
        return Classification(label, log_prob, evidence, error)
    p_value = _p_value(evidence, reference.log_evidence, false_alarm)
    return Classification(label.masked_fill(p_value <= false_alarm, NO_CLASS), log_prob, evidence, error, p_value)


def conditional_likelihood(
    classifier: Any,
    story: Any,
    data: Any,
    *,
    reference: Any = None,
    num_samples: Count = 1000,
    seed: Seed | None = None,
) -> LogLikelihood:
    r"""A conditional density from two separately trained stories: $p(x|y) = p(y|x) p(x) / p(y)$.

    p(y) is the mean of p(y | x) over draws of the story, with which p(x | y) integrates to 1; or over a reference,
    which is the same only if the story's p(x) is the distribution of the reference.

    Args:
        classifier: p(y | x): a `Fit`, or anything with `log_prob(y, x=...)` that returns (N,) nats.
        story: p(x): a `Fit`, a story, or a pair of Pyro functions, with a density.
        data: N rows of columns `x` and `y`.
        reference: data in place of the story's draws: columns with an `x`, or that alone; None by default.
        num_samples: draws of the story for p(y), and draws for each p(x); 1000 by default.
        seed: of the draws; None, the default, continues torch's own generator.

    Returns:
        The log-likelihood of each datum, log p(x | y), with its error from those of p(x) and p(y). Its ELBO is nan.

    Raises:
        ValueError: there is no column `x` or `y`.

    Example:
        >>> from pyrogen.models import PPCA
        >>> class Sign:
        ...     def log_prob(self, y, x):
        ...         return torch.nn.functional.logsigmoid(torch.where(y == 1, 1.0, -1.0) * x[:, 0])
        >>> x, y = torch.randn(50, 3), torch.ones(50, dtype=torch.int64)
        >>> conditional_likelihood(Sign(), PPCA(3, latent=1), {"x": x, "y": y}).value.shape
        torch.Size([50])
    """
    if not isinstance(data, Mapping) or {"x", "y"} - data.keys():
        raise ValueError("conditional_likelihood takes columns 'x' and 'y': pass data={'x': ..., 'y': ...}")
    y = torch.as_tensor(data["y"])
    of_x = log_likelihood(story, {"x": data["x"]}, num_samples, seed=seed)
    if reference is None:
        with evaluation_context(story, seed) as context:
            reference = context.story.sample(num_samples)
    others = torch.as_tensor(reference["x"] if isinstance(reference, Mapping) else reference)
    log_marginal, error = torch.zeros(len(y), dtype=torch.float64), torch.zeros(len(y), dtype=torch.float64)
    for label in y.unique(dim=0):
        same = (y == label).flatten(1).all(1) if y.dim() > 1 else y == label
        probs = _label_log_prob(classifier, others, label.expand(len(others), *label.shape)).exp()
        log_marginal[same] = probs.mean().log()
        error[same] = probs.std() / probs.mean() / math.sqrt(len(probs))
    value = _label_log_prob(classifier, torch.as_tensor(data["x"]), y) + of_x.value.detach().double() - log_marginal
    missing = torch.full_like(value, math.nan)
    error = (of_x.error.detach().double().square() + error.square()).sqrt()
    return LogLikelihood(value, error, missing, missing, of_x.k, of_x.kind)


def _label_log_prob(classifier: Any, x: Tensor, y: Tensor) -> Tensor:
    """log p(y | x), (N,)."""
    inner = getattr(classifier, "story", classifier)
    if not isinstance(inner, Story):
        return torch.as_tensor(inner.log_prob(y=y, x=x)).detach().cpu().double()
    with evaluation_context(inner):
        return inner.log_prob(y=y.to(inner.device), x=x.to(inner.device)).cpu().double()


def _log_prior(story: Any, classes: int | None, prior: Tensor | None) -> Tensor:
    """log p(y), (C,)."""
    classes = classes if classes is not None else getattr(getattr(story, "story", story), "classes", None)
    if classes is None and prior is None:
        raise ValueError("the number of classes is not known: pass classes=, or a prior over them")
    weights = torch.ones(classes or 0) if prior is None else torch.as_tensor(prior).detach().cpu()
    if weights.shape != (classes or len(weights),) or not bool((weights >= 0).all()) or not float(weights.sum()) > 0:
        raise ValueError(
            f"prior must hold a weight of at least 0 for each of the {classes} classes, got {weights.tolist()}"
        )
    return (weights.double() / weights.double().sum()).log()


def _without_label(story: Any, data: Any) -> dict[str, Any]:
    """The columns by name, but for the label."""
    model = as_story(getattr(story, "story", story)).signatures()[0]
    if "y" not in model.columns:
        raise ValueError(
            f"{model.owner} has no argument 'y' (its columns: {', '.join(model.columns)}): Bayes' rule needs a story "
            "of p(x | y)"
        )
    if isinstance(data, Mapping):
        return {str(name): column for name, column in data.items() if name != "y"}
    return {next(name for name in model.columns if name != "y"): data}


def _p_value(evidence: Tensor, reference: Tensor, false_alarm: float) -> Tensor:
    """Twice the smaller share of the reference, the datum counted in, that is at most, or at least, as likely."""
    if not 0 < false_alarm < 1 or len(reference) + 1 < 2 / false_alarm:
        raise ValueError(
            f"false_alarm must be between {2 / (len(reference) + 1):.2g} and 1 for a reference of {len(reference)} "
            f"data, got {false_alarm}: raise it, or pass more reference data"
        )
    ranked = reference.sort().values
    below = torch.searchsorted(ranked, evidence, right=True)
    above = len(ranked) - torch.searchsorted(ranked, evidence)
    return (2 * (1 + torch.minimum(below, above)) / (len(ranked) + 1)).clamp(max=1)
