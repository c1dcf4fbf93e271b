"""Time of one SVI step: stock Pyro, plain torch, pyrogen and NumPyro, side by side.

    python benchmarks/svi_step.py --quick                            # three cases
    python benchmarks/svi_step.py --keep --numpyro-python PYTHON     # all, recorded in results/
    python benchmarks/svi_step.py --cases eight_schools --json

All variants step on the same ready batch with Adam at the same rate, in one process, with the same number of threads,
in bursts that take turns in random order; NumPyro's process takes its turns with them. Before that, every variant's
parameters must move and its loss, averaged over draws at the same start, must be the others'.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
import warnings

import pyro
import torch
from recording import Row, environment, record, table
from svi.measuring import ON_CUDA, VARIANTS, Setting, Timing, measured
from svi.networks import NETWORKS
from svi.statistical import STATISTICAL
from svi.with_numpyro import interpreter

CASES = {**STATISTICAL, **NETWORKS}
QUICK = ("eight_schools", "regression_1000", "vae_400_20_b128")
ROUNDS, QUICK_ROUNDS = 40, 15
KEY = ("device", "threads", "case", "variant")
AGAINST = ("pyro", "torch", "torch_compiled")


def rows_of(case: str, timings: list[Timing], threads: int, device: str) -> list[Row]:
    """A row for each variant, as `--json` prints them."""
    ms = {timing.variant: timing.ms for timing in timings}
    rows = []
    for timing in timings:
        ratios = {f"ratio_to_{other}": ratio(timing.ms, ms.get(other)) for other in AGAINST}
        rounded = None if timing.ms is None else round(timing.ms, 5)
        row = {"case": case, "variant": timing.variant, "ms": rounded, **ratios}
        rows.append({**row, "threads": threads, "device": device})
    return rows


def ratio(ms: float | None, other: float | None) -> float | None:
    """Below 1 is faster; None where one of both is not there."""
    return None if ms is None or other is None else round(ms / other, 4)


def keep(rows: list[Row], timings: list[Timing], name: str, device: torch.device, rounds: int) -> None:
    """Record rows, with what else is known of them."""
    about = environment(device)
    for row, timing in zip(rows, timings, strict=True):
        more = {
            "about": CASES[row["case"]].about,
            "quartiles_ms": timing.quartiles and [round(ms, 5) for ms in timing.quartiles],
            "rounds": rounds,
            "steps_in_a_burst": timing.steps,
            "loss_at_start": timing.loss and timing.loss[0],
            "loss_at_start_error": timing.loss and timing.loss[1],
            "seconds_to_be_ready": timing.ready_seconds,
            "form": timing.form,
            "reason": timing.reason,
        }
        versions = {**about["versions"], **timing.versions}
        record(name, {**row, **more, **about, "versions": versions}, KEY, render)


def render(rows: list[Row]) -> str:
    """The results as a page."""
    pages = []
    for device, threads in dict.fromkeys((row["device"], row["threads"]) for row in rows):
        mine = [row for row in rows if (row["device"], row["threads"]) == (device, threads)]
        versions = {name: version for row in mine for name, version in row["versions"].items()}
        listed = ", ".join(f"{name} {version}" for name, version in versions.items())
        pages.append(f"## {device}, threads: {threads}\n\n{listed}; {mine[0]['date']}.\n\n{by_case(mine)}")
    return (
        "# Time of one SVI step\n\n"
        "Written by `benchmarks/svi_step.py` from the JSON file beside it, which holds the rest: quartiles, forms,\n"
        "losses. Milliseconds for forward, backward and Adam: the median over rounds; in brackets the ratio to stock\n"
        "Pyro, below 1 is faster. A dash: there is no such step, and the JSON file says why.\n\n" + "\n".join(pages)
    )


def by_case(rows: list[Row]) -> str:
    """A table with a line for each case and a column for each variant."""
    variants = [variant for variant in VARIANTS if any(row["variant"] == variant for row in rows)]
    found = {(row["case"], row["variant"]): row for row in rows}

    def cell(case: str, variant: str) -> str:
        row = found.get((case, variant))
        if row is None or row["ms"] is None:
            return "-"
        against = row["ratio_to_pyro"]
        return f"{row['ms']:.3g}" + ("" if against is None or variant == "pyro" else f" ({against:.2g})")

    cases = [{"case": case} for case in CASES if any(row["case"] == case for row in rows)]
    columns = {"case": lambda line: line["case"]}
    columns |= {variant: lambda line, variant=variant: cell(line["case"], variant) for variant in variants}
    return table(cases, columns)


def timing_table(timings: list[Timing]) -> str:
    """A case's timings, for the terminal."""
    lines = []
    ms = {timing.variant: timing.ms for timing in timings}
    for timing in timings:
        if timing.ms is None or timing.quartiles is None:
            lines.append(f"  {timing.variant:17} {timing.reason}")
            continue
        low, high = timing.quartiles
        ratios = [ratio(timing.ms, ms.get(other)) for other in AGAINST]
        words = "  ".join(f"{'-' if r is None else format(r, '.3f'):>7}" for r in ratios)
        lines.append(f"  {timing.variant:17} {timing.ms:9.4f}  {low:8.4f} to {high:8.4f}  {words}  {timing.form}")
    return "\n".join(lines)


