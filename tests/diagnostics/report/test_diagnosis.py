"""What a diagnosis says of its figures and findings."""

import json
import math

import pytest

from pyrogen.diagnostics import Diagnosis, Finding, Metric
from pyrogen.diagnostics.report.findings import in_order
from pyrogen.diagnostics.report.thresholds import ALPHA, Bounds, Ruling, critical


def figure(verdict, part="guide", value=1.0):
    return Metric(value, math.nan, 0.5, verdict, part, "a figure, in nats")


def finding(kind, verdict, part="guide"):
    return Finding(kind, part, verdict, f"it is {kind}", f"mend {kind}")


def test_the_verdict_is_the_guides_and_a_bad_fit_is_a_reason_for_caution():
    def verdict(**figures):
        return Diagnosis("Story", {part: figure(v, part) for part, v in figures.items()}, ()).verdict

    assert verdict(guide="believe", fit="believe") == "believe"
    assert verdict(guide="do not believe", fit="believe") == "do not believe"
    assert verdict(guide="believe", fit="do not believe") == "caution"
    assert verdict(guide="believe", latents="do not believe") == "believe"
    assert Diagnosis("Story", {}, (finding("untested", "caution"),)).verdict == "caution"


def test_sentence_reasons_and_remarks():
    findings = in_order(
        [finding("prior", None, "latents"), finding("narrow", "caution"), finding("gap", "do not believe")]
    )
    found = Diagnosis("Story", {"gap": figure("do not believe")}, tuple(findings))
    assert found.sentence == "Do not believe: it is gap: mend gap"
    assert found.reasons == ["it is gap: mend gap", "it is narrow: mend narrow"]
    assert found.remarks == ["it is prior: mend prior"]
    assert found.kinds == {"gap", "narrow"}
    assert str(found).splitlines()[-1] == "- it is prior: mend prior"
    assert Diagnosis("Story", {"gap": figure("believe")}, ()).sentence == "Believe: no test found anything wrong"


def test_findings_that_explain_others_come_first():
    kinds = [finding(kind, "caution") for kind in ("gap", "wide", "narrow", "shifted", "correlations", "untrained")]
    assert [f.kind for f in in_order(kinds)] == ["untrained", "correlations", "shifted", "narrow", "wide", "gap"]


def test_what_is_not_finite_is_null_in_json():
    figures = {"a": figure("caution", value=math.inf), "b": Metric(-math.inf, 0.0, None, None, "fit", "")}
    told = json.loads(json.dumps(Diagnosis("Story", figures, (), protocol={"seed": 0}).to_dict(), allow_nan=False))
    assert list(told)[:3] == ["verdict", "reasons", "figures"]
    assert told["figures"]["a"] == {"value": None, "error": None, "threshold": 0.5, "verdict": "caution"}
    assert told["parts"] == {"guide": "caution", "fit": "believe"}
    assert told["protocol"] == {"seed": 0}


def test_a_figure_must_be_beyond_its_tolerance_by_more_than_chance():
    bounds, slack = Bounds(1.0, 3.0), critical()
    assert slack == pytest.approx(3.34, abs=0.01)  # 1 % over twelve figures, two sides
    assert critical(100) > slack
    assert 2 * (1 - math.erf(slack / math.sqrt(2))) / 2 == pytest.approx(ALPHA)
    assert bounds.judge(0.99, 0.0) == bounds.judge(1 + 0.99 * slack, 1.0) == "believe"
    assert bounds.judge(1 + 1.01 * slack, 1.0) == "caution"
    assert bounds.judge(3.1, 0.0) == bounds.judge(3.1, math.nan) == "do not believe"
    below = Bounds(1.0, 0.5, above=False)
    assert (below.judge(1.1, 0), below.judge(0.9, 0), below.judge(0.4, 0)) == ("believe", "caution", "do not believe")


def test_figures_as_they_come():
    ruling = Ruling()
    ruling.report("elbo", -3.0, 0.1, "guide", "ELBO, nats")
    assert ruling.judge("gap", 0.2, 0.0, Bounds(0.5), "guide", "nats") is None
    assert ruling.judge("gap", 0.7, 0.0, Bounds(0.5), "guide", "nats") == "caution"
    assert ruling.figures["elbo"].verdict is None
    assert (ruling.figures["gap"].value, ruling.figures["gap"].threshold) == (0.7, 0.5)
