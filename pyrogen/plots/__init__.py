"""Pictures of data, reconstructions and training; Matplotlib is loaded when one is made."""

from pyrogen.plots.images import image_grid, reconstructions, save_image_grid, save_picture
from pyrogen.plots.latents import latent_planes
from pyrogen.plots.training import training_curve

__all__ = ["image_grid", "latent_planes", "reconstructions", "save_image_grid", "save_picture", "training_curve"]
