"""The settings of autoencoders: what each builds, that config.json describes it, and what is refused."""

import json

import pytest
import torch
from pyro import poutine

from pyrogen import distributions, models, nn
from pyrogen.catalog import CATALOG, rebuild
from pyrogen.inference.persistence.config import describe_story
from pyrogen.messages import UsageError

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
        *({"prior": name} for name in ("normal", "flow")),
        *({"prior": name, "components": 3} for name in ("mixture", "vamp")),
        *({"network": name} for name in ("dense", "conv", "resnet", "recurrent", "transformer")),
        {"network": "conv", "likelihood": "categorical", "posterior": "full", "prior": "vamp", "components": 3},
    ],
    "hierarchical_vae": [
        {"guide": "ladder", "latents": [3, 2]},
        {"guide": "bottom-up", "latents": [4, 3, 2], "hidden": 8, "likelihood": "logistic"},
    ],
    "vq_vae": [
        {"grid": [2, 2], "prior": "pixelcnn", "codes": 4},
        {"prior": "uniform", "likelihood": "gaussian-shared", "commitment": 1, "hidden": []},
        {"network": "conv", "channels": [4, 4], "prior": "transformer", "features": 2},
        {"network": "conv", "channels": [4, 4], "prior": "pixelcnn", "likelihood": "categorical"},
    ],
    "sequence_vae": [
        *(
            {"network": network, "layers": 2, "word_keep_prob": keep}
            for network, keep in (("recurrent", 0), ("transformer", 0.5))
        ),
        {"noise": False, "likelihood": "bernoulli"},
        {"noise": False, "network": "transformer", "word_keep_prob": 0.5},
        *(
            {"likelihood": name}
            for name in ("gaussian", "gaussian-pixel", "gaussian-shared", "logistic", "categorical")
        ),
        *({"posterior": name} for name in ("full", "unit", "flow")),
        {"prior": "flow"},
        *({"prior": name, "components": 3} for name in ("mixture", "vamp")),
    ],
}
SMALL = {"hierarchical_vae": {}, "vq_vae": {"hidden": [16]}, "sequence_vae": {"latent": 2, "width": 8}}
GIVEN = {"event_shape": (1, 8, 8), "classes": 10, "levels": 17, "total": 100}


def cases():
    for name, settings in SETTINGS.items():
        for each in settings:
            small = SMALL.get(name, {"latent": 2, "hidden": [16]})
            if each.get("network") in ("conv", "resnet"):
                small = {key: value for key, value in small.items() if key != "hidden"}
            yield pytest.param(name, small | each, id=f"{name}-{json.dumps(each)}")


def scored(story, x):
    """log p(x, z) - log q(z | x), at one draw of z."""
    torch.manual_seed(0)
    guide = poutine.trace(story.guide).get_trace(x, len(x))
    model = poutine.trace(poutine.replay(story.model, trace=guide)).get_trace(x, len(x))
    return model.log_prob_sum() - guide.log_prob_sum()


@pytest.mark.parametrize(("name", "settings"), list(cases()))
def test_every_setting_builds_a_story_that_config_json_describes(name, settings, tmp_path):
    story = CATALOG[name].make(settings, **GIVEN)
    description = json.loads(json.dumps(describe_story(story)))
    again = rebuild(description, tmp_path)
    assert "opaque" not in str(description)
    again.load_state_dict(story.state_dict())
    assert describe_story(again) == describe_story(story)
    x = torch.rand(3, 1, 8, 8).round()
    assert torch.equal(scored(story, x), scored(again, x))
    for each in (story, again):
        if "sample" not in each.unsupported:
            assert each.sample(2).shape == (2, 1, 8, 8)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"network": "transformer", "word_keep_prob": 0.5},
        {"noise": False},
        {"prior": "mixture", "posterior": "full"},
    ],
    ids=json.dumps,
)
def test_settings_of_texts_build_a_story_that_config_json_describes(settings, tmp_path):
    story = CATALOG["sequence_vae"].make({"latent": 2, "width": 8, **settings}, event_shape=(5,), symbols=3)
    again = rebuild(json.loads(json.dumps(describe_story(story))), tmp_path)
    again.load_state_dict(story.state_dict())
    x = torch.randint(3, (4, 5))
    assert torch.equal(scored(story, x), scored(again, x))
    assert story.likelihood == again.likelihood == distributions.Categorical(3)


def test_settings_choose_the_components_they_name():
    made = CATALOG["vae"].make({"likelihood": "categorical", "network": "resnet", "posterior": "flow"}, **GIVEN)
    assert made.likelihood == distributions.DiscretizedCategorical(17)
    assert isinstance(made.posterior, distributions.InverseAutoregressiveFlow)
    assert isinstance(made.decoder, nn.ConvDecoder)
    assert made.decoder.blocks == 2
    linear = CATALOG["autoencoder"].make({"hidden": [], "latent": 3}, **GIVEN)
    assert [type(layer) for layer in linear.encoder.layers] == [torch.nn.Linear]
    conv = CATALOG["vq_vae"].make({"network": "conv", "prior": "pixelcnn"}, **GIVEN)
    assert conv.grid == (2, 2)
    assert isinstance(conv.prior, nn.GatedPixelCNN)
    rows = CATALOG["sequence_vae"].make({"likelihood": "gaussian-pixel", "network": "transformer"}, **GIVEN)
    assert rows.likelihood.raw_scale.shape == (8,)  # of an element, which is a row
    assert isinstance(rows.decoder, nn.CausalTransformer)
    assert type(CATALOG["sequence_vae"].make({"noise": False}, **GIVEN)) is models.SequenceAutoencoder
    chain = CATALOG["hierarchical_vae"].make({"guide": "bottom-up"}, **GIVEN)
    assert type(chain) is models.HierarchicalVAE
    assert type(CATALOG["hierarchical_vae"].make({}, **GIVEN)) is models.LadderVAE


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "vae",
            {"prior": "vamp", "posterior": "flow"},
            "vae cannot be built with prior=vamp, posterior=flow: VampPrior ",
        ),
        (
            "sequence_vae",
            {"prior": "vamp", "posterior": "flow"},
            "cannot be built with prior=vamp, posterior=flow: VampPrior",
        ),
        (
            "sequence_vae",
            {"noise": False, "prior": "flow"},
            "prior has no effect with noise=false; it is used with noise=true",
        ),
        ("autoencoder", {"masking": 0.1, "noise": 0.1}, "two ways to corrupt x: set one, got 0.1 and 0.1"),
    ],
)
def test_components_that_exclude_each_other_are_refused(name, settings, message):
    with pytest.raises(UsageError, match=message):
        CATALOG[name].make(settings, **GIVEN)


def test_grey_levels_come_from_the_data_or_are_set():
    unknown = {**GIVEN, "levels": None}
    for name in ("logistic", "categorical"):
        with pytest.raises(UsageError, match=f"likelihood={name} needs the number of grey levels, .*--set levels=256"):
            CATALOG["vae"].make({"likelihood": name}, **unknown)
        assert CATALOG["vae"].make({"likelihood": name, "levels": 256}, **unknown).likelihood.levels == 256
