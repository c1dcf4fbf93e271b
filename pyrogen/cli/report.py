"""The page of a diagnosis: one file of HTML with everything in it, for a person to read."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from pyrogen.diagnostics import Diagnosis, Finding, Metric
from pyrogen.diagnostics.core.estimates import Estimate
from pyrogen.diagnostics.report.diagnosis import PARTS, Part

__all__ = ["page"]

CAPTIONS = {
    "khat": "k-hat of each datum. Above the dashed line the guide misses so much of the posterior that no weighting of "
    "its draws makes up for it.",
    "bounds": "The importance-weighted bound on log p(x) grows with the number of draws; where it still rises at the "
    "right, log p(x) is larger than what is told.",
    "calibration": "Latents of data that the model made itself, ranked among draws of the guide. A curve above the "
    "band at the left and below it at the right tells of a guide that is too narrow, the other way round of one that "
    "is too wide, one to a single side of a shift.",
    "moments": "Each latent under the guide, and with the guide's error weighted away. Where they agree, and k-hat is "
    "low, the guide is right.",
    "gaps": "How many nats the ELBO loses to the encoder, which a refinement of each datum's posterior wins back, and "
    "how many to the family of guides, which none does.",
    "latents": "What each latent costs, and so tells, on average. Grey latents are not used.",
    "typicality": "Log p(x) of the data beside that of data that the model makes. If the model is right, both look "
    "alike.",
    "predictive": "Statistics of data that the model makes, and those of the data.",
    "worst": "Data that the story finds hardest to explain, the least probable first.",
    "training": "The run.",
    "samples": "Samples, at the left, each beside the training data that are nearest to it.",
}
ABOUT_PARTS = {
    "guide": "Are its draws draws of the posterior?",
    "latents": "Which latents tell data apart? A latent that the model does not need is no fault of the guide.",
    "fit": "Does the model make such data as it was given?",
}
_CHANCE = " A value counts against it where it is past its threshold by more than chance explains."
_COLOURS = {"believe": "good", "caution": "warn", "do not believe": "bad"}
_STYLE = """
:root { color-scheme: light dark; --ink: #1d2126; --soft: #5d6670; --ground: #fbfbfa; --card: #ffffff; --line: #dfe2e5;
  --good: #2e7d4f; --warn: #b26a00; --bad: #b3372f; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ea; --soft: #9aa3ad; --ground: #15181b; --card: #1d2125; --line: #33393f;
    --good: #6cc392; --warn: #e3a54a; --bad: #ee8178; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.15rem; font-weight: 600; margin: 0; color: var(--soft); }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; }
h2 .badge { font-size: .8rem; vertical-align: .15em; margin-left: .4rem; }
.verdict { font-size: 1.5rem; line-height: 1.35; margin: .6rem 0 0; font-weight: 600; overflow-wrap: anywhere; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem 1.2rem;
  margin: 1rem 0; }
.top { border-left: .45rem solid var(--mark); }
.badge { display: inline-block; border: 1px solid currentColor; border-radius: 1rem; padding: 0 .6rem;
  font-weight: 600; white-space: nowrap; }
.good { --mark: var(--good); } .warn { --mark: var(--warn); } .bad { --mark: var(--bad); }
.badge.good, .badge.warn, .badge.bad, td.good, td.warn, td.bad { color: var(--mark); }
ul { padding-left: 1.2rem; margin: .5rem 0; } li { margin: .35rem 0; }
.soft, figcaption { color: var(--soft); font-size: .9rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; } td.number { white-space: nowrap; font-variant-numeric: tabular-nums; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 1rem; }
.pictures .card { margin: 0; } figure img { width: 100%; height: auto; display: block; }
@media (max-width: 40rem) {
  .figures thead, .figures td:empty { display: none; }
  .figures tr { display: grid; grid-template-columns: 1fr auto; column-gap: 1rem; padding: .5rem 0;
    border-bottom: 1px solid var(--line); }
  .figures td { border: 0; padding: 0; } .figures td + td { justify-self: end; }
  .figures td.threshold, .figures td.about { justify-self: start; }
  .figures td.threshold::before { content: "threshold "; color: var(--soft); }
  .figures td.about { grid-column: 1 / -1; } }
@media print { body { background: none; } .card { break-inside: avoid; } }
"""


def page(diagnosis: Diagnosis, pictures: Mapping[str, bytes], data: str) -> str:
    """The diagnosis as a page: verdict, what to do, figures by part, pictures, protocol.

    Args:
        diagnosis: the examination.
        pictures: PNG files by name, in their order.
        data: what was examined, in words.
    """
    title = f"Diagnosis of {diagnosis.subject}"
    parts = [_part(diagnosis, part) for part in PARTS]
    body = [_top(diagnosis, title, data), *parts, _pictures(pictures), _protocol(diagnosis)]
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{_STYLE}</style>\n</head>\n'
        f"<body>\n<main>\n{''.join(body)}</main>\n</body>\n</html>\n"
    )


def _top(diagnosis: Diagnosis, title: str, data: str) -> str:
    others = [f for f in diagnosis.findings if f.verdict is not None][1:]
    remarks = [f for f in diagnosis.findings if f.verdict is None]
    more = f"<p>Further:</p>{_list(others)}" if others else ""
    more += f"<p>Worth knowing:</p>{_list(remarks)}" if remarks else ""
    return (
        f'<header class="card top {_COLOURS[diagnosis.verdict]}"><h1>{escape(title)}</h1>'
        f'<p class="verdict">{escape(diagnosis.sentence)}.</p><p class="soft">{escape(data)}</p>{more}</header>\n'
    )


def _list(findings: Iterable[Finding]) -> str:
    items = (f"<li>{escape(_capital(f.message))}: <em>{escape(f.remedy)}</em>.</li>" for f in findings)
    return f"<ul>{''.join(items)}</ul>"


def _part(diagnosis: Diagnosis, part: Part) -> str:
    figures = {name: figure for name, figure in diagnosis.figures.items() if figure.part == part}
    if not figures:
        return ""
    verdict = diagnosis.verdict_on(part) if any(f.verdict for f in figures.values()) else None
    badge = "" if verdict is None else f'<span class="badge {_COLOURS[verdict]}">{verdict}</span>'
    about = ABOUT_PARTS[part] + (_CHANCE if verdict else "")
    rows = "".join(_row(name, figure) for name, figure in figures.items())
    head = "<tr><th>figure</th><th>value</th><th>threshold</th><th>verdict</th><th>what it is</th></tr>"
    return (
        f"<section><h2>{_capital(PARTS[part])} {badge}</h2><p class='soft'>{about}</p>"
        f'<div class="card wide"><table class="figures"><thead>{head}</thead><tbody>{rows}</tbody></table></div>'
        "</section>\n"
    )


def _row(name: str, figure: Metric) -> str:
    threshold = "" if figure.threshold is None else f"{figure.threshold:.3g}"
    value = Estimate(figure.value, figure.error) if figure.error == figure.error else f"{figure.value:.3g}"
    verdict = f'<td class="{_COLOURS[figure.verdict]}">{figure.verdict}</td>' if figure.verdict else "<td></td>"
    return (
        f'<tr><td>{escape(name.replace("_", " "))}</td><td class="number">{value}</td>'
        f'<td class="number threshold">{threshold}</td>{verdict}<td class="soft about">{escape(figure.about)}</td></tr>'
    )


def _pictures(pictures: Mapping[str, bytes]) -> str:
    if not pictures:
        return ""
    shown = "".join(_picture(name, png) for name, png in pictures.items())
    return f'<section><h2>Pictures</h2><div class="pictures">{shown}</div></section>\n'


def _picture(name: str, png: bytes) -> str:
    source, caption = base64.b64encode(png).decode(), escape(CAPTIONS.get(name, name))
    return (
        f'<figure class="card"><img alt="{escape(name)}" src="data:image/png;base64,{source}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _protocol(diagnosis: Diagnosis) -> str:
    """What was tested with what, how long it took, and what could not be tested."""
    told = {key: value for key, value in diagnosis.protocol.items() if key != "seconds"}
    rows = "".join(
        f"<tr><td>{escape(key.replace('_', ' '))}</td><td>{escape(_said(v))}</td></tr>" for key, v in told.items()
    )
    seconds = diagnosis.protocol.get("seconds", {})
    times = "".join(
        f'<tr><td>{escape(name)}</td><td class="number">{took:.1f} s</td>'
        f'<td class="soft">{escape(diagnosis.skipped.get(name, ""))}</td></tr>'
        for name, took in seconds.items()
    )
    return (
        f'<section><h2>Tests and protocol</h2><div class="card wide"><table><thead><tr><th>test</th><th>time</th>'
        f"<th>why it was not made</th></tr></thead><tbody>{times}</tbody></table></div>"
        f'<div class="card wide"><table><tbody>{rows}</tbody></table></div></section>\n'
    )


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
