"""Generative stories: Pyro model/guide pairs as modules, their arguments, parameter stores, traces and samples."""

from pyrogen.story.arguments import RESERVED, Batch, Signature
from pyrogen.story.from_functions import Pair, as_story
from pyrogen.story.observations import Unobserved
from pyrogen.story.param_store import ONE_THREAD, Store
from pyrogen.story.sites import (
    data_plate,
    enumerated,
    factor_sites,
    full_value,
    inside,
    is_delta,
    is_point,
    is_subsample,
    latent_sites,
    observed_sites,
    outside,
    unwrap_independent,
)
from pyrogen.story.story import Story
from pyrogen.story.training_spec import Spec, TrainingSpec
from pyrogen.story.validation import Labelled, check_event, check_length

__all__ = [
    "ONE_THREAD",
    "RESERVED",
    "Batch",
    "Labelled",
    "Pair",
    "Signature",
    "Spec",
    "Store",
    "Story",
    "TrainingSpec",
    "Unobserved",
    "as_story",
    "check_event",
    "check_length",
    "data_plate",
    "enumerated",
    "factor_sites",
    "full_value",
    "inside",
    "is_delta",
    "is_point",
    "is_subsample",
    "latent_sites",
    "observed_sites",
    "outside",
    "unwrap_independent",
]
