"""Objectives, which SVI maximizes: tempered and importance-weighted ELBOs, for every story.

Pyro's ELBOs are objectives as they are; those here have the same method, `differentiable_loss(model, guide, batch)`.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from pyro.infer.elbo import ELBO
from pyro.infer.enum import get_importance_trace
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import Independent, kl_divergence

from pyrogen.annotations import Count
from pyrogen.arguments import checked
from pyrogen.inference.program.row_log_weights import Runner, row_log_weights
from pyrogen.story import Batch, data_plate, inside, is_subsample, latent_sites


class _ScaledLatents(Messenger):
    """Multiplies the log density of every latent that the guide samples by beta, in guide and model.

    Args:
        beta: (), the weight.
        names: names of the guide's latents, collected while the guide runs and used while the model does.
        is_guide: whether this handles the guide.
    """

    def __init__(self, beta: Tensor, names: set[str], is_guide: bool) -> None:
        super().__init__()
        self.beta, self.names, self.is_guide = beta, names, is_guide

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"] or is_subsample(msg):
            return
        if self.is_guide:
            self.names.add(msg["name"])
        if msg["name"] in self.names:
            msg["scale"] = msg["scale"] * self.beta


class _Objective(ELBO):
    """The methods of Pyro's ELBOs, from `differentiable_loss`."""

    def differentiable_loss(self, model: Runner, guide: Runner, *args: Any, **kwargs: Any) -> Tensor:
        """Minus the objective, to differentiate."""
        raise NotImplementedError

    def loss(self, model: Runner, guide: Runner, *args: Any, **kwargs: Any) -> float:
        """Minus the objective as a number."""
        return float(self.differentiable_loss(model, guide, *args, **kwargs).detach())

    def loss_and_grads(self, model: Runner, guide: Runner, *args: Any, **kwargs: Any) -> float:
        """Minus the objective as a number; gradients are added to those of the parameters, as stock SVI expects."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        loss.backward()
        return float(loss.detach())

    def _get_trace(self, model: Runner, guide: Runner, args: Any, kwargs: Any) -> Any:
        return get_importance_trace("flat", math.inf, model, guide, args, kwargs)


@checked
class TemperedELBO(_Objective):
    r"""The ELBO with a weight on its KL term, and free bits.

    $$ E_q[\log p(x|z)] - \beta_t \sum_j \max(\lambda, KL_j), \qquad \beta_t = \beta \min(1, t / \text{warmup}) $$

    with t in epochs and $KL_j$ the batch mean, in nats per datum, of the term of latent dimension j in log q(z given x)
    - log p(z). A site whose density factorizes (`.to_event`) has a term for each dimension, any other site has one.

    Args:
        beta: weight of the KL term (Higgins et al. 2017, beta-VAE); 1, the ELBO, by default.
        warmup: number of epochs over which the weight rises linearly from 0 (Bowman et al. 2016, arXiv:1511.06349); 0,
            no warm-up, by default.
        free_bits: lambda in nats (Kingma et al. 2016, arXiv:1606.04934), 0 by default; needs reparameterized latents.
        base: the Pyro ELBO to temper; `TraceMeanField_ELBO` takes the KL in closed form where there is one. None, the
            default, for the ELBO that `fit` chooses, and `Trace_ELBO` outside `fit`.

    Raises:
        ValueError: a number is negative or not finite, or `base` does not work with free bits.
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
        self.base_is_default = base is None and not free_bits
        self.weight = torch.tensor(beta if warmup == 0 else 0.0)

    def set_epoch(self, epoch: float) -> None:
        """Set the weight of the KL term to its value at a time of training.

        Args:
            epoch: epochs into training, with fraction.
        """
        progress = 1.0 if self.warmup == 0 else min(1.0, epoch / self.warmup)
        self.weight.fill_(self.beta * progress)  # in place: compiled steps read this tensor

    def evaluation(self) -> ELBO:
        """The untempered ELBO, for validation.

        Returns:
            A copy of `base`.
        """
        return copy.deepcopy(self.base)

    def differentiable_loss(self, model: Runner, guide: Runner, *args: Any, **kwargs: Any) -> Tensor:
        """Minus the objective, to differentiate.

        Args:
            model: takes the further arguments.
            guide: takes the same.
            args: of model and guide; under `fit`, one `Batch`.
            kwargs: of model and guide.

        Returns:
            (), in nats of the whole data plate.
        """
        if self.free_bits:
            return self._with_free_bits(model, guide, args, kwargs)
        names: set[str] = set()
        model, guide = _ScaledLatents(self.weight, names, False)(model), _ScaledLatents(self.weight, names, True)(guide)
        return self.base.differentiable_loss(model, guide, *args, **kwargs)

    def _with_free_bits(self, model: Runner, guide: Runner, args: Any, kwargs: Any) -> Tensor:
        loss = torch.zeros(())
        for _ in range(self.base.num_particles):
            model_trace, guide_trace = self._get_trace(model, guide, args, kwargs)
            latents = latent_sites(guide_trace.nodes.values())
            plate = data_plate(model_trace.nodes.values(), args[0].n) if args and isinstance(args[0], Batch) else None
            for name, site in model_trace.nodes.items():
                if site["type"] == "sample" and name not in latents:
                    loss = loss - site["log_prob_sum"]
            for site in guide_trace.nodes.values():  # factors, such as the commitment loss of a VQ-VAE
                if site["type"] == "sample" and site["is_observed"]:
                    loss = loss + site["log_prob_sum"]
            for name, site in latents.items():
                if name in model_trace.nodes:
                    loss = loss + self.weight * self._floored(model_trace.nodes[name], site, plate)
                else:  # an AutoGuide's auxiliary latent
                    loss = loss + self.weight * site["log_prob_sum"]
        return loss / self.base.num_particles

    def _floored(self, prior: Any, site: Any, plate: Any) -> Tensor:
        """The KL terms of a site, summed over the batch; the batch mean of each is at least `free_bits`."""
        if not site["fn"].has_rsample:
            raise ValueError(f"free bits need reparameterized latents, and site '{site['name']}' is {site['fn']}")
        if plate is None or not inside(site, plate.name):
            return site["log_prob_sum"] - prior["log_prob_sum"]
        terms = _kl_terms(prior["fn"], site["fn"], site["value"], isinstance(self.base, TraceMeanField_ELBO))
        dim = len(site["fn"].batch_shape) + plate.dim
        if site["mask"] is not None:
            mask = torch.as_tensor(site["mask"]).expand(site["fn"].batch_shape)
            terms = terms * mask.reshape(*mask.shape, *[1] * (terms.dim() - mask.dim()))
        return terms.mean(dim).clamp(min=self.free_bits).sum() * terms.shape[dim] * site["scale"]


