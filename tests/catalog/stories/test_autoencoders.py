"""The settings of autoencoders: what each builds, that a run folder can tell it, and what is refused."""

import json

import pytest
import torch
from pyro import poutine

from pyrogen import distributions, models, nn
from pyrogen.catalog import CATALOG, rebuild
from pyrogen.inference.persistence.config import describe_story

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
        *({"prior": name, "components": 3} for name in ("mixture", "vamp", "flow")),
    ],
}
SMALL = {"hierarchical_vae": {}, "vq_vae": {"hidden": [16]}, "sequence_vae": {"latent": 2, "width": 8}}
GIVEN = {"event_shape": (1, 8, 8), "classes": 10, "levels": 17, "total": 100}


def cases():
    for name, settings in SETTINGS.items():
        for each in settings:
            small = SMALL.get(name, {"latent": 2, "hidden": [16]})
            yield pytest.param(name, small | each, id=f"{name}-{json.dumps(each)}")


def scored(story, x):
    """log p(x, z) - log q(z | x), at one draw of z."""
    torch.manual_seed(0)
    guide = poutine.trace(story.guide).get_trace(x, len(x))
    model = poutine.trace(poutine.replay(story.model, trace=guide)).get_trace(x, len(x))
    return model.log_prob_sum() - guide.log_prob_sum()


@pytest.mark.parametrize(("name", "settings"), list(cases()))
def test_every_setting_builds_a_story_that_a_run_folder_can_tell(name, settings, tmp_path):
    story = CATALOG[name].make(settings, **GIVEN)
    told = json.loads(json.dumps(describe_story(story)))
    again = rebuild(told, tmp_path)
    assert "opaque" not in str(told)
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
def test_settings_of_texts_build_a_story_that_a_run_folder_can_tell(settings, tmp_path):
    story = CATALOG["sequence_vae"].make({"latent": 2, "width": 8, **settings}, event_shape=(5,), symbols=3)
    again = rebuild(json.loads(json.dumps(describe_story(story))), tmp_path)
    again.load_state_dict(story.state_dict())
    x = torch.randint(3, (4, 5))
    assert torch.equal(scored(story, x), scored(again, x))
    assert story.likelihood == again.likelihood == distributions.Categorical(3)


def test_settings_choose_what_they_say():
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
    ("name", "settings", "said"),
    [
        ("vae", {"likelihood": "poisson"}, "likelihood is one of bernoulli, gaussian, .*categorical, got 'poisson'"),
        ("vae", {"posterior": "iaf"}, "posterior is one of diagonal, full, unit, flow, got 'iaf'"),
        ("vae", {"prior": "vampire"}, "prior is one of normal, mixture, vamp, flow, got 'vampire'"),
        ("vae", {"network": "mlp"}, "network is one of dense, conv, resnet, recurrent, transformer, got 'mlp'"),
        ("vae", {"prior": "vamp", "posterior": "flow"}, "VampPrior scores every latent"),
        ("hierarchical_vae", {"guide": "top"}, "guide is one of ladder, bottom-up, got 'top'"),
        ("vq_vae", {"prior": "normal"}, "prior is one of transformer, pixelcnn, uniform or a network, got 'normal'"),
        ("vq_vae", {"network": "resnet"}, "network is one of conv, dense, got 'resnet'"),
        ("sequence_vae", {"network": "conv"}, "network is one of recurrent, transformer, got 'conv'"),
        (
            "sequence_vae",
            {"likelihood": "pixelcnn"},
            "likelihood is one of auto, gaussian, .*categorical, got 'pixelcnn'",
        ),
        ("sequence_vae", {"noise": False, "prior": "flow"}, "noise=false has codes alone"),
        ("sequence_vae", {"prior": "vamp", "posterior": "flow"}, "VampPrior scores every latent"),
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
    needs = {("vq_vae", "pixelcnn"): {"grid": [2, 2]}}
    for setting, names in entry.choices.items():
        assert entry.settings[setting] == names[0]
        for each in names:
            assert entry.make({setting: each, **needs.get((name, each), {})}, **GIVEN)
