"""Components that stories are composed of: likelihoods, posteriors and priors.

A `Family` (likelihood or posterior) says how many numbers a network must give and turns them into a Pyro distribution;
a `Prior` is a distribution of latents. A new one is one class: stories take any of them and are not edited.
"""

from pyrogen.distributions.family import Family, stacked, unstack
from pyrogen.distributions.likelihoods import Bernoulli, Gaussian
from pyrogen.distributions.posteriors import DiagonalNormal
from pyrogen.distributions.priors import Prior, StandardNormal

__all__ = ["Bernoulli", "DiagonalNormal", "Family", "Gaussian", "Prior", "StandardNormal", "stacked", "unstack"]
