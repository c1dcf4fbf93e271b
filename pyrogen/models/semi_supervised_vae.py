"""The conditional variational autoencoder where labels are partly missing."""

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

__all__ = ["SemiSupervisedVAE"]


class SemiSupervisedVAE(ConditionalVAE):
    """y ~ Categorical(frequencies) where it is missing,  z ~ prior,  x | y, z ~ likelihood(decoder(z, y)).

    The guide is q(y | x) q(z | x, y) = Categorical(classifier(x)) posterior(encoder(x, y)); missing labels, -1, are
    summed over by enumeration:

    known y:   log p(x | y) >= L(x, y) = E_q(z | x, y) [log p(x | y, z) + log p(z) - log q(z | x, y)]
    missing:   log p(x)     >= sum_y q(y | x) (L(x, y) + log p(y) - log q(y | x))

    The frequencies p(y) are those of the known labels, with one more of each class. Every likelihood is accordingly
    log p(x | y) for a datum with a label and log p(x) for one without. Training, and training alone, adds
    (alpha N / N_known) log q(y | x) for each of the N_known labels, which teaches the guide.

    Args:
        event_shape, latent, classes, likelihood, prior, posterior, encoder, decoder, hidden: as `ConditionalVAE`'s.
        classifier: (batch, *event_shape) -> (batch, classes), logits of q(y | x); None: dense.
        alpha: what known labels teach q(y | x) (0.1 in the paper); 0: nothing, it learns from data without labels.

    Raises:
        ValueError: see `ConditionalVAE`; alpha is negative; by `prepare`, no label is known.

    Example:
        >>> story = SemiSupervisedVAE((1, 8, 8), latent=2, classes=10, hidden=(16,))
        >>> story.guess(torch.ones(3, 1, 8, 8)).probs.shape
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
        self.frequencies: Tensor
        self.register_buffer("frequencies", torch.full((classes,), 1 / classes))
        self.taught: Tensor
        self.register_buffer("taught", torch.tensor(float(alpha)))

    def model(self, x: Tensor | None, y: Tensor | None, n: int) -> Tensor:
        """p(y) p(z) p(x | y, z), without p(y) where y is known."""
        with pyro.plate("data", n, dim=-1):
            y = self._completed(y, dist.Categorical(self.frequencies))
            z = pyro.sample("z", self.prior(self._encode_alone))
            return pyro.sample("x", self.decode(z, y), obs=x)

    def guide(self, x: Tensor, y: Tensor, n: int) -> None:
        """q(y | x) q(z | x, y), without q(y | x) where y is known."""
        with pyro.plate("data", n, dim=-1):
            q = self.guess(x)
            if self.training and self.alpha:
                lesson = self.taught * q.log_prob(y.clamp(min=0))
                pyro.factor("lesson", -torch.where(y >= 0, lesson, 0.0), has_rsample=True)
            y = self._completed(y, q, {"enumerate": "parallel"})
            pyro.sample("z", self.encode(x, y))

    def guess(self, x: Tensor) -> dist.Categorical:
        """q(y | x) for `x` (..., *event_shape)."""
        return dist.Categorical(logits=flatten_batch(self.classifier, x, self.event_shape))

    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Take p(y) from the labels that are known; let the components start from the training data."""
        super().prepare(data)
        known = data["y"][data["y"] >= 0]
        if not len(known):
            raise ValueError(f"{self.name} learns from labels, and all {len(data['y'])} are missing (-1): give it some")
        counts = known.bincount(minlength=len(self.frequencies)) + 1
        self.frequencies.copy_(counts / counts.sum())
        self.taught.fill_(self.alpha * len(data["y"]) / len(known))

    def transfer(self, x: Tensor, y: Any, to: Any) -> Tensor:
        """`ConditionalVAE.transfer`, where -1, in `y` or `to`, stands for the likeliest label under q(y | x)."""
        with self.predicting():
            likeliest = self.guess(x.to(self.device)).logits.argmax(-1)
        labels = [self.label.checked(self.name, label, len(x)).to(self.device) for label in (y, to)]
        return super().transfer(x, *(torch.where(label < 0, likeliest, label) for label in labels))

    def _completed(self, y: Tensor | None, missing: Any, infer: Any = None) -> Tensor:
        """The labels `y`, those that are missing drawn; without any, all of them."""
        if y is None:
            return pyro.sample("y", missing)
        unknown: Any = y < 0
        with poutine.mask(mask=unknown):
            drawn = pyro.sample("y_missing", missing, infer=infer)
        return torch.where(unknown, drawn, y)
