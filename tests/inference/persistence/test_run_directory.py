"""A run folder that is missing, damaged, swapped or of another story is refused, and nothing on disk is lost."""

import json
import shutil

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoMultivariateNormal
from torch import nn

from pyrogen import fit, load
from pyrogen.inference import adam, posterior
from pyrogen.inference.persistence.checkpoint import CHECKSUM, load_tree, save_tree, write_whole
from pyrogen.models import PPCA, VAE
from pyrogen.nn import ConvEncoder, Dense
from tests.helpers.stories import Location, Topics, coin_guide, coin_model, schools, schools_model


@pytest.fixture
def folder(tmp_path):
    fit(VAE((1, 4, 4), 2, hidden=(8,)), images(), epochs=2, out=tmp_path / "run")
    return tmp_path / "run"


def images():
    return (torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(1)) < 0.5).float()


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(message, folder, error=ValueError, **options):
    before = contents(folder) if folder.is_dir() else None
    with pytest.raises(error, match=message) as caught:
        load(folder, **options)
    assert "\n" not in str(caught.value)
    assert before == (contents(folder) if folder.is_dir() else None)


def test_what_is_in_it(folder):
    assert set(contents(folder)) == {"config.json", "weights.safetensors", "resume.safetensors", "history.jsonl"}
    config = json.loads((folder / "config.json").read_text())
    assert config["story"]["class"] == "pyrogen.models.VAE"
    assert config["story"]["arguments"]["event_shape"] == [1, 4, 4]
    assert config["data"]["training"]["0"]["shape"] == [40, 1, 4, 4]
    assert config["options"]["seed"] == 0
    assert {"torch", "pyro-ppl", "python"} <= set(config["versions"])


def test_a_missing_folder(tmp_path):
    refused(r"does not exist; `pyrogen train", tmp_path / "nowhere", FileNotFoundError)
    (tmp_path / "empty").mkdir()
    refused(r"holds no config.json: it is no run folder", tmp_path / "empty", FileNotFoundError)


@pytest.mark.parametrize("name", ["weights.safetensors", "config.json"])
def test_a_file_cut_in_half(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(rf"{name} is damaged", folder)


def test_a_checkpoint_cut_in_half_is_refused_on_resume(folder):
    path = folder / "resume.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    before = contents(folder)
    with pytest.raises(ValueError, match=r"resume.safetensors is damaged or truncated"):
        fit(VAE((1, 4, 4), 2, hidden=(8,)), images(), epochs=4, out=folder, resume=True)
    assert before == contents(folder)


def test_weights_of_another_run(folder, tmp_path):
    fit(VAE((1, 4, 4), 2, hidden=(8,)), images(), epochs=1, out=tmp_path / "other")
    shutil.copy(tmp_path / "other" / "weights.safetensors", folder)
    refused("belongs to another run than config.json", folder)


def test_weights_of_another_story(folder, tmp_path):
    fit(PPCA(4, 1), torch.randn(20, 4), epochs=1, out=tmp_path / "other")
    shutil.copy(tmp_path / "other" / "weights.safetensors", folder)
    refused(r"holds weights of pyrogen.models.PPCA, and config.json tells of pyrogen.models.VAE", folder)


def test_a_file_that_is_no_run(folder):
    (folder / "weights.safetensors").write_bytes(b"hello")
    refused("damaged or truncated", folder)
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(2)}, str(folder / "weights.safetensors"))
    refused("was not written by pyrogen", folder)


def test_a_newer_version(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "format": 99, "pyrogen": "9.0"}))
    refused(r"has format 99 \(written by pyrogen 9.0\), and this pyrogen reads up to 3: upgrade", folder)


def test_into_another_story(folder):
    refused(r"is a run of pyrogen.models.VAE, and into= is pyrogen.models.PPCA", folder, into=PPCA(16, 2))
    refused(r"has shape \(.*\) in the file, \(.*\) in the story", folder, into=VAE((1, 4, 4), 3, hidden=(8,)))
    refused(r"the weights do not fit VAE", folder, into=VAE((1, 4, 4), 2, hidden=(8, 8)))


