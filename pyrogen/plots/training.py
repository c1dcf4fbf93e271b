"""Training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pyrogen.inference import Fit

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_BOUNDS = {"train_elbo": "training", "validation_elbo": "validation"}
_LOSSES = {"critic_loss": "critic", "generator_loss": "generator"}


def training_curve(run: Fit | Sequence[Mapping[str, Any]]) -> Figure:
    """The ELBO on training and validation data by epoch, with the best epoch; of adversarial training, both losses.

    Args:
        run: what `fit` or `load` returned, or its history (one record for each epoch).

    Returns:
        A Matplotlib figure; `figure.savefig(path)` writes it, pyplot and its backend are left alone.

    Raises:
        ValueError: the history is empty.
    """
    from matplotlib.figure import Figure

    history = run.history if isinstance(run, Fit) else run
    if not history:
        raise ValueError("run: the history is empty, so that there is no epoch to plot")
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    bounds = any(name in record for record in history for name in _BOUNDS)
    for name, label in (_BOUNDS if bounds else _LOSSES).items():
        points = [(record["epoch"], record[name]) for record in history if record.get(name) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, marker="." if len(points) < 30 else "")
    best = max((r for r in history if "validation_elbo" in r), key=lambda r: r["validation_elbo"], default=None)
    if best is not None:
        label = f"best: {best['validation_elbo']:.2f} nats at epoch {best['epoch']}"
        axes.plot([best["epoch"]], [best["validation_elbo"]], "o", color="grey", fillstyle="none", label=label)
    axes.set(xlabel="epoch", ylabel="ELBO in nats per datum" if bounds else "loss")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    return figure