def _kl_terms(prior: Any, posterior: Any, value: Tensor, analytic: bool) -> Tensor:
    """log q - log p at `value`, or its expectation where `analytic`; a term for each dimension if both factorize."""
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


class _RequireReparameterized(Messenger):
    """Refuses latents that are not reparameterized."""

    def _pyro_post_sample(self, msg: Any) -> None:
        latent = not msg["is_observed"] and not is_subsample(msg)
        if latent and not getattr(msg["fn"], "has_rsample", False):
            raise ValueError(
                f"ImportanceWeightedELBO needs reparameterized latents, and site '{msg['name']}' is {msg['fn']}: "
                'mark it infer={"enumerate": "parallel"} and leave it out of the guide, or train with Trace_ELBO'
            )


@checked
class ImportanceWeightedELBO(_Objective):
    r"""The importance-weighted bound of every datum (IWAE; Burda, Grosse and Salakhutdinov 2015, arXiv:1509.00519).

    $$ \sum_i \log \frac1K \sum_k \frac{p(x_i, z_{ik})}{q(z_{ik}|x_i)}, \quad z_{ik} \sim q(z|x_i) $$

    The mean over draws is taken inside the logarithm for each datum, which is correct for local latents.
    `pyro.infer.RenyiELBO` multiplies the weights of all data first where a site is outside the data plate: that is the
    bound of the joint density.

    Args:
        num_particles: K, 10 by default.

    Raises:
        ValueError: `num_particles` is less than 1.
    """

    def __init__(self, num_particles: Count = 10) -> None:
        if num_particles < 1:
            raise ValueError(f"num_particles must be at least 1, got {num_particles}")
        super().__init__(num_particles=num_particles)

    def differentiable_loss(self, model: Runner, guide: Runner, *args: Any, **kwargs: Any) -> Tensor:
        """Minus the bound, to differentiate.

        A latent outside the data plate is refused (`NoWeights`), and one that is not reparameterized (`ValueError`).

        Args:
            model: a function of a batch.
            guide: a function of a batch.
            args: one `Batch`.
            kwargs: ignored.

        Returns:
            (), in nats of the whole data plate.

        Raises:
            TypeError: `args` is no batch.
        """
        batch = args[0] if args else None
        if not isinstance(batch, Batch):
            raise TypeError(
                "ImportanceWeightedELBO trains under pyrogen's fit; with stock SVI use pyro.infer.RenyiELBO"
            )
        log_weights, scale = row_log_weights(model, _RequireReparameterized()(guide), batch, self.num_particles)
        return -scale * (torch.logsumexp(log_weights, 0) - math.log(self.num_particles)).sum()
