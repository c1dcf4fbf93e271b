"""Inference on stories: SVI, objectives, prediction, likelihood."""

from pyrogen.inference.activity import ActiveUnits, active_units
from pyrogen.inference.bayes import Classification, classify, conditional_likelihood
from pyrogen.inference.callbacks import TensorBoard
from pyrogen.inference.codes import decode, encode, reconstruct
from pyrogen.inference.fit import fit
from pyrogen.inference.imputing import Imputation, impute
from pyrogen.inference.likelihood import LogLikelihood, held_out_elbo, log_likelihood, log_weights
from pyrogen.inference.objectives import ImportanceWeightedELBO, TemperedELBO
from pyrogen.inference.optimizing import adam
from pyrogen.inference.predict import posterior, posterior_predictive, prior, prior_predictive
from pyrogen.inference.result import Fit
from pyrogen.inference.run_folder import RunFolder
from pyrogen.inference.schedules import constant_with_warmup, cosine
from pyrogen.inference.svi import SVI
from pyrogen.inference.weights import NoWeights

__all__ = [
    "SVI",
    "ActiveUnits",
    "Classification",
    "Fit",
    "ImportanceWeightedELBO",
    "Imputation",
    "LogLikelihood",
    "NoWeights",
    "RunFolder",
    "TemperedELBO",
    "TensorBoard",
    "active_units",
    "adam",
    "classify",
    "conditional_likelihood",
    "constant_with_warmup",
    "cosine",
    "decode",
    "encode",
    "fit",
    "held_out_elbo",
    "impute",
    "log_likelihood",
    "log_weights",
    "posterior",
    "posterior_predictive",
    "prior",
    "prior_predictive",
    "reconstruct",
]