def chosen(text: str | None, known: tuple[str, ...], default: tuple[str, ...], what: str) -> list[str]:
    """Names from a list with commas, in the order in which they are known."""
    names = text.split(",") if text else default
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise SystemExit(f"no {what} '{unknown[0]}' (there are: {', '.join(known)})")
    return [name for name in known if name in names]


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print rows, and nothing else on standard output")
    parser.add_argument("--quick", action="store_true", help=f"{', '.join(QUICK)} in {QUICK_ROUNDS} rounds")
    parser.add_argument("--cases", help="names with commas between them")
    parser.add_argument("--variants", help="names with commas between them")
    parser.add_argument("--threads", type=int, default=1, help="of every variant (1)")
    parser.add_argument("--rounds", type=int, help=f"bursts of each variant ({ROUNDS})")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (cpu)")
    parser.add_argument("--numpyro-python", metavar="PATH", help="an interpreter that has NumPyro (this one)")
    parser.add_argument("--keep", action="store_true", help="record in results/svi_step_<device>")
    parser.add_argument("--list", action="store_true", help="list cases and variants and leave")
    return parser.parse_args()


def main() -> None:
    """Parse the command line, measure, print, record."""
    options = parsed()
    if options.list:
        print("\n".join(f"{name:22} {case.about}" for name, case in CASES.items()), "\n" + " ".join(VARIANTS))
        return
    device, numpyro = torch.device(options.device), interpreter(options.numpyro_python)
    default = tuple(v for v in VARIANTS if (v not in ON_CUDA or device.type == "cuda") and (v != "numpyro" or numpyro))
    variants = chosen(options.variants, VARIANTS, default, "variant")
    cases = chosen(options.cases, tuple(CASES), QUICK if options.quick else tuple(CASES), "case")
    torch.set_num_threads(options.threads)
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    setting = Setting(device, options.threads, max(2, rounds), numpyro)
    slug = "cpu" if device.type == "cpu" else re.sub(r"\W+", "_", torch.cuda.get_device_name(device)).lower()
    rows = []
    print(f"{'':19} {'ms':>9}  {'quartiles':>20}  {'/pyro':>7}  {'/torch':>7}  {'/compiled':>7}", file=sys.stderr)
    for name in cases:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            timings = measured(name, CASES[name], variants, setting)
        new = rows_of(name, timings, options.threads, device.type)
        rows += new
        print(f"{name}\n{timing_table(timings)}", file=sys.stderr if options.json else sys.stdout, flush=True)
        if options.keep:
            keep(new, timings, f"svi_step_{slug}", device, setting.rounds)
    if options.json:
        print(json.dumps(rows, indent=1))
    pyro.clear_param_store()


if __name__ == "__main__":
    main()
