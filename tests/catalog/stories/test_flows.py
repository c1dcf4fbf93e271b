"""The settings of flows: what each builds, that a run folder can tell it, and what is refused."""

import json

import pytest
import torch

from pyrogen import distributions, models
from pyrogen.catalog import CATALOG, rebuild
from pyrogen.inference.persistence.config import describe_story

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
def test_every_setting_builds_a_story_that_a_run_folder_can_tell(settings, tmp_path):
    story = CATALOG["flow"].make({"steps": 1, **settings}, **GIVEN)
    told = json.loads(json.dumps(describe_story(story)))
    assert "opaque" not in str(told)
    again = rebuild(told, tmp_path)
    again.load_state_dict(story.state_dict())
    given = {"y": 3} if "conditional" in settings else {"y": torch.randn(2, 3)} if "condition" in settings else {}
    draws = []
    for each in (story, again):
        torch.manual_seed(0)
        draws.append(each.sample(2, **given))
    assert draws[0].shape == (2, 1, 4, 4)
    assert torch.equal(*draws)


def test_settings_choose_what_they_say():
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


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kind": "glow"}, "kind is one of auto, multiscale, coupling, autoregressive, got 'glow'"),
        ({"elementwise": "cubic"}, "elementwise is one of spline, affine, got 'cubic'"),
        ({"conditional": True}, "pass classes="),
    ],
)
def test_what_is_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        CATALOG["flow"].make(settings, event_shape=(1, 4, 4))
