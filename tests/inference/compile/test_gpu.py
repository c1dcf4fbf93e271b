"""What needs a CUDA device: programs written without devices train, compiled too, resume and are scored there."""

import pytest
import torch
from pyro.infer.autoguide import AutoNormal

from pyrogen import fit
from pyrogen.inference import TemperedELBO, adam, cosine, log_likelihood, log_weights
from pyrogen.inference.compile import dispatch
from pyrogen.inference.likelihood import memory_budget, weights
from pyrogen.models import PPCA
from tests.helpers.stories import Location, Topics, schools, schools_model

pytestmark = pytest.mark.gpu


def test_a_story_trains_and_resumes(tmp_path):
    x = torch.poisson(torch.full((90, 10), 2.0))
    runs = {}
    for out, stages in (("whole", (4,)), ("parts", (2, 4))):
        for epochs in stages:
            torch.manual_seed(1)
            options = {"device": "cuda", "batch_size": 25, "out": tmp_path / out, "resume": epochs != stages[0]}
            runs[out] = fit(Topics(), {"x": x}, validation={"x": x}, epochs=epochs, **options)
    assert runs["whole"].story.device.type == "cuda"
    for one, other in zip(runs["whole"].history, runs["parts"].history, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    assert runs["whole"].story.sample(3).device.type == "cuda"


@pytest.mark.parametrize("program", [Location, lambda: (schools_model, AutoNormal(schools_model))])
def test_globals_and_pairs(program):
    data = schools() if program is not Location else torch.randn(50)
    run = fit(program(), data, steps=5, device="cuda")
    assert run.history[-1]["step"] == 5
    assert {parameter.device.type for parameter in run.story.trainable().values()} == {"cuda"}


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
def test_precisions_and_likelihood(precision):
    x = torch.randn(200, 6)
    story = fit(PPCA(6, 2), x, steps=50, device="cuda", precision=precision, optimizer=adam(0.01)).story
    result = log_likelihood(story, x, 500, exact=False)
    exact = story.cpu().log_prob(x.to(story.weight.dtype)).mean()
    assert abs(result.mean()[0] - float(exact.detach())) < 0.1


@pytest.mark.parametrize("rows", [100, 90])
def test_steps_compiled_with_cuda_graphs_compute_what_eager_ones_do(rows, monkeypatch):
    """With a KL warm-up, a schedule, clipping, averages and, for 90 rows, a second size of batch that is compiled."""
    monkeypatch.setattr(dispatch, "RECOMPILE_AFTER", 2)
    x = torch.poisson(torch.full((rows, 10), 2.0))
    runs = []
    for compile in (False, True):
        torch.manual_seed(1)
        options = {"schedule": cosine(40), "clip_norm": 1.0, "ema": 0.9, "objective": TemperedELBO(warmup=3.0)}
        runs.append(fit(Topics(), x, epochs=8, batch_size=20, device="cuda", compile=compile, **options))
    assert runs[1].mode == "compiled"
    for one, other in zip(*(run.history for run in runs), strict=True):
        assert one["train_elbo"] == pytest.approx(other["train_elbo"], rel=1e-4)


def test_noise_in_cuda_graphs_is_fresh_and_a_run_resumes(tmp_path):
    x = torch.poisson(torch.full((100, 10), 2.0))
    runs = {}
    for out, stages in (("whole", (6,)), ("parts", (2, 6))):
        for epochs in stages:
            torch.manual_seed(1)
            options = {"device": "cuda", "batch_size": 20, "out": tmp_path / out, "resume": epochs != stages[0]}
            runs[out] = fit(Topics(), x, epochs=epochs, compile=True, **options)
    assert len({record["train_elbo"] for record in runs["whole"].history}) == 6
    for name, value in runs["whole"].story.state_dict().items():
        assert torch.equal(value, runs["parts"].story.state_dict()[name]), name


def test_log_weights_compiled_with_cuda_graphs_are_the_eager_ones(monkeypatch):
    monkeypatch.setattr(memory_budget, "ELEMENTS", 2**12)
    story, x = PPCA(6, 2).to("cuda"), torch.randn(40, 6)
    eager = log_weights(story, x, 60, seed=1)
    monkeypatch.setattr(weights, "MIN_CHUNKS_TO_COMPILE", 2)
    assert torch.allclose(log_weights(story, x, 60, seed=1), eager, rtol=1e-4, atol=1e-4)
