"""The conditional variational autoencoder with partly missing labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn

from pyrogen.distributions import Bernoulli, DiagonalNormal, Family, Prior
from pyrogen.models.conditional_vae import ConditionalVAE
from pyrogen.nn import Dense, Label, Shape, flatten_batch


class SemiSupervisedVAE(ConditionalVAE):
    """y ~ Categorical(frequencies) where it is missing,  z ~ prior,  x | y, z ~ likelihood(decoder(z, y)).

    The guide is q(y | x) q(z | x, y) = Categorical(classifier(x)) posterior(encoder(x, y)); missing labels, -1, are
    summed over by enumeration:

    known y:   log p(x | y) >= L(x, y) = E_q(z | x, y) [log p(x | y, z) + log p(z) - log q(z | x, y)]
    missing:   log p(x)     >= sum_y q(y | x) (L(x, y) + log p(y) - log q(y | x))

    The frequencies p(y) are those of the known labels, with a count of one added to each class. Every likelihood is
    accordingly log p(x | y) for a datum with a label and log p(x) for one without. In training alone, (alpha N /
    N_known) log q(y | x) is added for each of the N_known labels, which trains the classifier.

    Args:
        event_shape: shape of one datum, such as (1, 28, 28).
        latent: number of latents, or their shape.
        classes: number of classes of y, int64 (n,) from 0 to classes - 1, or -1 where it is missing.
        likelihood: family of p(x | y, z); `Bernoulli()` by default.
        prior: p(z); `StandardNormal(latent)` by default.
        posterior: family of q(z | x, y); `DiagonalNormal()` by default.
        encoder: as `ConditionalVAE`'s.
        decoder: as `ConditionalVAE`'s.
        classifier: (batch, *event_shape) -> logits of q(y | x), (batch, classes); a dense network by default.
        hidden: widths of the dense encoder's and classifier's hidden layers, reversed in the dense decoder; (400,) by
            default.
        alpha: weight of the classification loss; 1 by default (0.1 in the paper); with 0, q(y | x) learns from
            data without labels alone.

    Raises:
        ValueError: the prior is for latents of another shape, or alpha is negative.

    Example:
        >>> story = SemiSupervisedVAE((1, 8, 8), latent=2, classes=10, hidden=(16,))
        >>> story.classify(torch.ones(3, 1, 8, 8)).probs.shape
        torch.Size([3, 10])

    References:
        Kingma, Rezende, Mohamed, Welling 2014, arXiv:1406.5298 (M2, equations 6 to 9).
    """

    def __init__(
        self,
        event_shape: Shape,
        latent: Shape,
        classes: int,
        *,
        likelihood: Family = Bernoulli(),  # noqa: B008 (frozen)
        prior: Prior | None = None,
        posterior: Family = DiagonalNormal(),  # noqa: B008 (frozen)
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
        classifier: nn.Module | None = None,
        hidden: Sequence[int] = (400,),
        alpha: float = 1.0,
    ) -> None:
        parts = {"likelihood": likelihood, "prior": prior, "posterior": posterior, "encoder": encoder}
        super().__init__(event_shape, latent, classes, decoder=decoder, hidden=hidden, **parts)  # type: ignore[arg-type]
        if not alpha >= 0:
            raise ValueError(f"SemiSupervisedVAE needs alpha of at least 0, got alpha={alpha!r}")
        self.label, self.alpha = Label(classes, missing=True), alpha
        self.classifier = Dense(self.event_shape, classes, hidden) if classifier is None else classifier
        self.frequencies = nn.Buffer(torch.full((classes,), 1 / classes))
        self.label_weight = nn.Buffer(torch.tensor(float(alpha)))

    def model(self, x: Tensor | None, y: Tensor | None, n: int) -> Tensor:
        """p(y) p(z) p(x | y, z), without p(y) where y is known.

        Args:
            x: data to observe, (n, *event_shape), or None to draw them.
            y: labels, (n,) int64, -1 where they are missing, or None to draw them all.
            n: number of rows.

        Returns:
            x, drawn or observed, (n, *event_shape).
        """
        with pyro.plate("data", n, dim=-1):
            y = self._fill_missing(y, dist.Categorical(self.frequencies))
            z = pyro.sample("z", self.prior(self._encode_without_label))
            return pyro.sample("x", self.decode(z, y), obs=x)

    def guide(self, x: Tensor, y: Tensor, n: int) -> None:
        """q(y | x) q(z | x, y), without q(y | x) where y is known.

        Args:
            x: data, (n, *event_shape).
            y: labels, (n,) int64, -1 where they are missing.
            n: number of rows.
        """
        with pyro.plate("data", n, dim=-1):
            q = self.classify(x)
            if self.training and self.alpha:
                log_prob = self.label_weight * q.log_prob(y.clamp(min=0))
                pyro.factor("classification", -torch.where(y >= 0, log_prob, 0.0), has_rsample=True)
            y = self._fill_missing(y, q, {"enumerate": "parallel"})
            pyro.sample("z", self.encode(x, y))

    def classify(self, x: Tensor) -> dist.Categorical:
        """q(y | x).

        Args:
            x: data, (..., *event_shape).

        Returns:
            Batch shape (...), event shape ().
        """
        return dist.Categorical(logits=flatten_batch(self.classifier, x, self.event_shape))

    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Set p(y) from the known labels, and initialize likelihood, posterior and prior from the training data.

        Args:
            data: the training columns, `x` (N, *event_shape) and `y` (N,).

        Raises:
            ValueError: no label is known.
        """
        super().prepare(data)
        known = data["y"][data["y"] >= 0]
        if not len(known):
            raise ValueError(
                f"{self.name} needs known labels, and all {len(data['y'])} in column 'y' are missing (-1): add some"
            )
        counts = known.bincount(minlength=len(self.frequencies)) + 1
        self.frequencies.copy_(counts / counts.sum())
        self.label_weight.fill_(self.alpha * len(data["y"]) / len(known))

    def transfer(self, x: Tensor, y: Any, to: Any) -> Tensor:
        """Each datum with another label and the same z, as `ConditionalVAE.transfer`.

        Args:
            x: data, (n, *event_shape).
            y: their labels, one for each or one for all; -1 stands for the most probable one under q(y | x).
            to: the labels to give them, one for each or one for all; -1 as in y.

        Returns:
            (n, *event_shape).
        """
        with self.predicting():
            likeliest = self.classify(x.to(self.device)).logits.argmax(-1)
        labels = [self.label.checked(self.name, label, len(x)).to(self.device) for label in (y, to)]
        return super().transfer(x, *(torch.where(label < 0, likeliest, label) for label in labels))

    def _fill_missing(self, y: Tensor | None, missing: Any, infer: Any = None) -> Tensor:
        """The labels `y`, with those drawn that are missing; all are drawn where y is None."""
        if y is None:
            return pyro.sample("y", missing)
        is_missing: Any = y < 0
        with poutine.mask(mask=is_missing):
            drawn = pyro.sample("y_missing", missing, infer=infer)
        return torch.where(is_missing, drawn, y)
