"""Bayesian principal component analysis, which infers how many components the data need."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrogen.distributions import StandardNormal
from pyrogen.models.checks import check_latent
from pyrogen.models.event_story import EncoderDecoderStory
from pyrogen.models.principal_axes import principal_axes
from pyrogen.nn import Shape, as_shape, flatten


class BayesianPPCA(EncoderDecoderStory):
    """a_k ~ Gamma(c, c),  W_dk ~ N(0, u^2 / a_k),  s ~ HalfNormal(u),  z ~ N(0, I_K),  x | z ~ N(W z + mu, s^2 I_D).

    A column of W that the data do not need gets a large relevance parameter a_k, and is switched off ("automatic
    relevance determination"). a, W and s are shared by all data; u is the unit, the data's root mean square deviation.
    Guided by W_dk / u ~ N(m_dk, v_dk^2), s / u ~ LogNormal, and two factors without parameters, which are exact given
    the others: a_k ~ Gamma(c + D / 2, c + sum_d (m_dk^2 + v_dk^2) / 2), and p(z | x, W, s).

    Args:
        event_shape: shape of one datum, flattened to D features inside.
        latent: the largest number of columns K, at most D.
        concentration: c, 1e-3 by default; the smaller, the less informative is the prior of a_k.

    Raises:
        ValueError: there are more columns than features, or the concentration is not positive.

    Example:
        >>> story = BayesianPPCA(4, latent=2)
        >>> story.prepare({"x": torch.randn(50, 4)})
        >>> story.column_scales().shape
        torch.Size([2])

    References:
        Bishop 1999, "Bayesian PCA", NIPS 11; Bishop 1999, "Variational principal components", ICANN.
    """

    def __init__(self, event_shape: Shape, latent: int, concentration: float = 1e-3) -> None:
        super().__init__()
        if not concentration > 0:
            raise ValueError(f"BayesianPPCA needs a positive concentration, got concentration={concentration!r}")
        self.event_shape, (self.latent,), self.concentration = as_shape(event_shape), as_shape(latent), concentration
        self.features = math.prod(self.event_shape)
        check_latent(self.name, self.latent, self.features)
        self.prior = StandardNormal(self.latent)
        self.mean = nn.Parameter(torch.zeros(self.features))
        self.weight_mean = nn.Parameter(torch.randn(self.features, self.latent) / math.sqrt(self.latent))
        self.raw_weight_scale = nn.Parameter(torch.full((self.features, self.latent), -2.0))
        self.log_sigma_mean, self.raw_sigma_scale = nn.Parameter(torch.zeros(())), nn.Parameter(torch.tensor(-2.0))
        self.unit = nn.Buffer(torch.ones(()))

    def model(self, x: Tensor | None, n: int, total: int | None = None, index: Tensor | None = None) -> Tensor:
        """p(a) p(W | a) p(s), and p(z) p(x | z, W, s) for each datum.

        Args:
            x: data to observe, (n, *event_shape), or None to draw them.
            n: number of rows.
            total: number of rows in the training set; n by default.
            index: positions of the rows in the training set, (n,) int64; none by default.

        Returns:
            x, drawn or observed, (n, *event_shape).
        """
        c = self.unit.new_full((self.latent,), self.concentration)
        relevance = pyro.sample("relevance", dist.Gamma(c, c).to_event(1))
        scale = (self.unit / relevance.sqrt()).unsqueeze(-2).expand((*relevance.shape[:-1], self.features, self.latent))
        weight = pyro.sample("weight", dist.Normal(0.0, scale).to_event(2))
        sigma = pyro.sample("sigma", dist.HalfNormal(self.unit))
        with pyro.plate("data", n if total is None else total, subsample=index, dim=-1):
            z = pyro.sample("z", self.prior())
            return pyro.sample("x", self.decode(z, weight, sigma), obs=x)

    def guide(self, x: Tensor, n: int, total: int | None = None, index: Tensor | None = None) -> None:
        """q(a) q(W) q(s), and p(z | x, W, s) for each datum.

        Args:
            x: data, (n, *event_shape).
            n: number of rows.
            total: number of rows in the training set; n by default.
            index: positions of the rows in the training set, (n,) int64; none by default.
        """
        pyro.sample("relevance", self.relevance().to_event(1))
        weight = pyro.sample("weight", self.weight().to_event(2))
        sigma = pyro.sample("sigma", self.sigma())
        with pyro.plate("data", n if total is None else total, subsample=index, dim=-1):
            pyro.sample("z", self.encode(x, weight, sigma))

    def relevance(self) -> dist.Gamma:
        """q(a), the optimum given q(W).

        Returns:
            Batch shape (K,).
        """
        square = (self.weight_mean.square() + (2 * self.raw_weight_scale).exp()).sum(0)
        half = square.new_full((self.latent,), self.features / 2)
        return dist.Gamma(self.concentration + half, self.concentration + square / 2)

    def weight(self) -> dist.Normal:
        """q(W).

        Returns:
            Batch shape (D, K).
        """
        return dist.Normal(self.unit * self.weight_mean, self.unit * self.raw_weight_scale.exp())

    def sigma(self) -> dist.LogNormal:
        """q(s).

        Returns:
            Batch shape ().
        """
        return dist.LogNormal(self.unit.log() + self.log_sigma_mean, self.raw_sigma_scale.exp())

    def decode(self, z: Tensor, weight: Tensor | None = None, sigma: Tensor | None = None) -> dist.TorchDistribution:
        """p(x | z, W, s).

        Args:
            z: latents, (..., K).
            weight: W, (..., D, K); the guide's mean by default.
            sigma: s, (...); the guide's median by default.

        Returns:
            Batch shape (...), event shape `event_shape`.
        """
        weight, sigma = self._centre(weight, sigma)
        mean = (z.unsqueeze(-2) @ weight.mT).squeeze(-2) + self.mean
        mean = mean.reshape((*mean.shape[:-1], *self.event_shape))
        event = len(self.event_shape)
        return dist.Normal(mean, sigma.reshape((*sigma.shape, *[1] * event))).to_event(event)

    def encode(self, x: Tensor, weight: Tensor | None = None, sigma: Tensor | None = None) -> dist.MultivariateNormal:
        """p(z | x, W, s), exactly.

        Args:
            x: data, (..., *event_shape).
            weight: W, (..., D, K); the guide's mean by default.
            sigma: s, (...); the guide's median by default.

        Returns:
            Batch shape (...), event shape (K,).
        """
        weight, sigma = self._centre(weight, sigma)
        scaled = weight / sigma[..., None, None]
        moment = scaled.mT @ scaled + torch.eye(self.latent).to(scaled)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(moment))
        centred = (flatten(x, self.event_shape, self.name) - self.mean) / sigma[..., None]
        mean = (centred.unsqueeze(-2) @ scaled @ inverse).squeeze(-2)
        return dist.MultivariateNormal(mean, scale_tril=torch.linalg.cholesky(inverse))

    def column_scales(self) -> Tensor:
        """The root mean square contribution of each column to a feature, (E_q |W_k|^2 / D)^1/2.

        Returns:
            (K,) in the units of the data.
        """
        q = self.weight()
        return (q.mean.square() + q.variance).mean(0).sqrt()

    @torch.no_grad()
    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Start at the best probabilistic PCA, with the uncertainty that N data leave there.

        Args:
            data: the training columns, `x` (N, *event_shape).
        """
        x = flatten(data["x"], self.event_shape, self.name)
        mean, values, axes = principal_axes(x, self.latent)
        self.unit.copy_(values.mean().sqrt() if values.mean() > 0 else torch.ones(()))
        values = values / self.unit.double().square()
        variance = max(float(values[self.latent :].mean().nan_to_num()), 1e-2)
        self.mean.copy_(mean)
        self.weight_mean.copy_(axes * (values[: self.latent] - variance).clamp(min=1e-6).sqrt())
        self.raw_weight_scale.fill_(math.log(variance / len(x)) / 2)
        self.log_sigma_mean.fill_(math.log(variance) / 2)
        self.raw_sigma_scale.fill_(-math.log(2 * len(x) * self.features) / 2)

    def _centre(self, weight: Tensor | None, sigma: Tensor | None) -> tuple[Tensor, Tensor]:
        weight = self.weight().mean if weight is None else weight
        return weight, self.unit * self.log_sigma_mean.exp() if sigma is None else sigma
