"""Games: what critic and generator each minimize, as `fit(objective=...)` takes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["AdversarialLoss", "Hinge", "NonSaturating", "Wasserstein"]

R1, R1_EACH = 10.0, 0.2
"""The first as Mescheder et al. have it for images from -1 to 1; points would hardly be told apart by it."""

Score = Callable[[Tensor], Tensor]
"""From data (m, *event shape) to the critic's scores (m,), high for what it takes for real."""


@dataclass(frozen=True, kw_only=True)
class AdversarialLoss(ABC):
    """What the two players minimize, given the critic's scores of real and generated data.

    Args:
        r1: weight of the squared gradient of the score at real data, r1 / 2 E |grad_x score(x)|^2, which the critic
            pays: without it, training need not converge where generated data lie on a manifold. The fewer the data,
            the more of it keeps samples diverse; of many data, less makes sharper ones, such as 1 for MNIST, or 0.05
            where labels or an encoder help. None: 10, or 0.2 for each number of a datum, if that is less.
        critic_steps: steps of the critic for one of the generator's, each on a batch of its own.

    Raises:
        ValueError: a negative weight, or no step.

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
        """The critic's loss, from scores of real data (n,) and of generated ones (m,)."""

    @abstractmethod
    def generator(self, fake: Tensor) -> Tensor:
        """The generator's loss, from scores of generated data (m,)."""

    def penalty(self, score: Score, real: Tensor, fake: Tensor) -> Tensor | float:
        """What the critic pays besides for its gradients, from data as it sees them and as many generated ones."""
        r1 = min(R1, R1_EACH * real[0].numel()) if self.r1 is None else self.r1
        return 0.5 * r1 * squared_gradient(score, real).mean() if r1 else 0.0


@dataclass(frozen=True, kw_only=True)
class NonSaturating(AdversarialLoss):
    """Classification for the critic, and for the generator the chance to be taken for real, in logarithms.

    critic: E softplus(-score(x)) + E softplus(score(G(z))),    generator: E softplus(-score(G(z)))

    Scores are log-odds. Where the critic is the best one, the generator lowers a divergence between the two
    distributions, and has gradients also while it is far off.

    Example:
        >>> NonSaturating().critic(torch.zeros(2), torch.zeros(2))
        tensor(1.3863)

    References:
        Goodfellow et al. 2014, arXiv:1406.2661.
    """

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """Cross-entropy of telling real from generated, in nats."""
        return softplus(-real).mean() + softplus(fake).mean()

    def generator(self, fake: Tensor) -> Tensor:
        """Minus the mean log-chance to be taken for real, in nats."""
        return softplus(-fake).mean()


@dataclass(frozen=True, kw_only=True)
class Hinge(AdversarialLoss):
    """A margin of 1 on either side for the critic; the generator raises the score.

    critic: E max(0, 1 - score(x)) + E max(0, 1 + score(G(z))),    generator: -E score(G(z))

    Example:
        >>> Hinge().critic(torch.tensor([2.0]), torch.tensor([0.5]))
        tensor(1.5000)

    References:
        Lim, Ye 2017, arXiv:1705.02894; Miyato, Kataoka, Koyama, Yoshida 2018, arXiv:1802.05957.
    """

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """How far scores fall short of their margins."""
        return (1 - real).relu().mean() + (1 + fake).relu().mean()

    def generator(self, fake: Tensor) -> Tensor:
        """Minus the mean score."""
        return -fake.mean()


@dataclass(frozen=True, kw_only=True)
class Wasserstein(AdversarialLoss):
    """The difference of mean scores, of a critic whose gradients are held at length 1.

    critic: E score(G(z)) - E score(x) + gradient_penalty E (|grad_u score(u)| - 1)^2,    generator: -E score(G(z))

    with u at random on the line between a real datum and a generated one. With the best critic of Lipschitz constant 1,
    minus its loss is the Wasserstein distance of order 1 between the two distributions.

    Args:
        gradient_penalty: its weight.
        r1, critic_steps: see `AdversarialLoss`; the first is 0 unless told otherwise.

    Raises:
        ValueError: a negative weight, or no step.

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
        """How much higher generated data score than real ones."""
        return fake.mean() - real.mean()

    def generator(self, fake: Tensor) -> Tensor:
        """Minus the mean score."""
        return -fake.mean()

    def penalty(self, score: Score, real: Tensor, fake: Tensor) -> Tensor | float:
        """The gradients' distance from length 1 between the data, and R1."""
        place = torch.rand(len(real), *[1] * (real.dim() - 1), dtype=real.dtype, device=real.device)
        length = squared_gradient(score, torch.lerp(real, fake, place)).clamp(min=1e-12).sqrt()
        return super().penalty(score, real, fake) + self.gradient_penalty * (length - 1).square().mean()


def squared_gradient(score: Score, x: Tensor) -> Tensor:
    """|grad_x score(x)|^2 of each datum, (m,), to differentiate again."""
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(score(x).sum(), x, create_graph=True)
    return gradient.reshape(len(x), -1).square().sum(1)
