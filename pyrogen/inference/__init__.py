"""Inference on stories: SVI, objectives, prediction, likelihood."""

from pyrogen.arguments import check_public
from pyrogen.inference.fit import fit
from pyrogen.inference.likelihood.bayes_rule import Classification, classify, conditional_likelihood
from pyrogen.inference.likelihood.held_out import held_out_elbo
from pyrogen.inference.likelihood.marginal_likelihood import LogLikelihood, log_likelihood, log_weights
from pyrogen.inference.optim.lr_schedules import constant_with_warmup, cosine
from pyrogen.inference.optim.objectives import ImportanceWeightedELBO, TemperedELBO
from pyrogen.inference.optim.optimizer import adam
from pyrogen.inference.persistence.run_directory import RunDirectory
from pyrogen.inference.prediction.activity import ActiveUnits, active_units
from pyrogen.inference.prediction.encode_decode import codes, decode, encode, reconstruct
from pyrogen.inference.prediction.imputation import Imputation, impute
from pyrogen.inference.prediction.predictive import posterior, posterior_predictive, prior, prior_predictive
from pyrogen.inference.program.evaluation_context import EvaluationContext, evaluation_context
from pyrogen.inference.program.row_log_weights import NoWeights
from pyrogen.inference.restarts import fit_restarts
from pyrogen.inference.svi.pyro_svi import SVI
from pyrogen.inference.training.callbacks import TensorBoard
from pyrogen.inference.training.result import Fit

__all__ = [
    "SVI",
    "ActiveUnits",
    "Classification",
    "EvaluationContext",
    "Fit",
    "ImportanceWeightedELBO",
    "Imputation",
    "LogLikelihood",
    "NoWeights",
    "RunDirectory",
    "TemperedELBO",
    "TensorBoard",
    "active_units",
    "adam",
    "classify",
    "codes",
    "conditional_likelihood",
    "constant_with_warmup",
    "cosine",
    "decode",
    "encode",
    "evaluation_context",
    "fit",
    "fit_restarts",
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

check_public(globals(), classes=False, but=("fit",))
