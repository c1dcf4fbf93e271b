"""Adversarial losses: what critic and generator each minimize, as `fit(objective=...)` takes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

R1, R1_EACH = 10.0, 0.2
"""Weight of R1, after Mescheder et al. for images from -1 to 1, and its largest value for each number of a datum."""

Score = Callable[[Tensor], Tensor]
"""From data (m, *event shape) to the critic's scores (m,), high for data that seem real."""


@dataclass(frozen=True, kw_only=True)
class AdversarialLoss(ABC):
    """What critic and generator minimize, given the critic's scores of real and generated data.

    Args:
        r1: weight of the squared gradient of the score at real data, r1 / 2 E |grad_x score(x)|^2, which the critic
            minimizes besides: without it, training need not converge where generated data lie on a manifold. Few data
            need a large weight for diverse samples; with many data, a small one gives sharper samples, such as 1 for
            MNIST, or 0.05 where labels or an encoder help. None, the default: 10, or 0.2 for each number of a datum, if
            that is less.
        critic_steps: updates of the critic for one of the generator, each on a batch of its own; 1 by default.

    Raises:
        ValueError: a weight is negative, or `critic_steps` is less than 1.

    References:
        Mescheder, Geiger, Nowozin 2018, arXiv:1801.04406 (R1).
    """

    r1: float | None = None
    critic_steps: int = 1

    def __post_init__(self) -> None:
        if self.r1 is not None and not self.r1 >= 0:
            raise ValueError(f"{type(self).__name__} needs a weight of at least 0, got r1={self.r1!r}")
        if self.critic_steps < 1 or self.critic_steps % 1:
            raise ValueError(
                f"{type(self).__name__} needs a whole number of at least 1, got critic_steps={self.critic_steps!r}"
            )

    @abstractmethod
    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """The critic's loss.

        Args:
            real: (n,) scores of real data.
            fake: (m,) scores of generated data.

        Returns:
            A scalar.
        """

    @abstractmethod
    def generator(self, fake: Tensor) -> Tensor:
        """The generator's loss.

        Args:
            fake: (m,) scores of generated data.

        Returns:
            A scalar.
        """

    def penalty(self, score: Score, real: Tensor, fake: Tensor) -> Tensor | float:
        """The penalty on the critic's gradients, which it minimizes besides its loss.

        Args:
            score: the critic.
            real: (n, *event_shape) real data, as the critic receives them.
            fake: (n, *event_shape) generated data.

        Returns:
            A scalar.
        """
        r1 = min(R1, R1_EACH * real[0].numel()) if self.r1 is None else self.r1
        return 0.5 * r1 * _squared_gradient(score, real).mean() if r1 else 0.0


@dataclass(frozen=True, kw_only=True)
class NonSaturating(AdversarialLoss):
    """The non-saturating loss: the critic classifies, the generator maximizes the log-probability of passing as real.

    critic: E softplus(-score(x)) + E softplus(score(G(z))),    generator: E softplus(-score(G(z)))

    Scores are log-odds. With the optimal critic, the generator minimizes a divergence between the two distributions;
    its gradients do not vanish while samples are poor.

    Args:
        r1: see `AdversarialLoss`.
        critic_steps: see `AdversarialLoss`.

    Example:
        >>> NonSaturating().critic(torch.zeros(2), torch.zeros(2))
        tensor(1.3863)

    References:
        Goodfellow et al. 2014, arXiv:1406.2661.
    """

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """Cross-entropy of classifying real and generated data.

        Args:
            real: (n,) scores of real data.
            fake: (m,) scores of generated data.

        Returns:
            A scalar, in nats.
        """
        return softplus(-real).mean() + softplus(fake).mean()

    def generator(self, fake: Tensor) -> Tensor:
        """Minus the mean log-probability of passing as real.

        Args:
            fake: (m,) scores of generated data.

        Returns:
            A scalar, in nats.
        """
        return softplus(-fake).mean()


