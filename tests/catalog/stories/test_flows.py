"""The settings of flows: what each builds, that config.json describes it, and what is refused."""

import json

import pytest
import torch

from pyrogen import distributions, models
from pyrogen.catalog import CATALOG, rebuild
from pyrogen.inference.persistence.config import describe_story
from pyrogen.messages import UsageError

GIVEN = {"event_shape": (1, 4, 4), "classes": 10, "levels": 17}
SETTINGS = [
    {},
    {"elementwise": "affine", "scales": 1, "width": 4},
    {"kind": "coupling", "hidden": 16, "bins": 4},
    {"kind": "autoregressive", "hidden": [16], "alpha": 0},
    {"conditional": True},
    {"condition": [3], "kind": "coupling"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=json.dumps)
def test_every_setting_builds_a_story_that_config_json_describes(settings, tmp_path):
    story = CATALOG["flow"].make({"steps": 1, **settings}, **GIVEN)
    description = json.loads(json.dumps(describe_story(story)))
    assert "opaque" not in str(description)
    again = rebuild(description, tmp_path)
    again.load_state_dict(story.state_dict())
    given = {"y": 3} if "conditional" in settings else {"y": torch.randn(2, 3)} if "condition" in settings else {}
    draws = []
    for each in (story, again):
        torch.manual_seed(0)
        draws.append(each.sample(2, **given))
    assert draws[0].shape == (2, 1, 4, 4)
    assert torch.equal(*draws)


def test_settings_choose_the_transforms_they_name():
    scales, logit = CATALOG["flow"].make({}, **GIVEN).flow.transforms
    assert scales == distributions.MultiScale(distributions.Spline(8), 3, 4, 32)
    assert logit == distributions.Logit(0.01)
    (vectors,) = CATALOG["flow"].make({"elementwise": "affine"}, event_shape=(6,)).flow.transforms
    assert vectors == distributions.Coupling(distributions.Affine(), 4, (128, 128))
    odd = CATALOG["flow"].make({"alpha": 1e-6}, event_shape=(1, 7, 7), levels=256).flow.transforms
    assert [type(each) for each in odd] == [distributions.Coupling, distributions.Logit]
    assert isinstance(CATALOG["flow"].make({"conditional": True}, **GIVEN), models.ConditionalFlow)
    vae = CATALOG["vae"].make({"prior": "flow", "latent": 3}, event_shape=(1, 4, 4))
    assert isinstance(vae.prior, distributions.FlowPrior)


def test_labels_that_the_data_lack_are_refused():
    with pytest.raises(UsageError, match="conditional=true needs labels y, and the data have none"):
        CATALOG["flow"].make({"conditional": True}, event_shape=(1, 4, 4))
