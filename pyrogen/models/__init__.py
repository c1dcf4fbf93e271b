"""Generative stories, one in each file."""

from pyrogen.models.autoencoder import Autoencoder
from pyrogen.models.bayesian_ppca import BayesianPPCA
from pyrogen.models.classifier import Classifier
from pyrogen.models.conditional_vae import ConditionalVAE
from pyrogen.models.factor_analysis import FactorAnalysis
from pyrogen.models.gaussian import MultivariateGaussian
from pyrogen.models.hierarchical_vae import HierarchicalVAE
from pyrogen.models.kde import KDE
from pyrogen.models.kmeans import KMeans
from pyrogen.models.ladder_vae import LadderVAE
from pyrogen.models.mixture import GaussianMixture
from pyrogen.models.pca import PCA
from pyrogen.models.ppca import PPCA
from pyrogen.models.semi_supervised_vae import SemiSupervisedVAE
from pyrogen.models.vae import VAE

__all__ = [
    "KDE",
    "PCA",
    "PPCA",
    "VAE",
    "Autoencoder",
    "BayesianPPCA",
    "Classifier",
    "ConditionalVAE",
    "FactorAnalysis",
    "GaussianMixture",
    "HierarchicalVAE",
    "KMeans",
    "LadderVAE",
    "MultivariateGaussian",
    "SemiSupervisedVAE",
]
