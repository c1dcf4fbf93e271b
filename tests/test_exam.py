"""The exam that every story of the catalog takes. A new story adds one line to the catalog, and none here."""

import itertools
import re
from contextlib import suppress

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO

from pyrogen import fit, load
from pyrogen.catalog import CATALOG
from pyrogen.inference import NoWeights, adam, log_likelihood, log_weights
from pyrogen.inference.compile import compiled_step
from pyrogen.inference.program.program import Program, Recording
from pyrogen.inference.training import defaults
from pyrogen.inference.training.defaults import default_objective
from pyrogen.story import Batch, enumerated, latent_sites

pytestmark = pytest.mark.parametrize("name", sorted(CATALOG))


def supported(name, *parts):
    """The story and its data; skipped where the story declares one of these parts unsupported."""
    story, data = CATALOG[name].tiny()
    for part in parts:
        if part in story.unsupported:
            pytest.skip(reason=f"{name} has no {part}: {story.unsupported[part]}")
    return story, data


def whole(data):
    n = len(next(iter(data.values())))
    return Batch(data, n, n, torch.arange(n))


def values(story):
    return {name: p.detach().clone() for name, p in story.trainable().items()}


def conditions(story, data, n):
    """Rows of the columns that a trained story asks for and does not draw."""
    asked = story.signatures()[0].columns
    return {key: column[:n] for key, column in data.items() if key in asked and key not in story.training_spec.sites}


def test_every_entry_has_a_summary_of_a_line_and_a_tiny_instance(name):
    assert re.fullmatch(r"[^\n]{9,110}[^\n.]", CATALOG[name].summary)
    story, data = CATALOG[name].tiny()
    asked = {key for signature in story.signatures() for key in signature.columns}
    assert data.keys() <= asked
    assert {len(column) for column in data.values()} == {96}
    assert sum(parameter.numel() for parameter in story.parameters()) < 110_000


def test_samples_look_like_data(name):
    story, data = supported(name, "sample")
    story = fit(story, data, epochs=1).story
    draws = story.sample(5, **conditions(story, data, 5))
    draws = draws if isinstance(draws, dict) else {story.training_spec.sites[0]: draws}
    for key, column in draws.items():
        assert column.shape == (5, *data[key].shape[1:])
        assert column.dtype == data[key].dtype
        assert torch.isfinite(column.double()).all()
        if set(data[key].unique().tolist()) <= {0.0, 1.0}:
            assert set(column.unique().tolist()) <= {0.0, 1.0}


def test_what_is_unsupported_is_refused_with_its_reason(name):
    story, data = CATALOG[name].tiny()
    for part, reason in story.unsupported.items():
        act = {
            "sample": lambda: story.sample(2),
            "density": lambda: log_likelihood(story, data, 2),
            "guide": lambda: log_weights(story, data, 2),
            "svi": lambda: fit(story, data, objective=Trace_ELBO()),
        }.get(part)
        if act is not None:
            # A guide's weights are asked for of a density first.
            reason = story.unsupported.get("density", reason) if part == "guide" else reason
            with pytest.raises(ValueError, match=re.escape(reason)):
                act()
        if part == "steps":
            assert fit(story, data).history == []


def test_the_guide_names_the_models_latents(name):
    story, data = supported(name, "guide")
    with story.param_store_scope(), torch.no_grad():
        recording = Recording(whole(data)).run(Program(story))
    guide = set(latent_sites(recording.guide.sites.values()))
    assert guide == {key for key, site in recording.latents().items() if key in guide or not enumerated(site)}


def test_every_parameter_learns_and_so_does_a_second_story(name):
    for _ in range(2):
        story, data = supported(name, "steps")
        before = values(story)
        run = fit(story, data, steps=12, optimizer=adam(0.01))
        for key, value in values(run.story).items():
            assert key not in before or not torch.equal(value, before[key]), key


@pytest.mark.free_store
def test_every_parameter_learns_under_stock_svi_and_so_does_a_second_story(name):
    stories = [supported(name, "steps", "svi")[0] for _ in range(2)]
    batch = whole(CATALOG[name].tiny()[1])
    programs = [Program(story) for story in stories]
    svis = [
        SVI(s.model, s.guide, pyro.optim.Adam({"lr": 0.01}), default_objective(p, First(batch)))
        for s, p in zip(stories, programs, strict=True)
    ]
    before = [values(story) for story in stories]
    args, kwargs = programs[0].signatures[0].bind(batch)
    for _, svi in itertools.product(range(3), svis):
        svi.step(*args, **kwargs)
    for story, old in zip(stories, before, strict=True):
        for key, value in values(story).items():
            assert key not in old or not torch.equal(value, old[key]), key


class First:
    def __init__(self, batch):
        self.batch = batch

    def first(self):
        return self.batch


def test_compiled_and_ordinary_steps_agree(name, monkeypatch):
    """The loss to 1e-5 and gradients to 1e-4 at one seed: a compiled run compares them itself, and its losses agree."""
    monkeypatch.setattr(compiled_step, "COMPILER", lambda graph, inputs, *_: torch.compile(graph, backend="aot_eager"))
    histories = []
    for compile in (False, True):
        torch.manual_seed(5)
        story, data = supported(name, "steps", "svi")
        run = fit(story, data, steps=4, compile=compile)
        histories.append([record["train_elbo"] for record in run.history])
    assert run.mode == "compiled"
    assert histories[1] == pytest.approx(histories[0], rel=1e-5)