def test_loading_never_imports_what_the_folder_names(tmp_path):
    fit(Topics(), torch.ones(20, 10), epochs=1, out=tmp_path / "run")
    refused(r"needs tests.helpers.stories.Topics, no part of pyrogen: .*into=story", tmp_path / "run")
    assert load(tmp_path / "run", into=Topics()).story.sample(2).shape == (2, 10)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    for path in ("os.system", "pyrogen.inference.RunDirectory", "pyrogen.models.nothing", "torch.nn.Linear"):
        config["story"]["class"] = path
        content = json.dumps({**config, "checksum": CHECKSUM}).encode()
        write_whole(tmp_path / "run" / "config.json", content)
        refused("no part of pyrogen", tmp_path / "run")


def test_a_story_of_the_users_own_networks_is_loaded_into_one(tmp_path):
    def build():
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.Unflatten(-1, (4,)))
        return VAE((1, 4, 4), 2, encoder=encoder, hidden=(8,))

    run = fit(build(), images(), epochs=1, out=tmp_path / "run")
    refused(r"needs torch.nn.modules.container.Sequential, no part of pyrogen", tmp_path / "run")
    loaded = load(tmp_path / "run", into=build())
    assert torch.equal(loaded.story.encoder[1].weight, run.story.encoder[1].weight)


def test_a_story_of_pyrogens_own_networks_is_rebuilt(tmp_path):
    encoder, decoder = ConvEncoder((1, 4, 4), 4, (3,)), Dense(2, (1, 4, 4), (5,))
    run = fit(VAE((1, 4, 4), 2, encoder=encoder, decoder=decoder), images(), epochs=1)
    run.save(tmp_path / "saved")
    assert torch.equal(load(tmp_path / "saved").story.reconstruct(images()), run.story.reconstruct(images()))


def test_saving_over_a_run_is_refused(folder):
    run = load(folder)
    before = contents(folder)
    with pytest.raises(ValueError, match="already holds a run, which would be lost"):
        run.save(folder)
    assert before == contents(folder)


def test_a_trained_story_goes_on_from_where_it_is(folder):
    run = load(folder)
    again = fit(run.story, images(), steps=1, optimizer=adam(0.0))
    assert torch.equal(again.story.encoder.layers[-1].weight, run.story.encoder.layers[-1].weight)
    story = fit(PPCA(4, 1), torch.randn(50, 4), steps=50).story
    weight = story.weight.detach().clone()
    fit(story, torch.randn(50, 4), steps=1, optimizer=adam(0.0))
    assert torch.equal(story.weight, weight)


def test_trees_of_any_shape_round_trip(tmp_path):
    tree = {
        "a": [1, 2.5, None, True, "text", float("inf"), (torch.arange(3), {})],
        3: {"nested": torch.zeros(0, 2), "transposed": torch.arange(6).reshape(2, 3).T},
        "shared": [torch.ones(2)] * 2,
    }
    save_tree(tmp_path / "tree.safetensors", tree, note=[1, 2])
    back, about = load_tree(tmp_path / "tree.safetensors")
    assert about == {"note": [1, 2]}
    assert repr(back) == repr(tree)
    with pytest.raises(TypeError, match="'a/1' is a function, which cannot be saved without pickle"):
        save_tree(tmp_path / "tree.safetensors", {"a": [1, lambda: None]})
    assert load_tree(tmp_path / "tree.safetensors")[1] == {"note": [1, 2]}


def draws(story, data):
    return {name: value.clone() for name, value in posterior(story, data, 5, seed=3).items()}


