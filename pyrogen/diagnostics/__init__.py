"""Whether to believe a posterior: its tests, their verdict, and draws and densities in ArviZ's own data format."""

from pyrogen.diagnostics.arviz_export import GROUPS, to_datatree, to_inference_data
from pyrogen.diagnostics.calibration import Calibration, check_calibration
from pyrogen.diagnostics.convergence import Trend, elbo_trend
from pyrogen.diagnostics.decomposition import Decomposition, decompose
from pyrogen.diagnostics.diagnosis import Diagnosis, Figure, Finding
from pyrogen.diagnostics.distance import ReferenceDistance, against_reference
from pyrogen.diagnostics.estimates import Estimate, Estimates
from pyrogen.diagnostics.examination import BUDGETS, Budget, diagnose
from pyrogen.diagnostics.expectations import Expectation, corrected_expectations
from pyrogen.diagnostics.features import Features, Inception, Pixels, SmallClassifier, suited_features
from pyrogen.diagnostics.frechet import frechet_distance
from pyrogen.diagnostics.gaps import InferenceGaps, inference_gaps
from pyrogen.diagnostics.gradient_noise import GradientNoise, gradient_noise
from pyrogen.diagnostics.importance import ImportanceWeights, importance_weights, khat_threshold
from pyrogen.diagnostics.leave_one_out import LeaveOneOut, loo
from pyrogen.diagnostics.moments import Moments, shared_moments
from pyrogen.diagnostics.neighbours import (
    Memorization,
    density_coverage,
    memorization,
    nearest_neighbours,
    precision_recall,
)
from pyrogen.diagnostics.outliers import OutlierScores, outlier_scores, roc_auc
from pyrogen.diagnostics.predictive import PredictiveCheck, predictive_check
from pyrogen.diagnostics.reference_sampling import Reference, sample_reference
from pyrogen.diagnostics.sample_quality import SampleQuality, draw_samples, sample_quality
from pyrogen.diagnostics.simulation import prior_elbo, simulated_data
from pyrogen.diagnostics.surgery import Surgery, elbo_surgery
from pyrogen.diagnostics.two_sample import TwoSample, classifier_two_sample, kernel_distance

__all__ = [
    "BUDGETS",
    "GROUPS",
    "Budget",
    "Calibration",
    "Decomposition",
    "Diagnosis",
    "Estimate",
    "Estimates",
    "Expectation",
    "Features",
    "Figure",
    "Finding",
    "GradientNoise",
    "ImportanceWeights",
    "Inception",
    "InferenceGaps",
    "LeaveOneOut",
    "Memorization",
    "Moments",
    "OutlierScores",
    "Pixels",
    "PredictiveCheck",
    "Reference",
    "ReferenceDistance",
    "SampleQuality",
    "SmallClassifier",
    "Surgery",
    "Trend",
    "TwoSample",
    "against_reference",
    "check_calibration",
    "classifier_two_sample",
    "corrected_expectations",
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
]
