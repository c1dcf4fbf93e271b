"""Sites that change after the first step are checked when they do; sites that change with the data are not refused."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceGraph_ELBO

from pyrogen import fit

X = torch.linspace(-1.0, 1.0, 16)


class Counting:
    """A pair whose sites change at its tenth run."""

    def __init__(self, change):
        self.change, self.runs = change, 0

    @property
    def late(self):
        return self.runs > 10

    def model(self, x, n):
        self.runs += 1
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        if self.change == "latent of the model" and self.late:
            pyro.sample("extra", dist.Normal(0.0, 1.0))
        name = "renamed" if self.change == "renamed" and self.late else "x"
        with pyro.plate("data", n):
            if not (self.change == "not observed" and self.late):
                pyro.sample(name, dist.Normal(mu, 1.0), obs=x)

    def guide(self, x, n):
        loc = pyro.param("m", torch.tensor(0.0))
        if not (self.change == "not guided" and self.late):
            pyro.sample("mu", dist.Normal(loc, 0.1))
        if self.change == "latent of the guide" and self.late:
            pyro.sample("extra", dist.Normal(loc, 1.0))


@pytest.mark.parametrize("objective", [Trace_ELBO, TraceGraph_ELBO])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("latent of the model", "the model draws 'extra' and the guide does not"),
        ("latent of the guide", "the guide draws 'extra', which the model does not draw"),
        ("not guided", "the model draws 'mu' and the guide does not"),
        ("not observed", "observes no site"),
    ],
)
def test_a_late_disagreement_is_refused(objective, change, reason):
    pair = Counting(change)
    with pytest.raises(ValueError, match=rf"from step \d+ on: .*{reason}"):
        fit((pair.model, pair.guide), {"x": X}, steps=40, objective=objective(), compile=False, progress=False)


def test_sites_that_both_programs_change_pass():
    """Sequences of several lengths in turn, with one latent for each place, as in hidden Markov models."""

    def model(x, length):
        for t in range(int(length.max())):
            z = pyro.sample(f"z{t}", dist.Normal(0.0, 1.0))
            with pyro.plate(f"rows{t}", len(x)):
                pyro.sample(f"x{t}", dist.Normal(z, 1.0), obs=x[:, t])

    def guide(x, length):
        loc = pyro.param("loc", torch.zeros(4))
        for t in range(int(length.max())):
            pyro.sample(f"z{t}", dist.Normal(loc[t], 1.0))

    loader = [{"x": torch.randn(5, 4), "length": torch.full((5,), length)} for length in (1, 4, 2)]
    data = torch.utils.data.DataLoader(loader, batch_size=None)
    run = fit((model, guide), data, epochs=4, compile=False, progress=False)
    assert len(run.history) == 4