@pytest.mark.parametrize("kind", ["autoguide of a story", "autoguide of a pair", "pyro.param"])
def test_what_a_first_call_makes_is_made_on_placeholders(kind, tmp_path):
    build, data = {
        "autoguide of a story": (Location, {"x": torch.randn(30)}),
        "autoguide of a pair": (lambda: (schools_model, AutoMultivariateNormal(schools_model)), schools()),
        "pyro.param": (lambda: (coin_model, coin_guide), torch.ones(12)),
    }[kind]
    run = fit(build(), data, steps=20, out=tmp_path / "run")
    before = torch.get_rng_state()
    loaded = load(tmp_path / "run", into=build())
    assert kind == "autoguide of a pair" or torch.equal(before, torch.get_rng_state())
    for name, value in run.story.trainable().items():
        assert torch.equal(loaded.story.trainable()[name], value), name
    for name, value in draws(run.story, data).items():
        assert torch.equal(draws(loaded.story, data)[name], value), name


def test_lazy_parameters_take_their_shapes_on_placeholders(tmp_path):
    class Lazy(Topics):
        def __init__(self):
            super().__init__()
            self.encoder = nn.LazyLinear(6)

    run = fit(Lazy(), torch.ones(20, 10), epochs=1, out=tmp_path / "run")
    assert torch.equal(load(tmp_path / "run", into=Lazy()).story.encoder.weight, run.story.encoder.weight)


def guided_by(loc):
    """A maker of a pair whose parameters are made by a run of the guide, which takes positive data alone."""

    def make():
        def model(x):
            mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
            with pyro.plate("data", len(x)):
                pyro.sample("x", dist.Normal(mu, 1.0), obs=x.reshape(len(x), -1)[:, 0])

        def guide(x):
            start = loc(x)
            pyro.sample("mu", dist.Normal(pyro.param("loc", torch.zeros(())) + 0 * start, 0.1))

        return model, guide

    return make


def packed(x):
    return nn.utils.rnn.pack_padded_sequence(torch.ones(len(x), 4, 1), x.long(), True, False).data.sum()


def checked(x):
    assert bool((x > 0).all()), "amounts are positive"
    return x.log().sum()


def factored(x):
    return torch.linalg.cholesky(torch.diag(x.reshape(-1))).sum()


@pytest.mark.parametrize("loc", [packed, checked, factored])
def test_a_pair_that_takes_positive_data_alone_is_loaded(loc, tmp_path):
    make, x = guided_by(loc), torch.tensor([1.0, 3.0, 2.0])
    run = fit(make(), x, steps=3, optimizer=adam(0.1))
    run.save(tmp_path / "run")
    loaded = load(tmp_path / "run", into=make())
    assert torch.equal(posterior(run, x, 5, seed=1)["mu"], posterior(loaded, x, 5, seed=1)["mu"])


def inverted(x):
    return torch.linalg.inv(x).sum()


def whole(x):
    assert int(x.sum()) == 6, "the shares do not add up to 6"
    return x.sum()


def rising(x):
    if not bool((x.diff() > 0).all()):
        raise RuntimeError("times must rise\nand more lines")
    return x.sum()


@pytest.mark.parametrize(
    ("loc", "x", "reason"),
    [
        (inverted, torch.eye(3) + 0.1, "singular"),
        (whole, torch.tensor([1.0, 3.0, 2.0]), "do not add up to 6"),
        (rising, torch.tensor([1.0, 3.0, 4.0]), "times must rise"),
    ],
)
def test_a_pair_that_takes_no_placeholders_is_refused_with_a_way_to_load_it(loc, x, reason, tmp_path):
    make = guided_by(loc)
    run = fit(make(), x, steps=3, optimizer=adam(0.1))
    run.save(tmp_path / "run")
    with pytest.raises(ValueError, match=rf"^.*{reason}.*load\(dir, into=fit\(.*steps=1\).story\)$"):
        load(tmp_path / "run", into=make())
    loaded = load(tmp_path / "run", into=fit(make(), x, steps=1).story)
    assert torch.equal(posterior(run, x, 5, seed=1)["mu"], posterior(loaded, x, 5, seed=1)["mu"])


@pytest.mark.parametrize("directory", [3, None, b"runs", ["runs"], 1.5])
def test_a_folder_that_is_no_path_is_refused_in_one_line(directory):
    with pytest.raises(TypeError, match=r"^the run directory is .*: expected a path, such as runs/first$"):
        load(directory)
