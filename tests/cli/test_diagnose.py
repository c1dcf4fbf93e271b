"""`pyrogen diagnose`: the files that it writes, for stories of every kind."""

import json
import re
from html.parser import HTMLParser

import pytest

from pyrogen.cli.report.html_page import CAPTIONS, FIRST, page
from pyrogen.diagnostics import BUDGETS, Diagnosis, Finding, Metric, Remedy
from pyrogen.diagnostics.report.examination import Budget
from pyrogen.plots import DIAGNOSTIC_PLOTS

VERDICTS = {"believe", "caution", "do not believe"}


class Page(HTMLParser):
    """The tags that are open at the end, the text, and the addresses that are loaded."""

    EMPTY = ("meta", "img", "!doctype")

    def __init__(self, text):
        super().__init__()
        self.open, self.sources, self.text = [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.sources += [value for name, value in attributes if name in ("src", "href")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def read(folder):
    """The summary and the page; the page must be valid and load nothing."""
    summary = json.loads((folder / "summary.json").read_text())
    assert {"verdict", "reasons", "figures"} <= set(summary)
    assert summary["verdict"] in VERDICTS
    for figure in summary["figures"].values():
        assert set(figure) == {"value", "error", "threshold", "verdict"}
        assert figure["verdict"] is None or figure["verdict"] in VERDICTS
    html = (folder / "report.html").read_text()
    parsed = Page(html)
    assert not parsed.open
    assert all(source.startswith("data:image/png;base64,") for source in parsed.sources)
    assert "http" not in re.sub(r"base64,[^\"]*", "", html)
    assert summary["sentence"] in " ".join(parsed.text.split())
    return summary, parsed


@pytest.fixture
def tiny(monkeypatch):
    """`quick` with a tenth of the data and draws."""
    monkeypatch.setattr("pyrogen.cli.diagnose._DRAWS", 10)
    monkeypatch.setitem(BUDGETS, "quick", Budget(20, 40, 40, 9, 0, 100, 100, 10, 40, 5))


def test_a_vae(call, vae, tiny):
    import xarray

    called = call("diagnose", vae, "--budget", "quick", "--seed", 2)
    assert called.status == 0
    summary, parsed = read(vae / "diagnosis")
    lines = called.out.splitlines()
    assert lines[0] == summary["sentence"] + "."
    assert [line.split(":")[0].strip() for line in lines[1:4]] == ["samples", "likelihood", "posterior"]
    assert called.out.splitlines()[-1].startswith(f"saved in {vae / 'diagnosis'}")
    assert called.err == ""  # no terminal, no bar
    protocol = summary["protocol"]
    expected = {"data": "digits", "split": "test", "binarize": "static", "seed": 2, "budget": "quick", "n": 20}
    assert {key: protocol[key] for key in expected} == expected
    assert {"high_khat_share", "inference_gap", "coverage_min", "active_units", "typicality"} <= set(summary["figures"])
    assert summary["parts"].keys() == {"guide", "latents", "fit"}
    pictures = {path.stem for path in (vae / "diagnosis").glob("*.png")}
    assert {"samples", "data", "reconstructions", "importance_weights", "calibration", "worst", "training"} <= pictures
    assert len(parsed.sources) == len(pictures)
    with xarray.open_datatree(vae / "diagnosis" / "posterior.nc") as tree:
        assert {"posterior", "observed_data", "importance_summary"} <= set(tree.children)


@pytest.mark.slow
def test_a_diagnosis_is_repeatable(call, vae, tmp_path):
    assert call("diagnose", vae, "--budget", "quick", "--seed", 2, "--out", tmp_path / "once").status == 0
    summary = read(tmp_path / "once")[0]
    again = call("diagnose", vae, "--budget", "quick", "--seed", 2, "--out", tmp_path / "again")
    assert again.status == 0
    assert read(tmp_path / "again")[0]["figures"] == summary["figures"]


def test_shared_latents_are_examined_on_the_training_split(call, tmp_path, own, bars, tiny):
    out, name = tmp_path / "run", f"{own}:Location"
    assert call("train", name, "--data", bars, "--epochs", 9, "--out", out).status == 0
    called = call("diagnose", out, "--story", name, "--budget", "quick", "--out", tmp_path / "diagnosis")
    assert called.status == 0
    summary, _ = read(tmp_path / "diagnosis")
    assert (summary["protocol"]["split"], summary["protocol"]["n"]) == ("train", 210)
    assert {"khat", "sd_ratio_min", "mean_shift"} <= set(summary["figures"])
    assert (tmp_path / "diagnosis" / "shared_moments.png").exists()


def test_an_exact_likelihood(call, classes, own, tmp_path):
    called = call("diagnose", classes, "--story", f"{own}:Classes", "--budget", "quick", "--out", tmp_path)
    assert called.status == 0
    summary, parsed = read(tmp_path)
    assert "without an approximate posterior" in summary["remarks"][0]
    assert summary["parts"]["fit"] == summary["verdict"]
    assert "without an approximate posterior" in parsed.text


@pytest.mark.parametrize(
    ("name", "verdict", "remark"),
    [
        pytest.param("gan", "do not believe", "only its samples are checked", marks=pytest.mark.slow),  # of three steps
        ("autoencoder", "caution", "there is nothing to check"),
    ],
)
def test_without_a_density(call, name, verdict, remark, tmp_path):
    out = tmp_path / "run"
    assert call("train", name, "--data", "digits", "--steps", 3, "--out", out).status == 0
    called = call("diagnose", out, "--budget", "quick")
    assert called.status == 0, called.err
    summary, parsed = read(out / "diagnosis")
    assert summary["verdict"] == summary["purposes"]["samples"]["verdict"] == verdict
    assert list(summary["purposes"]) == ["samples"]
    assert any(remark in text for text in (*summary["reasons"], *summary["remarks"]))
    assert remark in parsed.text


def test_wrong_usage_is_one_line(call, vae, tmp_path):
    assert call("diagnose", vae, "--budget", "brief").status == 2
    wrong = call("diagnose", vae, "--for", "samplse")
    assert (wrong.status, wrong.err.count("\n")) == (2, 1)
    assert "did you mean 'samples'?" in wrong.err
    missing = call("diagnose", tmp_path / "nowhere")
    assert missing.status == 1
    assert "nowhere" in missing.line


def test_text_is_escaped():
    remedy = Remedy("ask <someone>", "ask('<b>')")
    finding = Finding("narrow", "guide", "caution", "<b>z & y</b> are off", (remedy,), ("posterior",))
    figure = Metric(float("nan"), 0.1, 0.5, "caution", "guide", "1 < 2")
    remark = Finding("prior", "latents", None, "<b>far</b>", (Remedy("<b>try</b>", "try_<b>()"),))
    html = page(Diagnosis("A<B>", {"gap": figure}, (finding, remark)), {"<x>": b"png"}, "data <1>")
    assert "<b>" not in html
    parsed = Page(html)
    assert "A<B>" in parsed.text
    for text in ("<b>z & y</b> are off.", "Ask <someone>:", "ask('<b>')", "try_<b>()"):
        assert text in parsed.text
    assert not parsed.open


def test_each_picture_has_a_caption():
    assert set(DIAGNOSTIC_PLOTS) | {*FIRST, "sample_quality", "worst", "training"} == set(CAPTIONS)
