"""Objectives: what SVI maximizes. A different objective is not a different model.

Any of Pyro's ELBOs serves as it is. Those here follow the same call, `differentiable_loss(model, guide, batch)`, and
work for every story.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from pyro.infer.elbo import ELBO
from pyro.infer.enum import get_importance_trace
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import Independent, kl_divergence

from pyrogen.inference.program.row_log_weights import row_log_weights
from pyrogen.story import Batch, data_plate, inside, is_subsample, latent_sites

__all__ = ["ImportanceWeightedELBO", "TemperedELBO"]

Runner = Callable[[Batch], Any]


class _ScaledLatents(Messenger):
    """Multiplies the log density of every latent that the guide samples by beta, in guide and model alike.

    Args:
        beta: the weight.
        sampled: names of the guide's latents, noted while it runs and heeded while the model does.
        guide: whether this is around the guide.
    """

    def __init__(self, beta: Tensor, sampled: set[str], guide: bool) -> None:
        super().__init__()
        self.beta, self.sampled, self.guide = beta, sampled, guide

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"] or is_subsample(msg):
            return
        if self.guide:
            self.sampled.add(msg["name"])
        if msg["name"] in self.sampled:
            msg["scale"] = msg["scale"] * self.beta


class _Objective(ELBO):
    """What pyrogen's objectives share with Pyro's."""

    def differentiable_loss(self, model: Runner, guide: Runner, *args: Any, **kwargs: Any) -> Tensor:
        """Minus the objective, for the whole batch, as Pyro's ELBOs give it."""
        raise NotImplementedError

    def loss(self, model: Runner, guide: Runner, *args: Any, **kwargs: Any) -> float:
        """Minus the objective as a number."""
        return float(self.differentiable_loss(model, guide, *args, **kwargs).detach())

    def loss_and_grads(self, model: Runner, guide: Runner, *args: Any, **kwargs: Any) -> float:
        """Minus the objective as a number, gradients added up; stock SVI asks for this."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        loss.backward()
        return float(loss.detach())

    def _get_trace(self, model: Runner, guide: Runner, args: Any, kwargs: Any) -> Any:
        return get_importance_trace("flat", math.inf, model, guide, args, kwargs)


class TemperedELBO(_Objective):
    r"""The ELBO with a weight on its divergence term, and free bits.

    $$ E_q[\log p(x|z)] - \beta_t \sum_j \max(\lambda, KL_j), \qquad \beta_t = \beta \min(1, t / \text{warmup}) $$

    with t in epochs and $KL_j$ the batch mean, in nats per datum, of latent dimension j's share of log q(z given x) -
    log p(z): a dimension for a site whose density factorizes over it (`.to_event`), else the site.

    Args:
        beta: weight of the divergence (Higgins et al. 2017, beta-VAE; 1 is the ELBO).
        warmup: epochs over which the weight rises linearly from 0 (Bowman et al. 2016, arXiv:1511.06349).
        free_bits: lambda in nats (Kingma et al. 2016, arXiv:1606.04934); needs reparameterized latents.
        base: the Pyro ELBO to temper; `TraceMeanField_ELBO` takes divergences in closed form where there is one. None:
            what `fit` would choose, `Trace_ELBO` elsewhere.
    """

    def __init__(
        self, beta: float = 1.0, warmup: float = 0.0, free_bits: float = 0.0, base: ELBO | None = None
    ) -> None:
        super().__init__()
        for name, value in (("beta", beta), ("warmup", warmup), ("free_bits", free_bits)):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be a number of at least 0, got {value}")
        if free_bits and not isinstance(base, Trace_ELBO | TraceMeanField_ELBO | None):
            raise ValueError(f"free bits work with Trace_ELBO and TraceMeanField_ELBO, got base={type(base).__name__}")
        self.beta, self.warmup, self.free_bits = beta, warmup, free_bits
        self.base: Any = Trace_ELBO() if base is None else base
        self.base_is_open = base is None and not free_bits
        self.weight = torch.tensor(beta if warmup == 0 else 0.0)

    def set_epoch(self, epoch: float) -> None:
        """Bring the weight to where it is `epoch` epochs into training; written in place, so that it stays live."""
        progress = 1.0 if self.warmup == 0 else min(1.0, epoch / self.warmup)
        self.weight.fill_(self.beta * progress)

    def evaluation(self) -> ELBO:
        """The untempered ELBO, for validation."""
        return copy.deepcopy(self.base)

    def differentiable_loss(self, model: Runner, guide: Runner, *args: Any, **kwargs: Any) -> Tensor:
        """Minus the objective, for the whole batch, as Pyro's ELBOs give it."""
        if self.free_bits:
            return self._with_free_bits(model, guide, args, kwargs)
        sampled: set[str] = set()
        scaled = (_ScaledLatents(self.weight, sampled, guide=of_guide) for of_guide in (False, True))
        tempered_model, tempered_guide = (handler(f) for handler, f in zip(scaled, (model, guide), strict=True))
        return self.base.differentiable_loss(tempered_model, tempered_guide, *args, **kwargs)

    def _with_free_bits(self, model: Runner, guide: Runner, args: Any, kwargs: Any) -> Tensor:
        loss = torch.zeros(())
        for _ in range(self.base.num_particles):
            model_trace, guide_trace = self._get_trace(model, guide, args, kwargs)
            latents = latent_sites(guide_trace.nodes.values())
            plate = data_plate(model_trace.nodes.values(), args[0].n) if args and isinstance(args[0], Batch) else None
            for name, site in model_trace.nodes.items():
                if site["type"] == "sample" and name not in latents:
                    loss = loss - site["log_prob_sum"]
            for site in guide_trace.nodes.values():  # its factors: a VQ-VAE's commitment
                if site["type"] == "sample" and site["is_observed"]:
                    loss = loss + site["log_prob_sum"]
            for name, site in latents.items():
                if name in model_trace.nodes:
                    loss = loss + self.weight * self._floored(model_trace.nodes[name], site, plate)
                else:  # an AutoGuide's auxiliary latent
                    loss = loss + self.weight * site["log_prob_sum"]
        return loss / self.base.num_particles

    def _floored(self, prior: Any, site: Any, plate: Any) -> Tensor:
        """The site's share of the divergence over the batch, its mean over the data plate held above `free_bits`."""
        if not site["fn"].has_rsample:
            raise ValueError(f"free bits need reparameterized latents, and site '{site['name']}' is {site['fn']}")
        if plate is None or not inside(site, plate.name):
            return site["log_prob_sum"] - prior["log_prob_sum"]
        share = _divergence(prior["fn"], site["fn"], site["value"], isinstance(self.base, TraceMeanField_ELBO))
        dim = len(site["fn"].batch_shape) + plate.dim
        if site["mask"] is not None:
            mask = torch.as_tensor(site["mask"]).expand(site["fn"].batch_shape)
            share = share * mask.reshape(*mask.shape, *[1] * (share.dim() - mask.dim()))
        return share.mean(dim).clamp(min=self.free_bits).sum() * share.shape[dim] * site["scale"]


