"""pyrogen's flows over vectors beside zuko's of the same size: training steps, draws, numerical errors, equality.

    python benchmarks/flows_beside_zuko.py --keep      # recorded in results/; half an hour
    python benchmarks/flows_beside_zuko.py --quick     # one case

Both are the density of a story without latents, zuko's through Pyro's bridge (`ZukoToPyro`), trained by Adam on batches
of 256 rows with one thread. Bursts of steps of the four ways (ours and zuko's, eager and compiled) take turns; figures
are medians of processor time. Errors are those of float32: of x after a way to the base and back, and of the log
density beside float64's. Where weights can be mapped, the log densities of one layer are compared at the same weights;
where the masks of the networks differ, the numbers of weights that they leave free are.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import pyro
import torch
from pyro.contrib.zuko import ZukoToPyro
from pyro.infer import Trace_ELBO
from recording import Row, environment, record, table
from torch import Tensor, nn

from pyrogen import Story
from pyrogen.distributions import Affine, Autoregressive, BijectionConfig, Coupling, Elementwise, Spline
from pyrogen.distributions.flows.zuko import import_zuko
from pyrogen.inference import SVI
from pyrogen.models import Flow

zuko = import_zuko()
NAME, KEY = "flows_beside_zuko", ("device", "case", "size")
ROWS, LAYERS, HIDDEN, BURST = 256, 5, (64, 64), 10
SIZES = (8, 32)
CASES: dict[str, tuple[BijectionConfig, str, dict[str, Any]]] = {
    "affine coupling": (Coupling(Affine(), LAYERS, HIDDEN), "RealNVP", {}),
    "spline coupling": (Coupling(Spline(8), LAYERS, HIDDEN), "NSF", {"passes": 2}),
    "affine autoregressive": (Autoregressive(Affine(), LAYERS, HIDDEN), "MAF", {}),
    "spline autoregressive": (Autoregressive(Spline(8), LAYERS, HIDDEN), "NSF", {}),
}
BOUND = 1.15
"""How much slower zuko's flows may be and still replace ours."""


class Bridged(Story):
    """A flow of zuko's as the density of x."""

    unsupported = {"guide": "it has no latents"}

    def __init__(self, flow: nn.Module) -> None:
        super().__init__()
        self.flow = flow

    def model(self, x: Tensor | None, n: int) -> Any:
        """p(x)."""
        with pyro.plate("data", n):
            return pyro.sample("x", ZukoToPyro(self.flow()), obs=x)

    def guide(self, x: Tensor, n: int) -> None:
        """Empty."""


def stories(case: str, size: int) -> dict[str, Story]:
    """Ours and zuko's, at random weights."""
    config, name, arguments = CASES[case]
    torch.manual_seed(0)
    theirs = getattr(zuko.flows, name)(size, transforms=LAYERS, hidden_features=HIDDEN, **arguments)
    ours = Flow(size, config)
    for parameter in ours.parameters():  # ours start at the identity
        nn.init.normal_(parameter, std=0.1)
    return {"ours": ours, "zuko": Bridged(theirs)}


def step_of(story: Story, x: Tensor, compiled: bool) -> Callable[[], Any]:
    """A training step, after enough of them that the next one compiles nothing."""
    svi = SVI(story.model, story.guide, pyro.optim.Adam({"lr": 1e-4}), Trace_ELBO(), compile=compiled)

    def step() -> Any:
        return svi.step(x, len(x))

    for _ in range(5):
        step()
    assert svi.mode == ("compiled" if compiled else "eager"), svi.mode
    return step


def density_of(story: Story) -> Any:
    """p(x) as torch's distribution, of a base and transforms."""
    return story.density() if isinstance(story, Flow) else story.flow()


