"""Generative stories, one in each file."""

from pyrogen.arguments import check_public
from pyrogen.models.autoencoder import Autoencoder
from pyrogen.models.bayesian_ppca import BayesianPPCA
from pyrogen.models.classifier import Classifier
from pyrogen.models.conditional_diffusion import ConditionalDiffusion
from pyrogen.models.conditional_vae import ConditionalVAE
from pyrogen.models.diffusion import Diffusion
from pyrogen.models.factor_analysis import FactorAnalysis
from pyrogen.models.flow import ConditionalFlow, Flow
from pyrogen.models.gaussian import MultivariateGaussian
from pyrogen.models.hierarchical_vae import HierarchicalVAE
from pyrogen.models.kde import KDE
from pyrogen.models.kmeans import KMeans
from pyrogen.models.ladder_vae import LadderVAE
from pyrogen.models.mixture import GaussianMixture
from pyrogen.models.pca import PCA
from pyrogen.models.ppca import PPCA
from pyrogen.models.semi_supervised_vae import SemiSupervisedVAE
from pyrogen.models.sequence_autoencoder import SequenceAutoencoder
from pyrogen.models.sequence_vae import SequenceVAE
from pyrogen.models.vae import VAE
from pyrogen.models.vq_vae import VQVAE, CodeUsage

__all__ = [
    "KDE",
    "PCA",
    "PPCA",
    "VAE",
    "VQVAE",
    "Autoencoder",
    "BayesianPPCA",
    "Classifier",
    "CodeUsage",
    "ConditionalDiffusion",
    "ConditionalFlow",
    "ConditionalVAE",
    "Diffusion",
    "FactorAnalysis",
    "Flow",
    "GaussianMixture",
    "HierarchicalVAE",
    "KMeans",
    "LadderVAE",
    "MultivariateGaussian",
    "SemiSupervisedVAE",
    "SequenceAutoencoder",
    "SequenceVAE",
]

check_public(globals())
