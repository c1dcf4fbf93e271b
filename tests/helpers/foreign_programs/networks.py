"""Programs with networks: autoencoders of four kinds, a Bayesian network, a Markov model, objects found one by one."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions import constraints
from pyro.infer import config_enumerate
from pyro.infer.autoguide import AutoDiagonalNormal, AutoNormal
from pyro.nn import PyroModule, PyroSample
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.helpers.foreign_programs.foreign import Foreign, enum_elbo, generator


class Autoencoder(nn.Module):
    """Pixels under a Gaussian code."""

    def __init__(self, pixels=8, code=2):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(pixels, 2 * code), nn.Linear(code, pixels)
        self.code = code

    def model(self, x):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(x.shape[0], self.code), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", x.shape[0]):
            loc, log_scale = self.encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def vae():
    program = Autoencoder()
    return program.model, program.guide


def conditional():
    """Half of the pixels given the other half; a net guesses before the code is drawn."""
    guess, prior, recognition, decode = nn.Linear(4, 4), nn.Linear(8, 4), nn.Linear(8, 4), nn.Linear(2, 4)
    nets = nn.ModuleDict({"guess": guess, "prior": prior, "recognition": recognition, "decode": decode})

    def model(xs, ys=None):
        pyro.module("nets", nets)
        with pyro.plate("data", len(xs)):
            loc, log_scale = prior(torch.cat([xs, guess(xs).sigmoid()], -1)).chunk(2, -1)
            z = pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))
            return pyro.sample("ys", dist.Bernoulli(logits=decode(z)).to_event(1), obs=ys)

    def guide(xs, ys=None):
        with pyro.plate("data", len(xs)):
            seen = guess(xs).sigmoid() if ys is None else ys
            loc, log_scale = recognition(torch.cat([xs, seen], -1)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    return model, guide


def joined(*parts):
    shape = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
    return torch.cat([part.expand(*shape, -1) for part in parts], -1)


def semi_supervised():
    labeler, encoder, decoder = nn.Linear(8, 3), nn.Linear(11, 4), nn.Linear(5, 8)

    @config_enumerate
    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            y = pyro.sample("y", dist.OneHotCategorical(torch.ones(3) / 3))
            pixels = decoder(joined(z, y))
            pyro.sample("x", dist.Bernoulli(logits=pixels).to_event(1), obs=x)

    @config_enumerate
    def guide(x):
        pyro.module("labeler", labeler)
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.OneHotCategorical(logits=labeler(x)))
            loc, log_scale = encoder(joined(x, y)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    return model, guide


class Deep(nn.Module):
    """A Markov chain of codes with emissions, its guide a recurrent net over packed sequences."""

    def __init__(self):
        super().__init__()
        self.move, self.emit = nn.Linear(2, 4), nn.Linear(2, 3)
        self.recurrent, self.combine = nn.GRU(3, 4, batch_first=True), nn.Linear(6, 4)
        self.start = nn.Parameter(torch.zeros(2))

    def model(self, notes, lengths):
        pyro.module("deep", self)
        with pyro.plate("data", len(notes)):
            z = self.start.expand(len(notes), 2)
            for t in pyro.markov(range(notes.shape[1])):
                with poutine.mask(mask=t < lengths):
                    loc, log_scale = self.move(z).chunk(2, -1)
                    z = pyro.sample(f"z_{t}", dist.Normal(loc, log_scale.exp()).to_event(1))
                    pyro.sample(f"note_{t}", dist.Bernoulli(logits=self.emit(z)).to_event(1), obs=notes[:, t])

    def guide(self, notes, lengths):
        pyro.module("deep", self)
        packed = pack_padded_sequence(notes, lengths, batch_first=True, enforce_sorted=False)
        hidden, _ = pad_packed_sequence(self.recurrent(packed)[0], batch_first=True, total_length=notes.shape[1])
        with pyro.plate("data", len(notes)):
            z = self.start.expand(len(notes), 2)
            for t in pyro.markov(range(notes.shape[1])):
                with poutine.mask(mask=t < lengths):
                    loc, log_scale = self.combine(torch.cat([z, hidden[:, t]], -1)).chunk(2, -1)
                    z = pyro.sample(f"z_{t}", dist.Normal(loc, log_scale.exp()).to_event(1))


def deep_markov():
    program = Deep()
    return program.model, program.guide


class Scene(nn.Module):
    """A picture is a sum of at most two objects, each of which may be missing: attend, infer, repeat."""

    def __init__(self):
        super().__init__()
        self.look, self.draw = nn.Linear(9, 5), nn.Linear(2, 8)

    def step(self, t, present, found):
        chance = torch.full((), 0.6) if found is None else found[..., 0].sigmoid()
        present = pyro.sample(f"present_{t}", dist.Bernoulli(chance * present))
        loc, scale = (0.0, 1.0) if found is None else (found[..., 1:3], found[..., 3:5].exp())
        with poutine.mask(mask=present.bool()):
            base = torch.zeros(*present.shape, 2)
            what = pyro.sample(f"what_{t}", dist.Normal(loc + base, scale).to_event(1))
        return present, what

    def model(self, picture):
        pyro.module("scene", self)
        with pyro.plate("data", len(picture)):
            present, canvas = torch.ones(len(picture)), torch.zeros(len(picture), 8)
            for t in range(2):
                present, what = self.step(t, present, None)
                canvas = canvas + present.unsqueeze(-1) * self.draw(what)
            pyro.sample("picture", dist.Normal(canvas, 0.5).to_event(1), obs=picture)

    def guide(self, picture):
        pyro.module("scene", self)
        with pyro.plate("data", len(picture)):
            present = torch.ones(len(picture))
            for t in range(2):
                present, _ = self.step(t, present, self.look(torch.cat([picture, present.unsqueeze(-1)], -1)))


def scenes():
    program = Scene()
    return program.model, program.guide


class Bayesian(PyroModule):
    """A regression whose weights are all random."""

    def __init__(self):
        super().__init__()
        self.first, self.second = PyroModule[nn.Linear](2, 3), PyroModule[nn.Linear](3, 1, bias=False)
        self.first.weight = PyroSample(dist.Normal(0.0, 1.0).expand([3, 2]).to_event(2))
        self.first.bias = PyroSample(dist.Normal(0.0, 1.0).expand([3]).to_event(1))
        self.second.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, 3]).to_event(2))

    def forward(self, x, y=None):
        mean = self.second(self.first(x).tanh()).squeeze(-1)
        noise = pyro.sample("noise", dist.Gamma(2.0, 2.0))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("y", dist.Normal(mean, noise), obs=y)
        return mean


def bayesian_network():
    model = Bayesian()
    return model, AutoDiagonalNormal(model)


def local_parameters():
    model = Bayesian()
    return model, AutoNormal(model)


def gamma_layers():
    """A deep exponential family of two layers; each row's latents have parameters of their own."""
    shapes = {"top": 2, "bottom": 3}

    def positive(name, *shape):
        return pyro.param(name, lambda: torch.rand(*shape) + 0.5, constraint=constraints.softplus_positive)

    def model(counts):
        with pyro.plate("top_weights", 2 * 3):
            upper = pyro.sample("upper", dist.Gamma(0.5, 0.5))
        with pyro.plate("bottom_weights", 3 * 6):
            lower = pyro.sample("lower", dist.Gamma(0.5, 0.5))
        with pyro.plate("data", len(counts)):
            top = pyro.sample("top", dist.Gamma(torch.ones(2), 1.0).to_event(1))
            bottom = pyro.sample("bottom", dist.Gamma(1.0, 1.0 / (top @ upper.reshape(2, 3) + 0.1)).to_event(1))
            rate = bottom @ lower.reshape(3, 6) + 0.1
            pyro.sample("counts", dist.Poisson(rate).to_event(1), obs=counts)

    def guide(counts):
        for name, size in (("upper", 6), ("lower", 18)):
            with pyro.plate(f"{'top' if name == 'upper' else 'bottom'}_weights", size):
                pyro.sample(name, dist.Gamma(positive(f"a_{name}", size), positive(f"b_{name}", size)))
        with pyro.plate("data", len(counts)):
            for name, size in shapes.items():
                a, b = positive(f"a_{name}", len(counts), size), positive(f"b_{name}", len(counts), size)
                pyro.sample(name, dist.Gamma(a, b).to_event(1))

    return model, guide


