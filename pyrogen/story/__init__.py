"""The concept of a generative story, and what every other part needs to run one."""

from pyrogen.story.arguments import RESERVED, Batch, Signature
from pyrogen.story.columns import Labelled, check_event, check_length
from pyrogen.story.draw import Seen, Spec
from pyrogen.story.pair import Pair, as_story
from pyrogen.story.sites import data_plate, enumerated, inside, is_point, latent_sites, observed_sites, outside
from pyrogen.story.store import Store
from pyrogen.story.story import Story

__all__ = [
    "RESERVED",
    "Batch",
    "Labelled",
    "Pair",
    "Seen",
    "Signature",
    "Spec",
    "Store",
    "Story",
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
