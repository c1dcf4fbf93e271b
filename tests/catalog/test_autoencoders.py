"""The settings of autoencoders: what each builds, that a run folder can tell it, and what is refused."""

import json

import pytest
import torch

from pyrogen import distributions, models, nn
from pyrogen.catalog import CATALOG, rebuild
from pyrogen.inference.run_folder import describe_story

SETTINGS = {
    "autoencoder": [
        {"hidden": []},
        {"network": "conv", "channels": [4, 4], "masking": 0.3},
        {"network": "transformer", "width": 8, "noise": 0.1, "sparse": 0.1},
        {"contractive": 0.1},
    ],
    "vae": [
        *({"likelihood": name} for name in ("bernoulli", "gaussian", "gaussian-pixel", "gaussian-shared")),
        *({"likelihood": name} for name in ("logistic", "categorical")),
        *({"posterior": name} for name in ("diagonal", "full", "unit", "flow")),
        *({"prior": name, "components": 3} for name in ("normal", "mixture", "vamp", "flow")),
        *({"network": name} for name in ("dense", "conv", "resnet", "recurrent", "transformer")),
        {"network": "conv", "likelihood": "categorical", "posterior": "full", "prior": "vamp", "components": 3},
    ],
    "hierarchical_vae": [
        {"guide": "ladder", "latents": [3, 2]},
        {"guide": "bottom-up", "latents": [4, 3, 2], "hidden": 8, "likelihood": "logistic"},
    ],
}
GIVEN = {"event_shape": (1, 8, 8), "classes": 10, "levels": 17, "total": 100}


def cases():
    for name, settings in SETTINGS.items():
        for each in settings:
            small = {} if name == "hierarchical_vae" else {"latent": 2, "hidden": [16]}
            yield pytest.param(name, small | each, id=f"{name}-{json.dumps(each)}")


@pytest.mark.parametrize(("name", "settings"), list(cases()))
def test_every_setting_builds_a_story_that_a_run_folder_can_tell(name, settings, tmp_path):
    story = CATALOG[name].make(settings, **GIVEN)
    told = json.loads(json.dumps(describe_story(story)))
    again = rebuild(told, tmp_path)
    assert "opaque" not in str(told)
    again.load_state_dict(story.state_dict())
    assert describe_story(again) == describe_story(story)
    x = torch.rand(3, 1, 8, 8).round()
    loss = []
    for each in (story, again):
        torch.manual_seed(0)
        each.guide(x, 3)
        loss.append(each.model(x, 3))
        if "sample" not in each.without:
            assert each.sample(2).shape == (2, 1, 8, 8)
    assert torch.equal(*loss)


def test_settings_choose_what_they_say():
    made = CATALOG["vae"].make({"likelihood": "categorical", "network": "resnet", "posterior": "flow"}, **GIVEN)
    assert made.likelihood == distributions.Categorical(17)
    assert isinstance(made.posterior, distributions.InverseAutoregressiveFlow)
    assert isinstance(made.decoder, nn.ConvDecoder)
    assert made.decoder.blocks == 2
    linear = CATALOG["autoencoder"].make({"hidden": [], "latent": 3}, **GIVEN)
    assert [type(layer) for layer in linear.encoder.layers] == [torch.nn.Linear]
    chain = CATALOG["hierarchical_vae"].make({"guide": "bottom-up"}, **GIVEN)
    assert type(chain) is models.HierarchicalVAE
    assert type(CATALOG["hierarchical_vae"].make({}, **GIVEN)) is models.LadderVAE


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("vae", {"likelihood": "poisson"}, "likelihood is one of bernoulli, gaussian, .*categorical, got 'poisson'"),
        ("vae", {"posterior": "iaf"}, "posterior is one of diagonal, full, unit, flow, got 'iaf'"),
        ("vae", {"prior": "vampire"}, "prior is one of normal, mixture, vamp, flow, got 'vampire'"),
        ("vae", {"network": "mlp"}, "network is one of dense, conv, resnet, recurrent, transformer, got 'mlp'"),
        ("vae", {"prior": "vamp", "posterior": "flow"}, "VampPrior scores every latent"),
        ("hierarchical_vae", {"guide": "top"}, "guide is one of ladder, bottom-up, got 'top'"),
        ("autoencoder", {"masking": 0.1, "noise": 0.1}, "two ways to corrupt x: set one, got 0.1 and 0.1"),
    ],
)
def test_refuses_what_there_is_not(name, settings, said):
    with pytest.raises(ValueError, match=said):
        CATALOG[name].make(settings, **GIVEN)


def test_grey_levels_are_told_by_the_data_or_set():
    for name in ("logistic", "categorical"):
        unknown = {**GIVEN, "levels": None}
        with pytest.raises(ValueError, match=f"likelihood={name} is of grey levels, .*--set levels=256"):
            CATALOG["vae"].make({"likelihood": name}, **unknown)
        assert CATALOG["vae"].make({"likelihood": name, "levels": 256}, **unknown).likelihood.levels == 256


@pytest.mark.parametrize("name", SETTINGS)
def test_every_choice_that_is_listed_is_one(name):
    entry = CATALOG[name]
    for setting, names in entry.choices.items():
        assert entry.settings[setting] == names[0]
        for each in names:
            assert entry.make({setting: each}, **GIVEN)
