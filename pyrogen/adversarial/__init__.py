"""Generative adversarial networks, and the game by which `fit` trains them."""

from pyrogen.adversarial.conditional_gan import ConditionalGAN
from pyrogen.adversarial.failures import detect_failures, diversity, effective_number
from pyrogen.adversarial.gan import GAN
from pyrogen.adversarial.losses import AdversarialLoss, Hinge, NonSaturating, Wasserstein
from pyrogen.adversarial.steps import AdversarialSteps
from pyrogen.adversarial.story import BETAS, EMA, RATE, Adversarial
from pyrogen.adversarial.vae_gan import VAEGAN
from pyrogen.arguments import check_public

__all__ = [
    "BETAS",
    "EMA",
    "GAN",
    "RATE",
    "VAEGAN",
    "Adversarial",
    "AdversarialLoss",
    "AdversarialSteps",
    "ConditionalGAN",
    "Hinge",
    "NonSaturating",
    "Wasserstein",
    "detect_failures",
    "diversity",
    "effective_number",
]

check_public(globals())
