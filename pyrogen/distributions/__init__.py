"""Components that stories are composed of: likelihoods, posteriors and priors.

A `Family` (likelihood or posterior) says how many numbers a network must give and turns them into a Pyro distribution;
a `Prior` is a distribution of latents; a `Covariance` says what is free in a Gaussian's; a `Bandwidth` is a rule for
kernel density estimates. A new one is one class: stories take any of them and are not edited.
"""

from pyrogen.distributions.bandwidths import Bandwidth, LeaveOneOut, Scott, Silverman, squared_distances
from pyrogen.distributions.covariances import Covariance, Diagonal, Full, Spherical, over_events
from pyrogen.distributions.family import Family, stacked, unstack, widened
from pyrogen.distributions.flows import InverseAutoregressiveFlow
from pyrogen.distributions.likelihoods import Bernoulli, Categorical, DiscretizedLogistic, Gaussian, SharedScaleGaussian
from pyrogen.distributions.posteriors import DiagonalNormal, FullNormal, precision_weighted
from pyrogen.distributions.priors import NormalMixture, Prior, StandardNormal, VampPrior

__all__ = [
    "Bandwidth",
    "Bernoulli",
    "Categorical",
    "Covariance",
    "Diagonal",
    "DiagonalNormal",
    "DiscretizedLogistic",
    "Family",
    "Full",
    "FullNormal",
    "Gaussian",
    "InverseAutoregressiveFlow",
    "LeaveOneOut",
    "NormalMixture",
    "Prior",
    "Scott",
    "SharedScaleGaussian",
    "Silverman",
    "Spherical",
    "StandardNormal",
    "VampPrior",
    "over_events",
    "precision_weighted",
    "squared_distances",
    "stacked",
    "unstack",
    "widened",
]
