"""Verdicts, reasons and JSON of a diagnosis, from its metrics and findings."""

import json
import math
from dataclasses import replace

import pytest

from pyrogen.diagnostics import Diagnosis, Finding, Metric
from pyrogen.diagnostics.report.diagnosis import by_severity
from pyrogen.diagnostics.report.thresholds import ALPHA, Assessment, Bounds, critical


def metric(verdict, part="guide", value=1.0):
    return Metric(value, math.nan, 0.5, verdict, part, "a metric, in nats")


def finding(kind, verdict, part="guide"):
    return Finding(kind, part, verdict, f"it is {kind}", f"mend {kind}")


ORDER = ["believe", "caution", "do not believe"]


@pytest.mark.parametrize("guide", ORDER)
@pytest.mark.parametrize("fit", ORDER)
def test_each_purpose_is_judged_by_what_bears_on_it(guide, fit):
    """A wrong model has a posterior too: its fit lowers the verdict on it to caution at most."""
    figures = {"a": metric(guide), "b": metric(fit, "fit"), "c": metric("do not believe", "latents")}
    diagnosis = Diagnosis("Story", figures, (finding("odd", fit, "fit"), finding("narrow", guide)))
    verdicts = {use: headline.verdict for use, headline in diagnosis.purposes.items()}
    capped = min(fit, "caution", key=ORDER.index)
    assert verdicts == {"samples": fit, "likelihood": guide, "posterior": max(guide, capped, key=ORDER.index)}
    assert diagnosis.verdict == max(verdicts.values(), key=ORDER.index)
    assert [f.kind for f in diagnosis.purposes["samples"].findings] == ["odd"]
    assert str(diagnosis.purposes["likelihood"]) == f"likelihood: {guide} (it is narrow)"
    for use, verdict in verdicts.items():
        assert replace(diagnosis, uses=(use,)).verdict == verdict
        assert list(replace(diagnosis, uses=(use,)).to_dict()["purposes"]) == [use]


def test_the_sentence_has_a_reason_that_concerns_the_purpose():
    findings = by_severity([finding("odd", "do not believe", "fit"), finding("narrow", "caution")])
    diagnosis = Diagnosis("Story", {}, findings, uses=("likelihood",))
    assert (diagnosis.verdict, diagnosis.sentence) == ("caution", "Caution: it is narrow; mend narrow")
    assert str(diagnosis).splitlines() == [
        "Caution: it is narrow; mend narrow.",
        "  likelihood: caution (it is narrow)",
        "- it is odd; mend odd",
    ]


def test_sentence_reasons_and_remarks():
    findings = by_severity(
        [finding("prior", None, "latents"), finding("narrow", "caution"), finding("gap", "do not believe")]
    )
    diagnosis = Diagnosis("Story", {"gap": metric("do not believe")}, findings)
    assert diagnosis.sentence == "Do not believe: it is gap; mend gap"
    assert diagnosis.reasons == ["it is gap; mend gap", "it is narrow; mend narrow"]
    assert diagnosis.remarks == ["it is prior; mend prior"]
    assert diagnosis.kinds == {"gap", "narrow"}
    assert str(diagnosis).splitlines()[-1] == "- it is prior; mend prior"
    assert Diagnosis("Story", {"gap": metric("believe")}, ()).sentence == "Believe: no check found a problem"


def test_findings_that_explain_others_come_first():
    kinds = [finding(kind, "caution") for kind in ("gap", "wide", "narrow", "shifted", "correlations", "untrained")]
    assert [f.kind for f in by_severity(kinds)] == ["untrained", "correlations", "shifted", "narrow", "wide", "gap"]


def test_what_is_not_finite_is_null_in_json():
    figures = {"a": metric("caution", value=math.inf), "b": Metric(-math.inf, 0.0, None, None, "fit", "")}
    summary = json.loads(json.dumps(Diagnosis("Story", figures, (), protocol={"seed": 0}).to_dict(), allow_nan=False))
    assert list(summary)[:4] == ["verdict", "purposes", "reasons", "figures"]
    assert summary["figures"]["a"] == {"value": None, "error": None, "threshold": 0.5, "verdict": "caution"}
    assert summary["parts"] == {"guide": "caution", "fit": "believe"}
    assert summary["protocol"] == {"seed": 0}


def test_a_metric_must_be_beyond_its_threshold_by_more_than_chance():
    bounds, slack = Bounds(1.0, 3.0), critical()
    assert slack == pytest.approx(3.34, abs=0.01)  # 1 % over twelve metrics, two sides
    assert critical(100) > slack
    assert 2 * (1 - math.erf(slack / math.sqrt(2))) / 2 == pytest.approx(ALPHA)
    assert bounds.judge(0.99, 0.0) == bounds.judge(1 + 0.99 * slack, 1.0) == "believe"
    assert bounds.judge(1 + 1.01 * slack, 1.0) == "caution"
    assert bounds.judge(3.1, 0.0) == bounds.judge(3.1, math.nan) == "do not believe"
    below = Bounds(1.0, 0.5, above=False)
    assert (below.judge(1.1, 0), below.judge(0.9, 0), below.judge(0.4, 0)) == ("believe", "caution", "do not believe")


def test_an_assessment_collects_metrics_and_findings_of_a_part():
    assessment = Assessment("guide")
    assessment.report("elbo", -3.0, 0.1, "ELBO, nats")
    assert assessment.judge("gap", 0.2, 0.0, Bounds(0.5), "nats") is None
    assert assessment.judge("gap", 0.7, 0.0, Bounds(0.5), "nats") == "caution"
    assessment.part = "fit"
    assessment.find("misfit", "caution", "it is off", "mend it")
    assert assessment.metrics["elbo"] == Metric(-3.0, 0.1, None, None, "guide", "ELBO, nats")
    assert assessment.metrics["gap"] == Metric(0.7, 0.0, 0.5, "caution", "guide", "nats")
    assert assessment.findings == [Finding("misfit", "fit", "caution", "it is off", "mend it")]
