"""Blocks of rows: which programs run on some rows at a time, and that rows keep their parameters."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import nn

from pyrogen import Story
from pyrogen.diagnostics import to_datatree
from pyrogen.diagnostics.core.row_blocks import (
    accepts_any_rows,
    analyze_row_blocks,
    random_rows,
    require_training_rows,
    select_rows,
)
from pyrogen.inference import evaluation_context
from pyrogen.inference.likelihood import memory_budget
from pyrogen.story import Batch
from tests.helpers.linear_gaussian import ppca


def values(tree, group, name):
    """A variable's draws, (draws, ...), as a tensor."""
    return torch.from_numpy(tree[group][name].values[0])


class PerDatum(Story):
    """A guide with parameters for each datum, in a plate that subsamples by index."""

    def __init__(self, total):
        super().__init__()
        self.loc = nn.Parameter(torch.arange(float(total)))

    def model(self, x, total, index):
        with pyro.plate("data", total, subsample=index):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            return pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(self, total, index):
        with pyro.plate("data", total, subsample=index):
            pyro.sample("z", dist.Normal(self.loc[index], 0.1))


@pytest.mark.parametrize("samples", [1, 3])
def test_parameters_of_each_datum_keep_to_their_row(samples, monkeypatch):
    monkeypatch.setattr(memory_budget, "ELEMENTS", 256 * 9)
    tree = to_datatree(PerDatum(12), {"x": torch.zeros(12)}, samples)
    z = values(tree, "posterior", "z")
    assert z.round().tolist() == [list(range(12))] * samples
    by_hand = dist.Normal(torch.arange(12.0), 0.1).log_prob(z)
    torch.testing.assert_close(values(tree, "importance", "log_q"), by_hand)


def test_parameters_that_a_first_run_makes_have_as_many_rows_as_the_data():
    class Fresh(PerDatum):
        def guide(self, n):
            with pyro.plate("data", n):
                pyro.sample("z", dist.Normal(pyro.param("loc_of", torch.zeros(n)), 0.1))

    story = Fresh(5)
    assert to_datatree(story, {"x": torch.zeros(5)}, 4)["posterior"]["z"].shape == (1, 4, 5)
    assert story.trainable()["loc_of"].shape == (5,)


def test_a_story_that_fixes_its_rows_is_run_once_for_each_draw():
    class Fixed(PerDatum):
        def model(self, x, total):
            with pyro.plate("data", 6):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                return pyro.sample("x", dist.Normal(z, 1.0), obs=x)

        def guide(self, x):
            with pyro.plate("data", 6):
                pyro.sample("z", dist.Normal(self.loc, 0.1))

    tree = to_datatree(Fixed(6), {"x": torch.zeros(6)}, 5)
    z = values(tree, "posterior", "z")
    assert z.round().tolist() == [list(range(6))] * 5
    assert values(tree, "importance", "log_weight").shape == (5, 6)


def test_rows_are_chosen_by_number_or_at_random():
    batch = Batch({"x": torch.arange(5.0), "name": None}, 5, 50, torch.arange(5))
    chosen = select_rows(batch, torch.tensor([3, 0, 3]))
    assert (chosen.n, chosen.total, chosen.index.tolist()) == (3, 50, [3, 0, 3])
    assert chosen.columns["x"].tolist() == [3.0, 0.0, 3.0]
    some = random_rows(batch, 3)
    assert len(set(some.index.tolist())) == some.n == 3
    assert random_rows(batch, 5) is batch


@pytest.mark.parametrize("rows", [2, 5, 40])
def test_blocks_cover_the_rows_in_order(rows, monkeypatch):
    monkeypatch.setattr(memory_budget, "ELEMENTS", 256 * rows)
    story, x = ppca(), torch.arange(60.0).double().reshape(12, 5)
    with evaluation_context(story, 0) as context:
        blocks = list(analyze_row_blocks(story, context.batch(x), 7))
    copies = {block.draws_per_run for block in blocks}
    assert copies == {min(7, max(1, rows // 12))}
    seen = torch.cat(
        [next(iter(block.batch.columns.values()))[: block.batch.n // block.draws_per_run] for block in blocks]
    )
    assert torch.equal(seen, x)


def test_an_autoguide_takes_no_other_rows():
    class Auto(Story):
        def __init__(self):
            super().__init__()
            self.guide = AutoNormal(self.model)

        def model(self, x, n):
            with pyro.plate("data", n):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                return pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    for story, accepts in ((Auto(), False), (PerDatum(5), True)):
        with evaluation_context(story, 0) as context:
            assert accepts_any_rows(story, context.batch({"x": torch.zeros(5)}), 2) == accepts


def test_other_rows_than_those_of_training_are_refused():
    require_training_rows(PerDatum(5), Batch({}, 5, 5))
    with pytest.raises(
        ValueError, match=r"PerDatum: data share 'mu', whose posterior is given the 9 rows .* got 5 rows"
    ):
        require_training_rows(PerDatum(5), Batch({}, 5, 9), "'mu'")
