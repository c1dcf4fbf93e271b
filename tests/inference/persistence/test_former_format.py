"""Run directories of format 1, kept in `format_1/`, load with their names mapped and score as they did."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from pyrogen import fit, load
from pyrogen.catalog import CATALOG
from pyrogen.inference import log_likelihood
from pyrogen.inference.persistence.former_format import current_names, current_weights

KEPT = Path(__file__).with_name("format_1")
SCORES = {  # mean log-likelihood in nats per datum, by the version that wrote the directory
    "kde": -4.873885348439217,  # a bandwidth whose class has another name
    "diffusion": -31.518199339364383,  # arguments of the story
    "sequence_vae": -17.66199977738066,
    "gated_pixelcnn": -11.856923580169678,  # attributes of a network, in the names of its weights
}


@pytest.mark.parametrize("name", SCORES)
def test_it_scores_as_it_did(name: str) -> None:
    _, data = CATALOG[name].tiny()
    found = log_likelihood(load(KEPT / name), data, 20, seed=4)
    assert float(found.value.double().mean()) == pytest.approx(SCORES[name], rel=1e-6)


def test_it_is_not_resumed(tmp_path: Path) -> None:
    shutil.copytree(KEPT / "kde", tmp_path / "kde")
    story, data = load(tmp_path / "kde").story, CATALOG["kde"].tiny()[1]
    with pytest.raises(ValueError, match="is of format 1, by an older pyrogen, and cannot be resumed: load the run"):
        fit(story, data, epochs=3, seed=3, out=tmp_path / "kde", resume=True)


def test_names_in_lists_and_components_are_mapped() -> None:
    former = json.loads((KEPT / "kde" / "config.json").read_text())["story"]
    assert "LeaveOneOut" in json.dumps(former)
    assert "LeaveOneOutBandwidth" in json.dumps(current_names(former))
    nested = {"class": "pyrogen.models.VAE", "arguments": {"parts": [{"class": "pyrogen.distributions.Symbols"}]}}
    assert current_names(nested)["arguments"]["parts"][0]["class"] == "pyrogen.distributions.Categorical"


def test_names_that_were_not_renamed_are_not_taken_for_others() -> None:
    weight = torch.zeros(1)
    assert current_weights({"net.look.weight": weight}, {"net.qkv_proj.weight": weight}, Path("run")).keys() == {
        "net.qkv_proj.weight"
    }
    for saved, live in (("net.look.weight", "net.first.weight"), ("net.weight", "net.look.weight"), ("a.b", "b.a")):
        with pytest.raises(ValueError, match="of an older version of pyrogen has no counterpart"):
            current_weights({saved: weight}, {live: weight}, Path("run"))
