"""Verdicts, reasons and JSON of a diagnosis, from its metrics and findings."""

import json
import math
from dataclasses import replace

import pytest

from pyrogen.diagnostics import Diagnosis, Finding, Metric, Remedy
from pyrogen.diagnostics.report.findings import by_severity
from pyrogen.diagnostics.report.thresholds import ALPHA, Assessment, Bounds, critical

BEARING = {"guide": ("likelihood", "posterior"), "latents": ("posterior",), "fit": ("samples", "posterior")}


def metric(verdict, part="guide", value=1.0):
    return Metric(value, math.nan, 0.5, verdict, part, "a metric, in nats", BEARING[part])


def finding(kind, verdict, part="guide"):
    remedies = (Remedy(f"mend {kind}", f"mend({kind!r})"),)
    return Finding(kind, part, verdict, f"it is {kind}", remedies, BEARING[part])


ORDER = ["believe", "caution", "do not believe"]


@pytest.mark.parametrize("guide", ORDER)
@pytest.mark.parametrize("fit", ORDER)
def test_each_purpose_is_judged_by_what_bears_on_it(guide, fit):
    """A wrong model has a posterior too: its fit lowers the verdict on it to caution at most."""
    figures = {"a": metric(guide), "b": metric(fit, "fit"), "c": metric(None, "latents")}
    diagnosis = Diagnosis("Story", figures, (finding("odd", fit, "fit"), finding("narrow", guide)))
    verdicts = {use: headline.verdict for use, headline in diagnosis.purposes.items()}
    capped = min(fit, "caution", key=ORDER.index)
    assert verdicts == {"samples": fit, "likelihood": guide, "posterior": max(guide, capped, key=ORDER.index)}
    assert diagnosis.verdict == max(verdicts.values(), key=ORDER.index)
    assert [f.kind for f in diagnosis.purposes["samples"].findings] == ["odd"]
    assert diagnosis.purposes["likelihood"].sentence.endswith(": it is narrow")
    assert str(diagnosis.purposes["likelihood"]).startswith(f"likelihood: {guide}: ")
    for use, verdict in verdicts.items():
        assert replace(diagnosis, uses=(use,)).verdict == verdict
        assert list(replace(diagnosis, uses=(use,)).to_dict()["purposes"]) == [use]


def test_the_sentence_has_a_reason_that_concerns_the_purpose():
    findings = by_severity([finding("odd", "do not believe", "fit"), finding("narrow", "caution")])
    diagnosis = Diagnosis("Story", {}, findings, uses=("likelihood",))
    assert (diagnosis.verdict, diagnosis.sentence) == ("caution", "Caution: it is narrow; mend narrow")
    assert str(diagnosis).splitlines() == [
        "Caution: it is narrow; mend narrow.",
        "  likelihood: caution: read the estimate of log p(x) with caution: it is narrow",
        "- it is odd",
        "    mend odd: mend('odd')",
        "- it is narrow",
        "    mend narrow: mend('narrow')",
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
    assert str(diagnosis).splitlines()[-2:] == ["- it is prior", "    mend prior: mend('prior')"]
    assert Diagnosis("Story", {"gap": metric("believe")}, ()).sentence == "Believe: no check found a problem"


def test_findings_that_explain_others_come_first():
    kinds = [finding(kind, "caution") for kind in ("gap", "wide", "narrow", "shifted", "correlations", "untrained")]
    assert [f.kind for f in by_severity(kinds)] == ["untrained", "correlations", "shifted", "narrow", "wide", "gap"]


def test_what_is_not_finite_is_null_in_json():
    figures = {"a": metric("caution", value=math.inf), "b": Metric(-math.inf, 0.0, None, None, "fit", "")}
    summary = json.loads(json.dumps(Diagnosis("Story", figures, (), protocol={"seed": 0}).to_dict(), allow_nan=False))
    assert list(summary)[:5] == ["verdict", "purposes", "reasons", "findings", "figures"]
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
    assessment = Assessment("guide", ("posterior",))
    assessment.report("elbo", -3.0, 0.1, "ELBO, nats")
    assert assessment.judge("gap", 0.2, 0.0, Bounds(0.5), "nats") is None
    assert assessment.judge("gap", 0.7, 0.0, Bounds(0.5), "nats") == "caution"
    assessment.part, assessment.purposes = "fit", ("samples",)
    mend = Remedy("mend it", "mend()")
    assessment.find("misfit", "caution", "it is off", mend)
    assert assessment.metrics["elbo"] == Metric(-3.0, 0.1, None, None, "guide", "ELBO, nats", ("posterior",))
    assert assessment.metrics["gap"] == Metric(0.7, 0.0, 0.5, "caution", "guide", "nats", ("posterior",))
    assert assessment.findings == [Finding("misfit", "fit", "caution", "it is off", (mend,), ("samples",))]


def test_the_headline_of_the_likelihood_has_its_figure_on_the_scale_of_the_data():
    figures = {
        "log_likelihood": Metric(-10.0, 0.5, None, None, "guide", "log p(x)", ("posterior",)),
        "likelihood_gap": Metric(0.25, 0.01, 0.5, "believe", "guide", "gap", ("likelihood",)),
    }
    diagnosis = Diagnosis("Story", figures, (), protocol={"log_scale": 2.0, "kind": "local", "n": 7})
    headline = diagnosis.purposes["likelihood"]
    assert headline.figure == "-12.00 ± 0.5 nats, too low by about 0.25"
    assert headline.sentence.startswith("the estimate of log p(x) is right (-12.0")
    shared = replace(diagnosis, protocol={"log_scale": 2.0, "kind": "shared", "n": 7})
    assert shared.purposes["likelihood"].figure.startswith("-24.0")


def test_a_bad_metric_without_a_finding_is_the_reason():
    headline = Diagnosis("Story", {"a": metric("caution")}, ()).purposes["likelihood"]
    assert (headline.verdict, headline.reason, headline.findings) == ("caution", "a metric, in nats", ())


def test_remedies_are_commands_where_there_are_some():
    remedy = Remedy("mend it", "mend()", ("--patience 10",))
    assert (remedy.code, str(remedy)) == ("mend()", "mend it: mend()")
    filled = replace(remedy, line="pyrogen train x")
    assert (filled.code, str(filled)) == ("pyrogen train x", "mend it: pyrogen train x")
    told = Finding("odd", "fit", None, "it is odd", (filled,)).to_dict()
    assert told["remedies"] == [{"text": "mend it", "command": "pyrogen train x", "python": "mend()"}]