def medians(ways: dict[str, Callable[[], Any]], rounds: int, burst: int = BURST) -> dict[str, float]:
    """Milliseconds of processor time of each way, which take turns."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, function in ways.items():
            start = time.process_time()
            for _ in range(burst):
                function()
            times[way].append((time.process_time() - start) / burst * 1e3)
    return {way: round(statistics.median(each), 3) for way, each in times.items()}


def steps(case: str, size: int, rounds: int) -> Row:
    """Milliseconds of a step, and why a way cannot be compiled."""
    x = torch.randn(ROWS, size, generator=torch.Generator().manual_seed(1))
    ways, reasons = {}, {}
    for compiled in (False, True):
        for who, story in stories(case, size).items():
            way = f"{who}, {'compiled' if compiled else 'eager'}"
            try:
                ways[way] = step_of(story, x, compiled)
            except ValueError as error:
                reasons[way] = str(error).split("\n")[0]
    return {"step_ms": medians(ways, rounds), "not_compiled": reasons}


@torch.no_grad()
def draws(case: str, size: int, rounds: int) -> Row:
    """Milliseconds of a draw of 256 rows."""
    densities = {who: density_of(story) for who, story in stories(case, size).items()}
    return {"draw_ms": medians({who: lambda p=p: p.sample((ROWS,)) for who, p in densities.items()}, rounds, 1)}


@torch.no_grad()
def errors(case: str, size: int) -> Row:
    """The largest errors of float32, beside 1 and the log density's own size."""
    x, row = torch.randn(2000, size, generator=torch.Generator().manual_seed(2)), {}
    for who, story in stories(case, size).items():
        density = density_of(story)
        if isinstance(story, Flow):
            transform = density.transforms[0]
            back = density_of(story).transforms[0](transform.inv(x))
        else:
            back = density.transform.inv(density.transform(x))
        log_prob = density.log_prob(x)
        exact = density_of(story.double()).log_prob(x.double())
        row[who] = {
            "round_trip": float((back - x).abs().max()),
            "log_prob": float((log_prob - exact).abs().max()),
        }
    return {"float32_errors": row}


