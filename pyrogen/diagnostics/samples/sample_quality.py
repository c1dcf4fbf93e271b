"""Quality of the samples of a story or generator, by metrics that need no density."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pyrogen.annotations import Count, Seed
from pyrogen.data import Columns
from pyrogen.diagnostics.core.estimates import Estimate, finite_or_none
from pyrogen.diagnostics.samples.features import Features, Pixels
from pyrogen.diagnostics.samples.frechet import frechet_distance
from pyrogen.diagnostics.samples.prdc import density_coverage, memorization, precision_recall
from pyrogen.diagnostics.samples.two_sample import classifier_two_sample, kernel_distance
from pyrogen.inference import evaluation_context
from pyrogen.inference.program.rng import seeded
from pyrogen.messages import refuse_masked

_BATCH_SIZE = 1000
"""Samples drawn at once."""


@dataclasses.dataclass(frozen=True)
class SampleQuality:
    """Metrics of samples and held-out data; they compare with those in equal features and of equal numbers alone.

    Args:
        features: the name of the features.
        num_samples: number of samples n.
        num_data: number of held-out data N.
        num_training: number of training data that memorization was sought in; 0 where there were none.
        seed: of samples, rows and classifier.
        frechet_distance: 0 is best, and not reached by finite samples; error by jackknife.
        kernel_distance: 0 is best, errors from independent blocks; may be negative.
        precision: share of samples in the support of the data.
        recall: share of data in the support of the samples.
        density: 1 expected of perfect samples, less of samples far from the data.
        coverage: share of data with a sample in their neighbourhood, 31/32 expected of perfect samples at n = N.
        two_sample_accuracy: of a classifier on held-out rows, 1/2 for perfect samples.
        two_sample_p_value: probability of at least this accuracy for perfect samples.
        memorization: chance that a sample is nearer to the training data than a held-out datum is, 1/2 for fresh draws;
            None, the default, where there were no training data.
        memorization_p_value: probability that fresh draws are as near; None by default as well.
    """

    features: str
    num_samples: int
    num_data: int
    num_training: int
    seed: int
    frechet_distance: Estimate
    kernel_distance: Estimate
    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate
    two_sample_accuracy: Estimate
    two_sample_p_value: float
    memorization: Estimate | None = None
    memorization_p_value: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The metrics as JSON holds them.

        Returns:
            All fields by name; the standard error of `precision` is `precision_error`, and so on. None for nan.
        """
        metrics: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Estimate):
                metrics[field.name] = finite_or_none(value.value)
                metrics[f"{field.name}_error"] = finite_or_none(value.error)
            else:
                metrics[field.name] = value
        return metrics

    def __str__(self) -> str:
        n, total = self.num_samples, self.num_data
        lines = [f"{n:,} samples against {total:,} held-out data in {self.features}, seed {self.seed}"]
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Estimate):
                p_value = getattr(self, f"{field.name.removesuffix('_accuracy')}_p_value", None)
                test = "" if p_value is None else f"  (p = {p_value:.2g})"
                lines.append(f"{field.name.replace('_', ' '):<20} {value}{test}")
        return "\n".join(lines)


def sample_quality(
    fitted: Any,
    data: Any,
    num_samples: Count | None = None,
    features: Features | None = None,
    *,
    seed: Seed = 0,
    training: Any = None,
) -> SampleQuality:
    """Draw samples and compare them with held-out data.

    A column that the model conditions on, such as a label, is given as it is in the held-out rows. At least 40 samples
    and data are needed; samples that are not finite, or of another shape than the data, are refused.

    Args:
        fitted: a `Fit`, a story, a pair of Pyro functions that stock SVI trained; or samples (n, ...) as they are.
        data: held-out columns, prepared as the samples are to be; column `x` is compared, or the only one.
        num_samples: number of samples n; None, the default: as many as there are data. Of more data, n random rows are
            compared.
        features: features to compare in; None, the default: raw values.
        seed: of samples, rows and classifier, 0 by default.
        training: the training columns, in which memorization is sought; None, the default: it is not.

    Returns:
        The metrics.

    Example:
        >>> from pyrogen.models import PPCA
        >>> quality = sample_quality(PPCA(3, latent=1), torch.randn(100, 3), training=torch.randn(200, 3))
        >>> quality.num_samples, quality.features, sorted(quality.to_dict())[:3]
        (100, 'raw values', ['coverage', 'coverage_error', 'density'])
    """
    features = Pixels() if features is None else features
    held_out = _columns(data, seed)
    name = _compared_column(held_out)
    samples = fitted if isinstance(fitted, Tensor) else draw_samples(fitted, held_out, num_samples, seed=seed)
    rows = torch.randperm(len(held_out[name]), generator=torch.Generator().manual_seed(seed))[: len(samples)]
    x = held_out[name][rows]
    _check_samples(samples, x)
    train_features = None if training is None else features(_columns(training, seed)[name])
    return _compare(features(samples), features(x), train_features, features.name, seed)


