import pytest

from pyrogen.inference import Fit
from pyrogen.models import PPCA
from pyrogen.plots import training_curve

HISTORY = [
    {"epoch": 1, "train_elbo": -9.0, "validation_elbo": -8.0},
    {"epoch": 2, "train_elbo": -7.0, "validation_elbo": -6.5},
    {"epoch": 3, "train_elbo": -6.0, "validation_elbo": -7.5},
]


def test_both_curves_and_the_best_epoch(tmp_path):
    figure = training_curve(Fit(PPCA(2, 1), HISTORY))
    lines = {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}
    assert lines["training"] == [[1, -9], [2, -7], [3, -6]]
    assert lines["validation"] == [[1, -8], [2, -6.5], [3, -7.5]]
    assert lines["best: -6.50 nats at epoch 2"] == [[2, -6.5]]
    figure.savefig(tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000


def test_without_validation_there_is_one_curve():
    figure = training_curve([{"epoch": 1, "train_elbo": -9.0}])
    assert [line.get_label() for line in figure.axes[0].lines] == ["training"]


def test_an_empty_history_is_refused():
    with pytest.raises(ValueError, match="the history is empty"):
        training_curve([])
