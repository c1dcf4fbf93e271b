"""Probabilistic principal component analysis, whose likelihood and posterior are known in closed form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrogen.distributions import StandardNormal
from pyrogen.models.principal_axes import principal_axes
from pyrogen.nn import Shape, as_shape, flatten
from pyrogen.story import Story, check_event


class PPCA(Story):
    """z ~ N(0, I_K),  x | z ~ N(W z + mu, sigma^2 I_D),  guided by q(z | x) = N(A (x - c) + b, B), one B for every x.

    With M = W'W + sigma^2 I, the posterior is N(M^-1 W'(x - mu), sigma^2 M^-1), which the guide `full` can equal. The
    best mean-field guide has the same mean and the variances sigma^2 / M_ii. The guide's c is the training data's mean.

    Args:
        features: number of features D, or the event shape of x, which is flattened to D numbers inside.
        latent: number of latents K.
        guide: `full` (B = LL', L lower triangular), the default, or `meanfield` (B diagonal).

    Raises:
        ValueError: `guide` is neither `full` nor `meanfield`.

    Example:
        >>> x = torch.randn(200, 5)
        >>> story = PPCA(5, latent=2).maximum_likelihood(x)
        >>> story.log_prob(x).shape, bool(story.guide_gap(x).max() < 1e-4)
        (torch.Size([200]), True)

    References:
        Tipping, Bishop 1999, "Probabilistic principal component analysis", JRSS B 61(3), doi:10.1111/1467-9868.00196.
    """

    def __init__(self, features: Shape, latent: int, guide: Literal["full", "meanfield"] = "full") -> None:
        super().__init__()
        if guide not in ("full", "meanfield"):
            raise ValueError(f"PPCA's guide is 'full' or 'meanfield', got guide={guide!r}")
        self.event_shape, (self.latent,) = as_shape(features), as_shape(latent)
        self.features, self.full, self.started = math.prod(self.event_shape), guide == "full", False
        self.prior = StandardNormal(self.latent)
        self.weight = nn.Parameter(torch.randn(self.features, self.latent) / math.sqrt(self.latent))
        self.mean = nn.Parameter(torch.zeros(self.features))
        self.log_sigma = nn.Parameter(torch.zeros(()))
        self.encoder = nn.Linear(self.features, self.latent)
        self.raw_scale = nn.Parameter(torch.zeros(self.latent, self.latent) if self.full else torch.zeros(self.latent))
        self.centre = nn.Buffer(torch.zeros(self.features))

    def model(self, x: Tensor | None, n: int) -> Tensor:
        """p(z) p(x | z).

        Args:
            x: data to observe, (n, *event_shape), or None to draw them.
            n: number of rows.

        Returns:
            x, drawn or observed, (n, *event_shape).
        """
        with pyro.plate("data", n, dim=-1):
            z = pyro.sample("z", self.prior())
            mean = (z @ self.weight.T + self.mean).reshape((*z.shape[:-1], *self.event_shape))
            return pyro.sample("x", dist.Normal(mean, self.log_sigma.exp()).to_event(len(self.event_shape)), obs=x)

    def guide(self, x: Tensor, n: int) -> None:
        """q(z | x).

        Args:
            x: data, (n, *event_shape).
            n: number of rows.
        """
        with pyro.plate("data", n, dim=-1):
            pyro.sample("z", self.encode(x))

    def encode(self, x: Tensor) -> dist.TorchDistribution:
        """The guide's q(z | x).

        Args:
            x: data, (..., *event_shape).

        Returns:
            Batch shape (...), event shape (K,).
        """
        mean, raw = self.encoder(self._flat(x) - self.centre), self.raw_scale
        if self.full:
            return dist.MultivariateNormal(mean, scale_tril=raw.tril(-1) + raw.diagonal().exp().diag_embed())
        return dist.Normal(mean, raw.exp()).to_event(1)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), exactly.

        Args:
            x: data, (..., *event_shape).

        Returns:
            (...) in nats.
        """
        posterior = self.exact_posterior(x)
        # With m the posterior's mean, (x - mu)' C^-1 (x - mu) = |x - mu - W m|^2 / sigma^2 + |m|^2: unlike Woodbury's
        # formula no difference of large numbers, even for a small sigma.
        residual = (self._flat(x) - self.mean - posterior.mean @ self.weight.T) / self.log_sigma.exp()
        square = residual.square().sum(-1) + posterior.mean.square().sum(-1)
        log_det = 2 * (self.features * self.log_sigma - posterior.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1))
        return -(self.features * math.log(2 * math.pi) + log_det + square) / 2

    def exact_posterior(self, x: Tensor) -> dist.MultivariateNormal:
        """p(z | x), exactly.

        Args:
            x: data, (..., *event_shape).

        Returns:
            Batch shape (...), event shape (K,).
        """
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(self._moment()))
        mean = (self._flat(x) - self.mean) @ self.weight @ inverse
        return dist.MultivariateNormal(mean, scale_tril=self.log_sigma.exp() * torch.linalg.cholesky(inverse))

    def guide_gap(self, x: Tensor) -> Tensor:
        """log p(x) - ELBO(x) = KL(q(z | x) || p(z | x)) of the present guide.

        Args:
            x: data, (..., *event_shape).

        Returns:
            (...) in nats.
        """
        q = self.encode(x)
        scale = q.scale_tril if self.full else q.stddev.diag_embed()
        q = dist.MultivariateNormal(q.mean, scale_tril=scale)
        return torch.distributions.kl_divergence(q, self.exact_posterior(x))

    def meanfield_gap(self) -> Tensor:
        """The gap of the best mean-field guide, (sum_i log M_ii - log det M) / 2, the same for every datum.

        Returns:
            () in nats.
        """
        moment = self._moment()
        return (moment.diagonal().log().sum() - torch.logdet(moment)) / 2

    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Start at the data's mean, half their variance in W (in random directions) and half in sigma.

        The guide starts at its best for this model. Does nothing after `maximum_likelihood` or an earlier `prepare`,
        so that `fit` continues from there.

        Args:
            data: the training columns, `x` (N, *event_shape).
        """
        if self.started:
            return
        x, weight = self._flat(data["x"]).double(), self.weight.detach().double()
        variance = float(x.var(0, correction=0).mean()) or 1.0
        self._start(x.mean(0), weight * (math.sqrt(variance * self.features / 2) / weight.norm()), variance / 2)

    def maximum_likelihood(self, x: Tensor) -> PPCA:
        """Set the parameters to their maximum-likelihood values for `x`, and the guide to its best there.

        With eigenvalues l_1 >= l_2 >= ... and eigenvectors u of the data's covariance (over N, not N - 1), sigma^2 is
        the mean of l_K+1, ..., l_D, and W has columns u_k (l_k - sigma^2)^1/2, each with its largest entry positive.

        Args:
            x: data, (N, *event_shape).

        Returns:
            The story itself.

        Raises:
            ValueError: there is no maximum, as latent >= D or the data have rank K or less.
        """
        self.check({"x": x})
        mean, values, axes = principal_axes(self._flat(x), self.latent)
        variance = float(values[self.latent :].mean()) if self.latent < self.features else 0.0
        if not variance > 1e-12 * float(values[0]):
            raise ValueError(
                f"the likelihood has no maximum: {self.latent} latents explain these {len(x)} data of {self.features} "
                "features entirely. Take fewer latents, or add noise to (dequantize) the data"
            )
        self._start(mean, axes * (values[: self.latent] - variance).sqrt(), variance)
        return self

    @torch.no_grad()
    def solve_guide(self) -> PPCA:
        """Set the guide to its best for the present model: the exact posterior, or the best mean-field one.

        Returns:
            The story itself.
        """
        moment, shift = self._moment().double(), (self.centre - self.mean).double()
        solution = torch.linalg.solve(moment, self.weight.T.double())
        self.encoder.weight.copy_(solution)
        self.encoder.bias.copy_(solution @ shift)
        if self.full:
            scale = torch.linalg.cholesky(torch.linalg.inv(moment))
            self.raw_scale.copy_(scale.tril(-1) * self.log_sigma.exp())
            self.raw_scale.diagonal().copy_(scale.diagonal().log() + self.log_sigma)
        else:
            self.raw_scale.copy_(self.log_sigma - moment.diagonal().log() / 2)
        return self

    def check(self, data: Mapping[str, Tensor]) -> None:
        """Refuse an x of another event shape.

        Args:
            data: the columns by name, among them `x`, (n, *event_shape).
        """
        check_event(self.name, "features", data, self.event_shape)

    @torch.no_grad()
    def _start(self, mean: Tensor, weight: Tensor, variance: float) -> None:
        self.mean.copy_(mean)
        self.centre.copy_(mean)
        self.weight.copy_(weight)
        self.log_sigma.fill_(math.log(variance) / 2)
        self.started = True
        self.solve_guide()

    def _flat(self, x: Tensor) -> Tensor:
        return flatten(x, self.event_shape, self.name)

    def _moment(self) -> Tensor:
        """M = W'W + sigma^2 I."""
        variance = (2 * self.log_sigma).exp()
        return self.weight.T @ self.weight + variance.expand(self.latent).diag_embed()
