"""Processes in time and space: autoregression, local level, a forecaster, a Gaussian process."""

import pyro
import pyro.contrib.gp as gp
import pyro.distributions as dist
import torch
from pyro.contrib.forecast import ForecastingModel
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from pyro.nn import PyroSample

from tests.helpers.foreign_programs.foreign import Foreign, generator


def autoregressive():
    def model(series):
        slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
        offset = pyro.sample("offset", dist.Normal(0.0, 1.0))
        noise = pyro.sample("noise", dist.LogNormal(0.0, 1.0))
        past = torch.cat([torch.zeros(1), series[:-1]])
        with pyro.plate("time", len(series)):
            pyro.sample("series", dist.Normal(offset + slope * past, noise), obs=series)

    return model, AutoMultivariateNormal(model)


def local_level():
    """Many short series, each with a level that drifts."""

    def model(series):
        drift = pyro.sample("drift", dist.LogNormal(-1.0, 1.0))
        with pyro.plate("series", len(series)):
            level = torch.zeros(len(series))
            for t in range(series.shape[1]):
                level = pyro.sample(f"level_{t}", dist.Normal(level, drift))
                pyro.sample(f"seen_{t}", dist.Normal(level, 0.5), obs=series[:, t])

    return model, AutoNormal(model)


class Trend(ForecastingModel):
    """A line with a random walk around it."""

    def model(self, zero_data, covariates):
        slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
        drift = pyro.sample("drift", dist.LogNormal(-2.0, 1.0))
        with self.time_plate:
            moves = pyro.sample("moves", dist.Normal(0.0, drift))
        self.predict(dist.Normal(0.0, 0.5), slope * covariates + moves.cumsum(-1).unsqueeze(-1))


def forecaster():
    model = Trend()
    return model, AutoNormal(model)


def gaussian_process():
    x, y = torch.zeros(2, 1), torch.zeros(2)
    kernel = gp.kernels.RBF(input_dim=1)
    kernel.lengthscale = PyroSample(dist.LogNormal(0.0, 1.0))
    process = gp.models.GPRegression(x, y, kernel, noise=torch.tensor(0.3))
    kernel.autoguide("lengthscale", dist.Normal)

    def model(x, y):
        process.set_data(x, y)
        return process.model()

    def guide(x, y):
        process.set_data(x, y)
        return process.guide()

    return model, guide


WALK = torch.randn(20, generator=generator(0)).cumsum(0) / 3
DAYS = torch.linspace(-1, 1, 20).unsqueeze(-1)
DEPENDENT = "draws depend on the values of placeholders.*posterior_predictive"

PROGRAMS = [
    Foreign("autoregression of order 1", autoregressive, {"series": WALK}, plate="time", refuses={"sample": DEPENDENT}),
    Foreign(
        "local level",
        local_level,
        {"series": torch.randn(8, 4, generator=generator(1)).cumsum(1)},
        plate="series",
    ),
    Foreign(
        "contrib.forecast",
        forecaster,
        {"data": WALK.unsqueeze(-1), "covariates": DAYS},
        plate=None,
        refuses={"sample": "draws depend on the values of placeholders"},
    ),
    Foreign("Gaussian process regression", gaussian_process, {"x": DAYS, "y": WALK}, plate=None),
]