def _divergence(prior: Any, posterior: Any, value: Tensor, analytic: bool) -> Tensor:
    """log q - log p at `value`, or its expectation, with the event dimensions over which both factorize kept."""
    p, q = prior, posterior
    both = isinstance(p, Independent) and isinstance(q, Independent)
    if both and p.reinterpreted_batch_ndims == q.reinterpreted_batch_ndims:
        p, q = p.base_dist, q.base_dist
    if analytic:
        try:
            return kl_divergence(q, p)
        except NotImplementedError:
            pass
    return q.log_prob(value) - p.log_prob(value)


class _Reparameterized(Messenger):
    """Refuses latents through which no gradient passes."""

    def _pyro_post_sample(self, msg: Any) -> None:
        latent = not msg["is_observed"] and not is_subsample(msg)
        if latent and not getattr(msg["fn"], "has_rsample", False):
            raise ValueError(
                f"ImportanceWeightedELBO needs reparameterized latents, and site '{msg['name']}' is {msg['fn']}: "
                'mark it infer={"enumerate": "parallel"} and leave it out of the guide, or train with Trace_ELBO'
            )


class ImportanceWeightedELBO(_Objective):
    r"""The importance-weighted bound of every datum (IWAE; Burda, Grosse and Salakhutdinov 2015, arXiv:1509.00519).

    $$ \sum_i \log \frac1K \sum_k \frac{p(x_i, z_{ik})}{q(z_{ik}|x_i)}, \quad z_{ik} \sim q(z|x_i) $$

    The mean over draws is taken inside the logarithm for each datum, which is right where latents are local; with all
    data's weights multiplied first, as `pyro.infer.RenyiELBO` does where sites sit outside the data plate, the bound is
    the joint one.

    Args:
        num_particles: K.

    Raises:
        NoWeights: a latent sits outside the data plate.
        ValueError: a latent is not reparameterized.
    """

    def __init__(self, num_particles: int = 10) -> None:
        if num_particles < 1:
            raise ValueError(f"num_particles must be at least 1, got {num_particles}")
        super().__init__(num_particles=num_particles)

    def differentiable_loss(self, model: Runner, guide: Runner, *args: Any, **kwargs: Any) -> Tensor:
        """Minus the bound, for the whole batch, as Pyro's ELBOs give it."""
        batch = args[0] if args else None
        if not isinstance(batch, Batch):
            raise TypeError(
                "ImportanceWeightedELBO trains under pyrogen's fit; with stock SVI use pyro.infer.RenyiELBO"
            )
        log_weights, scale = row_log_weights(model, _Reparameterized()(guide), batch, self.num_particles)
        return -scale * (torch.logsumexp(log_weights, 0) - math.log(self.num_particles)).sum()
