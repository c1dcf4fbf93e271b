"""Components that stories are composed of: likelihoods, posteriors and priors.

A `Family` (likelihood or posterior) declares how many numbers a network must give and makes a Pyro distribution of
them; a `Prior` is a distribution of latents; a `Covariance` parametrizes that of a Gaussian; a `Bandwidth` is a rule
for kernel density estimates. A `NormalizingFlow` transforms a base distribution by Pyro's transforms or by those that a
`BijectionConfig` defines, whose layers apply an `Elementwise` map. To add one, write one class: stories accept any of
them.
"""

from pyrogen.arguments import check_public
from pyrogen.distributions.autoregressive import AutoregressiveDistribution
from pyrogen.distributions.autoregressive_likelihood import AutoregressiveLikelihood, check_outputs
from pyrogen.distributions.bandwidths import Bandwidth, LeaveOneOutBandwidth, Scott, Silverman, squared_distances
from pyrogen.distributions.covariances import Covariance, Diagonal, Full, Spherical, reshape_events
from pyrogen.distributions.diffusion.noise_schedules import (
    CosineSchedule,
    LinearBetaSchedule,
    LinearLogSNRSchedule,
    NoiseSchedule,
)
from pyrogen.distributions.diffusion.predictions import Prediction, PredictNoise, PredictV, PredictX
from pyrogen.distributions.diffusion.reconstruction import (
    check_reconstruction_likelihood,
    reconstruction_distribution,
    reconstruction_log_snr,
)
from pyrogen.distributions.discrete.grey_level_likelihoods import DiscretizedCategorical, DiscretizedLogistic
from pyrogen.distributions.discrete.logistic_mixture import LogisticMixture
from pyrogen.distributions.discrete.quantized import Codebook, Quantized
from pyrogen.distributions.family import Family, promote_outputs, stacked_shape, unstack
from pyrogen.distributions.flows.autoregressive import Autoregressive
from pyrogen.distributions.flows.bijections import Bijection, BijectionConfig
from pyrogen.distributions.flows.couplings import Coupling
from pyrogen.distributions.flows.elementwise import Affine, Elementwise, GatedAffine, Spline
from pyrogen.distributions.flows.flow_posterior import FlowPosterior, InverseAutoregressiveFlow
from pyrogen.distributions.flows.logit import Logit
from pyrogen.distributions.flows.multiscale import MultiScale
from pyrogen.distributions.flows.normalizing_flow import Base, FlowPrior, NormalizingFlow, Transforms
from pyrogen.distributions.flows.zuko import ZukoFlow
from pyrogen.distributions.likelihoods import Bernoulli, Categorical, Gaussian, SharedScaleGaussian
from pyrogen.distributions.posteriors import DiagonalNormal, FullNormal, precision_weighted
from pyrogen.distributions.priors import NormalMixture, Prior, StandardNormal, VampPrior

__all__ = [
    "Affine",
    "Autoregressive",
    "AutoregressiveDistribution",
    "AutoregressiveLikelihood",
    "Bandwidth",
    "Base",
    "Bernoulli",
    "Bijection",
    "BijectionConfig",
    "Categorical",
    "Codebook",
    "CosineSchedule",
    "Coupling",
    "Covariance",
    "Diagonal",
    "DiagonalNormal",
    "DiscretizedCategorical",
    "DiscretizedLogistic",
    "Elementwise",
    "Family",
    "FlowPosterior",
    "FlowPrior",
    "Full",
    "FullNormal",
    "GatedAffine",
    "Gaussian",
    "InverseAutoregressiveFlow",
    "LeaveOneOutBandwidth",
    "LinearBetaSchedule",
    "LinearLogSNRSchedule",
    "LogisticMixture",
    "Logit",
    "MultiScale",
    "NoiseSchedule",
    "NormalMixture",
    "NormalizingFlow",
    "PredictNoise",
    "PredictV",
    "PredictX",
    "Prediction",
    "Prior",
    "Quantized",
    "Scott",
    "SharedScaleGaussian",
    "Silverman",
    "Spherical",
    "Spline",
    "StandardNormal",
    "Transforms",
    "VampPrior",
    "ZukoFlow",
    "check_outputs",
    "check_reconstruction_likelihood",
    "precision_weighted",
    "promote_outputs",
    "reconstruction_distribution",
    "reconstruction_log_snr",
    "reshape_events",
    "squared_distances",
    "stacked_shape",
    "unstack",
]

check_public(globals(), functions=False)
