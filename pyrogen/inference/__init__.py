"""Inference on stories: SVI, objectives, prediction, likelihood."""

from pyrogen.inference.callbacks import TensorBoard
from pyrogen.inference.fit import fit
from pyrogen.inference.likelihood import LogLikelihood, held_out_elbo, log_likelihood, log_weights
from pyrogen.inference.objectives import ImportanceWeightedELBO, TemperedELBO
from pyrogen.inference.optimizing import adam
from pyrogen.inference.predict import posterior, posterior_predictive, prior, prior_predictive
from pyrogen.inference.result import Fit
from pyrogen.inference.run_folder import RunFolder
from pyrogen.inference.schedules import constant_with_warmup, cosine
from pyrogen.inference.weights import NoWeights

__all__ = [
    "Fit",
    "ImportanceWeightedELBO",
    "LogLikelihood",
    "NoWeights",
    "RunFolder",
    "TemperedELBO",
    "TensorBoard",
    "adam",
    "constant_with_warmup",
    "cosine",
    "fit",
    "held_out_elbo",
    "log_likelihood",
    "log_weights",
    "posterior",
    "posterior_predictive",
    "prior",
    "prior_predictive",
]
