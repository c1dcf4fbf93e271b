"""Diagnostics of posteriors, models and samples, a verdict on them, and export to ArviZ's data format."""

from pyrogen.arguments import check_public
from pyrogen.diagnostics.core.datatree import GROUPS
from pyrogen.diagnostics.core.estimates import Estimate, Estimates
from pyrogen.diagnostics.elbo.convergence import Trend, elbo_trend
from pyrogen.diagnostics.elbo.decomposition import Decomposition, decompose
from pyrogen.diagnostics.elbo.elbo_surgery import ELBOSurgery, elbo_surgery
from pyrogen.diagnostics.elbo.gradient_snr import GradientNoise, gradient_noise
from pyrogen.diagnostics.guide.calibration import Calibration, check_calibration
from pyrogen.diagnostics.guide.corrected_moments import Expectation, Moments, corrected_expectations, shared_moments
from pyrogen.diagnostics.guide.datum_moments import DatumMoments, datum_moments
from pyrogen.diagnostics.guide.importance import ImportanceWeights, importance_weights
from pyrogen.diagnostics.guide.inference_gaps import InferenceGaps, inference_gaps
from pyrogen.diagnostics.guide.pareto_smoothing import khat_threshold
from pyrogen.diagnostics.guide.reference_distance import ReferenceDistance, against_reference
from pyrogen.diagnostics.guide.reference_mcmc import Reference, sample_reference
from pyrogen.diagnostics.guide.starts import Starts, compare_starts
from pyrogen.diagnostics.model_checks.leave_one_out import compare, loo, waic
from pyrogen.diagnostics.model_checks.misfit import Misfit, misfits
from pyrogen.diagnostics.model_checks.outliers import OutlierScores, outlier_scores, roc_auc
from pyrogen.diagnostics.model_checks.predictive_checks import PredictiveCheck, predictive_check
from pyrogen.diagnostics.model_checks.simulation import prior_elbo, simulated_data
from pyrogen.diagnostics.report.arviz_export import to_datatree, to_inference_data
from pyrogen.diagnostics.report.checks import diagnose
from pyrogen.diagnostics.report.diagnosis import Diagnosis, Headline
from pyrogen.diagnostics.report.examination import BUDGETS, Budget
from pyrogen.diagnostics.report.findings import Finding, Metric, Remedy
from pyrogen.diagnostics.samples.features import Features, Pixels, SmallClassifier, suited_features
from pyrogen.diagnostics.samples.frechet import frechet_distance
from pyrogen.diagnostics.samples.inception import Inception
from pyrogen.diagnostics.samples.prdc import (
    Memorization,
    density_coverage,
    memorization,
    nearest_neighbours,
    precision_recall,
)
from pyrogen.diagnostics.samples.sample_quality import SampleQuality, draw_samples, sample_quality
from pyrogen.diagnostics.samples.two_sample import TwoSample, classifier_two_sample, kernel_distance

__all__ = [
    "BUDGETS",
    "GROUPS",
    "Budget",
    "Calibration",
    "DatumMoments",
    "Decomposition",
    "Diagnosis",
    "ELBOSurgery",
    "Estimate",
    "Estimates",
    "Expectation",
    "Features",
    "Finding",
    "GradientNoise",
    "Headline",
    "ImportanceWeights",
    "Inception",
    "InferenceGaps",
    "Memorization",
    "Metric",
    "Misfit",
    "Moments",
    "OutlierScores",
    "Pixels",
    "PredictiveCheck",
    "Reference",
    "ReferenceDistance",
    "Remedy",
    "SampleQuality",
    "SmallClassifier",
    "Starts",
    "Trend",
    "TwoSample",
    "against_reference",
    "check_calibration",
    "classifier_two_sample",
    "compare",
    "compare_starts",
    "corrected_expectations",
    "datum_moments",
    "decompose",
    "density_coverage",
    "diagnose",
    "draw_samples",
    "elbo_surgery",
    "elbo_trend",
    "frechet_distance",
    "gradient_noise",
    "importance_weights",
    "inference_gaps",
    "kernel_distance",
    "khat_threshold",
    "loo",
    "memorization",
    "misfits",
    "nearest_neighbours",
    "outlier_scores",
    "precision_recall",
    "predictive_check",
    "prior_elbo",
    "roc_auc",
    "sample_quality",
    "sample_reference",
    "shared_moments",
    "simulated_data",
    "suited_features",
    "to_datatree",
    "to_inference_data",
    "waic",
]

check_public(globals(), classes=False)