@dataclass(frozen=True, kw_only=True)
class Hinge(AdversarialLoss):
    """The hinge loss: a margin of 1 on either side for the critic; the generator raises the score.

    critic: E max(0, 1 - score(x)) + E max(0, 1 + score(G(z))),    generator: -E score(G(z))

    Args:
        r1: see `AdversarialLoss`.
        critic_steps: see `AdversarialLoss`.

    Example:
        >>> Hinge().critic(torch.tensor([2.0]), torch.tensor([0.5]))
        tensor(1.5000)

    References:
        Lim, Ye 2017, arXiv:1705.02894; Miyato, Kataoka, Koyama, Yoshida 2018, arXiv:1802.05957.
    """

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """By how much scores fall short of their margins, on average.

        Args:
            real: (n,) scores of real data.
            fake: (m,) scores of generated data.

        Returns:
            A scalar.
        """
        return (1 - real).relu().mean() + (1 + fake).relu().mean()

    def generator(self, fake: Tensor) -> Tensor:
        """Minus the mean score.

        Args:
            fake: (m,) scores of generated data.

        Returns:
            A scalar.
        """
        return -fake.mean()


@dataclass(frozen=True, kw_only=True)
class Wasserstein(AdversarialLoss):
    """The Wasserstein loss: the difference of mean scores, for a critic whose gradients are kept at length 1.

    critic: E score(G(z)) - E score(x) + gradient_penalty E (|grad_u score(u)| - 1)^2,    generator: -E score(G(z))

    with u uniform on the line between a real datum and a generated one. With the optimal critic of Lipschitz constant
    1, minus its loss is the Wasserstein distance of order 1 between the two distributions.

    Args:
        r1: see `AdversarialLoss`; 0 by default.
        critic_steps: see `AdversarialLoss`; 5 by default.
        gradient_penalty: its weight; 10 by default.

    Raises:
        ValueError: a weight is negative, or `critic_steps` is less than 1.

    Example:
        >>> Wasserstein(gradient_penalty=10).critic(torch.tensor([2.0]), torch.tensor([0.5]))
        tensor(-1.5000)

    References:
        Arjovsky, Chintala, Bottou 2017, arXiv:1701.07875; Gulrajani et al. 2017, arXiv:1704.00028 (gradient penalty).
    """

    gradient_penalty: float = 10.0
    r1: float | None = 0.0
    critic_steps: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.gradient_penalty >= 0:
            raise ValueError(
                f"Wasserstein needs a weight of at least 0, got gradient_penalty={self.gradient_penalty!r}"
            )

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """By how much generated data score higher than real ones.

        Args:
            real: (n,) scores of real data.
            fake: (m,) scores of generated data.

        Returns:
            A scalar.
        """
        return fake.mean() - real.mean()

    def generator(self, fake: Tensor) -> Tensor:
        """Minus the mean score.

        Args:
            fake: (m,) scores of generated data.

        Returns:
            A scalar.
        """
        return -fake.mean()

    def penalty(self, score: Score, real: Tensor, fake: Tensor) -> Tensor | float:
        """The squared distance of the gradients' lengths from 1, between real and generated data, and R1.

        Args:
            score: the critic.
            real: (n, *event_shape) real data, as the critic receives them.
            fake: (n, *event_shape) generated data.

        Returns:
            A scalar.
        """
        place = torch.rand(len(real), *[1] * (real.dim() - 1), dtype=real.dtype, device=real.device)
        length = _squared_gradient(score, torch.lerp(real, fake, place)).clamp(min=1e-12).sqrt()
        return super().penalty(score, real, fake) + self.gradient_penalty * (length - 1).square().mean()


def _squared_gradient(score: Score, x: Tensor) -> Tensor:
    """|grad_x score(x)|^2 of each datum, (m,), differentiable."""
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(score(x).sum(), x, create_graph=True)
    return gradient.reshape(len(x), -1).square().sum(1)