def draw_samples(fitted: Any, data: Any, num_samples: Count | None = None, *, seed: Seed = 0) -> Tensor:
    """Samples of the column that `sample_quality` compares, a thousand at a time.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns; those that the model conditions on are given as they are, row by row, from the first again where
            there are fewer rows than samples.
        num_samples: n; None, the default: as many as there are data.
        seed: of the draws, 0 by default; the caller's random state is kept.

    Returns:
        (n, *event shape), on the CPU.

    Example:
        >>> from pyrogen.models import PPCA
        >>> draw_samples(PPCA(3, latent=1), torch.randn(100, 3)).shape
        torch.Size([100, 3])
    """
    columns = _columns(data, seed)
    name = _compared_column(columns)
    n = len(columns[name]) if num_samples is None else num_samples
    with evaluation_context(fitted, seed) as context:
        story = context.story
        sites = story.training_spec.sites if story.training_spec is not None else ()
        accepts = story.signatures()[0].accepts
        conditions = {k: c.to(story.device) for k, c in columns.items() if k != name and k not in sites and accepts(k)}
        batches = []
        for rows in torch.arange(n).split(_BATCH_SIZE):
            drawn = story.sample(len(rows), **{k: c[(rows % len(c)).to(c.device)] for k, c in conditions.items()})
            batches.append((drawn[name] if isinstance(drawn, Mapping) else drawn).cpu())
    return torch.cat(batches)


def _compare(samples: Tensor, data: Tensor, training: Tensor | None, features: str, seed: int) -> SampleQuality:
    copies: tuple[Any, ...] = () if training is None else memorization(samples, data, training)
    return SampleQuality(
        features,
        len(samples),
        len(data),
        0 if training is None else len(training),
        seed,
        frechet_distance(samples, data),
        kernel_distance(samples, data),
        *precision_recall(samples, data),
        *density_coverage(samples, data),
        *classifier_two_sample(samples, data, seed=seed),
        *copies,
    )


def _columns(data: Any, seed: int) -> dict[str, Tensor]:
    """Data as named columns, after their transform."""
    if isinstance(data, Columns):
        with seeded(seed):
            data = data.batch()
    columns = data if isinstance(data, Mapping) else {"x": data}
    for key, column in columns.items():
        refuse_masked(f"column '{key}'", column)
    return {str(key): torch.as_tensor(column) for key, column in columns.items()}


def _compared_column(columns: Mapping[str, Tensor]) -> str:
    """The name of the column that samples are compared with."""
    if "x" not in columns and len(columns) != 1:
        raise ValueError(f"data: expected a column 'x' to compare, or a single column; got {', '.join(columns)}")
    return "x" if "x" in columns else next(iter(columns))


def _check_samples(samples: Tensor, data: Tensor) -> None:
    if samples.shape[1:] != data.shape[1:]:
        raise ValueError(
            f"a sample has shape {tuple(samples.shape[1:])}, a datum {tuple(data.shape[1:])}: pass data that are "
            "prepared as the story's training data"
        )
    if bad := int((~samples.isfinite()).reshape(len(samples), -1).any(1).sum()):
        raise ValueError(f"{bad} of {len(samples)} samples are not finite: the story draws NaN or infinite values")
