"""Pictures of data, reconstructions, training and diagnostics; Matplotlib is loaded when one is made."""

from pyrogen.arguments import check_public
from pyrogen.plots.diagnostics import DIAGNOSTIC_PLOTS, diagnostic_figures
from pyrogen.plots.images import image_grid, reconstructions, save_image_grid, save_picture
from pyrogen.plots.latents import latent_planes
from pyrogen.plots.neighbours import sample_neighbours
from pyrogen.plots.sample_progress import SampleStrip
from pyrogen.plots.theme import transparent_theme
from pyrogen.plots.training import training_curve

__all__ = [
    "DIAGNOSTIC_PLOTS",
    "SampleStrip",
    "diagnostic_figures",
    "image_grid",
    "latent_planes",
    "reconstructions",
    "sample_neighbours",
    "save_image_grid",
    "save_picture",
    "training_curve",
    "transparent_theme",
]

check_public(globals(), classes=False)