PIXELS = (torch.rand(20, 8, generator=generator(0)) < 0.4).float()
NOTES = (torch.rand(8, 4, 3, generator=generator(1)) < 0.5).float()
LENGTHS = torch.tensor([4, 1, 3, 2, 4, 2, 3, 1])
POINTS = torch.randn(20, 2, generator=generator(2))
COUNTS = torch.poisson(torch.full((10, 6), 2.0), generator=generator(3))

PROGRAMS = [
    Foreign("variational autoencoder", vae, {"x": PIXELS}),
    Foreign("conditional autoencoder", conditional, {"xs": PIXELS[:, :4], "ys": PIXELS[:, 4:]}, given=("xs",)),
    Foreign("semi-supervised autoencoder, enumerated", semi_supervised, {"x": PIXELS}, objective=enum_elbo(1)),
    Foreign(
        "deep Markov model, packed sequences",
        deep_markov,
        {"notes": NOTES, "lengths": LENGTHS},
        refuses={"compile": "cannot be compiled: it reads the value of a tensor in Python"},
    ),
    Foreign("objects found one by one", scenes, {"picture": torch.randn(10, 8, generator=generator(4))}),
    Foreign("Bayesian network, PyroSample", bayesian_network, {"x": POINTS, "y": POINTS.sum(1)}, given=("x",)),
    Foreign(
        "module_local_params",
        local_parameters,
        {"x": POINTS, "y": POINTS.sum(1)},
        given=("x",),
        settings={"module_local_params": True},
    ),
    Foreign("sparse gamma layers", gamma_layers, {"counts": COUNTS}),
]
