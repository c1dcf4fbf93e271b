"""The concept of a generative story, and what every other part needs to run one."""

from pyrogen.story.arguments import RESERVED, Batch, Signature
from pyrogen.story.from_functions import Pair, as_story
from pyrogen.story.param_store import Store
from pyrogen.story.sampling import Spec, TrainingSpec
from pyrogen.story.sites import data_plate, enumerated, inside, is_point, latent_sites, observed_sites, outside
from pyrogen.story.story import Story
from pyrogen.story.validation import Labelled, check_event, check_length

__all__ = [
    "RESERVED",
    "Batch",
    "Labelled",
    "Pair",
    "Signature",
    "Spec",
    "Store",
    "Story",
    "TrainingSpec",
    "as_story",
    "check_event",
    "check_length",
    "data_plate",
    "enumerated",
    "inside",
    "is_point",
    "latent_sites",
    "observed_sites",
    "outside",
]