@torch.no_grad()
def at_mapped_weights(elementwise: Elementwise, size: int) -> float:
    """The largest difference of log densities of one coupling layer: the same network chooses the maps of both."""
    torch.manual_seed(0)
    layer = Coupling(elementwise, 1, HIDDEN).build((size,)).parts[-1]
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.1)
    transforms = zuko.transforms
    splits = (1, 1) if isinstance(elementwise, Affine) else (elementwise.bins, elementwise.bins, elementwise.bins - 1)

    def meta(x_a: Tensor) -> Any:
        parts = layer.network(x_a).split(splits, -1)
        if isinstance(elementwise, Affine):
            return transforms.DependentTransform(transforms.MonotonicAffineTransform(*(p[..., 0] for p in parts)), 1)
        return transforms.DependentTransform(transforms.MonotonicRQSTransform(*parts, bound=elementwise.bound), 1)

    x = torch.randn(2000, size)
    z, log_det = layer.to_base(x, None)
    theirs, their_log_det = transforms.CouplingTransform(meta, torch.arange(size) < size // 2).call_and_ladj(x)
    standard = torch.distributions.Normal(0.0, 1.0)
    ours = standard.log_prob(z).sum(-1) + log_det
    return float((ours - standard.log_prob(theirs).sum(-1) - their_log_det).abs().max())


def free_weights(case: str, size: int) -> dict[str, int]:
    """The number of weights that are not masked, in the masked networks of all layers."""
    both = stories(case, size)
    return {
        who: sum(int(mask.sum()) for name, mask in story.named_buffers() if name.endswith(".mask"))
        for who, story in both.items()
    }


def measured(case: str, size: int, rounds: int) -> Row:
    """All figures of one case."""
    pyro.clear_param_store()
    row = {"case": case, "size": size, **steps(case, size, rounds), **draws(case, size, rounds), **errors(case, size)}
    config = CASES[case][0]
    equal = at_mapped_weights(config.elementwise, size) if isinstance(config, Coupling) else None
    masks = free_weights(case, size) if equal is None else None
    return {**row, "difference_at_mapped_weights": equal, "free_weights": masks}


def ratio(row: Row, way: str) -> str:
    """zuko's time beside ours."""
    ours, theirs = row["step_ms"].get(f"ours, {way}"), row["step_ms"].get(f"zuko, {way}")
    return "cannot be compiled" if theirs is None else f"{ours:.2f} / {theirs:.2f} ms ({theirs / ours:.2f})"


def render(rows: list[Row]) -> str:
    """The results as a page."""
    error: dict[str, Callable[[Row], str]] = {
        f"{name}: ours / zuko": lambda row, key=key: " / ".join(
            f"{row['float32_errors'][who][key]:.0e}" for who in ("ours", "zuko")
        )
        for name, key in (("error of x after a round trip", "round_trip"), ("error of log p(x)", "log_prob"))
    }
    columns: dict[str, Callable[[Row], str]] = {
        "flow": lambda row: f"{row['case']}, {row['size']} features",
        "eager step: ours / zuko (ratio)": lambda row: ratio(row, "eager"),
        "compiled step: ours / zuko (ratio)": lambda row: ratio(row, "compiled"),
        "256 draws: ours / zuko": lambda row: f"{row['draw_ms']['ours']:.1f} / {row['draw_ms']['zuko']:.1f} ms",
        **error,
        "log p(x) at mapped weights differs by": lambda row: (
            f"no mapping: {row['free_weights']['ours']} / {row['free_weights']['zuko']} free weights"
            if row["difference_at_mapped_weights"] is None
            else f"{row['difference_at_mapped_weights']:.1g} nats"
        ),
    }
    about = rows[0]
    reasons = {reason for row in rows for reason in row["not_compiled"].values()}
    return (
        "# Flows over vectors: pyrogen's beside zuko's\n\n"
        f"{about['device']}, {about['threads']} thread, zuko {about['zuko']}, torch {about['versions']['torch']}, "
        f"{about['date']}. Written by `benchmarks/flows_beside_zuko.py`: {LAYERS} layers, hidden widths {HIDDEN}, "
        f"{ROWS} rows; medians of processor time.\n\n"
        f"{table(rows, columns)}\n"
        f"Not compiled: {'; '.join(sorted(reasons)) or 'none'}.\n\n"
        f"{verdict(rows)}\n"
    )


def verdict(rows: list[Row]) -> str:
    """Whether zuko's flows can replace ours, by the three conditions."""
    kept = []
    for case in dict.fromkeys(row["case"] for row in rows):
        mine = [row for row in rows if row["case"] == case]
        why = []
        if any(row["not_compiled"] for row in mine):
            why.append("zuko's cannot be compiled")
        slow = [
            row["step_ms"][f"zuko, {way}"] / row["step_ms"][f"ours, {way}"]
            for row in mine
            for way in ("eager", "compiled")
            if f"zuko, {way}" in row["step_ms"]
        ]
        if max(slow) > BOUND:
            why.append(f"a step takes up to {max(slow):.2f} times as long")
        different = [row["difference_at_mapped_weights"] for row in mine]
        if None in different:
            only = "" if why else "it can be compiled and is fast enough, but "
            why.append(f"{only}the hidden units' masks differ, so that weights cannot be mapped")
        elif max(different) > 1e-5:
            why.append("the same weights give another density, as the maps are parametrized otherwise")
        kept.append(f"- {case}: {'ours stays: ' + '; '.join(why) if why else 'zuko can replace ours'}.\n")
    return (
        f"zuko's flow replaces ours where it can be compiled, takes at most {BOUND} times as long, and gives the same "
        f"densities to 1e-5 at mapped weights:\n\n{''.join(kept)}"
    )


def main() -> None:
    """Measure and, where asked to, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="record the figures in results/")
    parser.add_argument("--quick", action="store_true", help="one case, five rounds")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    cases = [("spline coupling", 8)] if options.quick else [(case, size) for case in CASES for size in SIZES]
    for case, size in cases:
        row = measured(case, size, 5 if options.quick else 21)
        print(json.dumps(row), flush=True)
        if options.keep:
            about = {**environment(torch.device("cpu")), "zuko": zuko.__version__}
            record(NAME, {**row, **about}, KEY, render)


if __name__ == "__main__":
    main()