def test_traced_steps_are_eager_ones(name, monkeypatch):
    """To the bit, where both multiply by the same library; sums over enumerated values are taken in another order."""
    monkeypatch.setattr(defaults, "MIN_STEPS_TO_TRACE", 1)
    monkeypatch.setattr("pyrogen.inference.compile.graph_cleanup.onednn_is_faster", lambda: False)
    runs = []
    for compile in (False, "auto"):
        torch.manual_seed(5)
        story, data = supported(name, "steps", "svi")
        runs.append(fit(story, data, steps=10, batch_size=40, compile=compile))
    assert runs[1].mode == "traced"
    one, other = ([record["train_elbo"] for record in run.history] for run in runs)
    enumerated = not isinstance(default_objective(Program(story), First(whole(data))), Trace_ELBO)
    assert other == (pytest.approx(one, rel=1e-6) if enumerated else one)
    for key, value in values(runs[0].story).items():
        same = torch.allclose if enumerated else torch.equal
        assert same(values(runs[1].story)[key], value), key


def test_vectorized_and_serial_particles_agree(name):
    """The loss at one particle's noise is the same however many run beside it: compared by their mean's spread.

    In float64, as the spread may be nothing: of a story without latents, or with the exact posterior for a guide.
    """
    story, data = supported(name, "steps", "svi")
    data = {key: c[:24].double() if c.is_floating_point() else c[:24] for key, c in data.items()}
    program, batch = Program(story.double()), whole(data)
    if not isinstance(default_objective(program, First(batch)), Trace_ELBO):
        pytest.skip(reason=f"{name} is enumerated: particles are not its estimator")
    losses = {}
    with story.predicting():
        for vectorized in (False, True):
            elbo = Trace_ELBO(num_particles=20, vectorize_particles=vectorized, max_plate_nesting=1)
            runs = [elbo.loss(program.model, program.guide, batch) for _ in range(12)]
            losses[vectorized] = torch.tensor(runs, dtype=torch.float64)
    error = sum(run.var() / len(run) for run in losses.values()).sqrt()
    assert abs(losses[True].mean() - losses[False].mean()) <= 4.27 * error + 1e-9


def test_traces_on_the_meta_device(name):
    story, data = supported(name, "meta")
    story = story.to("meta")
    batch = whole({key: column.to("meta") for key, column in data.items()}).to(torch.device("meta"))
    program = Program(story)
    with torch.device("meta"), pyro.validation_enabled(False), story.param_store_scope():
        trace = poutine.trace(program.guide).get_trace(batch)
        model = poutine.trace(poutine.replay(program.model, trace=trace)).get_trace(batch)
    assert all(site["value"].device.type == "meta" for site in latent_sites(model.nodes.values()).values())


def test_saved_loaded_and_sampled_is_the_same(name, tmp_path):
    story, data = CATALOG[name].tiny()
    run = fit(story, data, epochs=2, out=tmp_path / "run")
    run.save(tmp_path / "copy")
    for folder in ("run", "copy"):
        loaded = load(tmp_path / folder)
        assert type(loaded.story) is type(story)
        assert loaded.history == run.history
        for key, value in values(loaded.story).items():
            assert torch.equal(value, values(run.story)[key]), key
        if "sample" not in story.unsupported:
            draws = []
            for each in (run.story, loaded.story):
                torch.manual_seed(3)
                draws.append(each.sample(4, **conditions(each, data, 4)))
            one, other = (each if isinstance(each, dict) else {"x": each} for each in draws)
            assert one.keys() == other.keys()
            for key, column in one.items():
                assert torch.equal(column, other[key]), key


def test_resume_is_exact(name, tmp_path):
    runs = {}
    for out, stages in (("whole", (4,)), ("parts", (1, 4))):
        for epochs in stages:
            torch.manual_seed(2)
            story, data = CATALOG[name].tiny()
            options = {"epochs": epochs, "batch_size": 32, "out": tmp_path / out, "resume": epochs != stages[0]}
            runs[out] = fit(story, data, **options)
    for one, other in zip(runs["whole"].history, runs["parts"].history, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    for key, value in values(runs["whole"].story).items():
        assert torch.equal(value, values(runs["parts"].story)[key]), key


def test_the_global_store_stays_as_it_was(name):
    story, data = CATALOG[name].tiny()
    with pyro.get_param_store().scope():
        pyro.param("decoder$$$weight", torch.ones(2))
        pyro.param("mine", torch.ones(3))
        before = {key: (id(t), t.detach().clone()) for key, t in pyro.get_param_store().named_parameters()}
        fit(story, data, epochs=1)
        if "density" not in story.unsupported:
            with suppress(NoWeights):
                log_likelihood(story, data, 2)
        after = dict(pyro.get_param_store().named_parameters())
        assert before.keys() == after.keys()
        for key, (identity, value) in before.items():
            assert id(after[key]) == identity
            assert torch.equal(after[key].detach(), value)
