"""Discrete latents that are summed out along chains and within documents, beside the sums by hand."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions import constraints
from pyro.infer.autoguide import AutoDelta, AutoDiagonalNormal

from tests.helpers.foreign_programs.foreign import Foreign, enum_elbo, generator


def hidden_markov():
    def model(sequences, lengths):
        with poutine.mask(mask=True):
            moves = pyro.sample("moves", dist.Dirichlet(0.9 * torch.eye(2) + 0.5).to_event(1))
            tones = pyro.sample("tones", dist.Beta(torch.ones(2, 3), 2.0).to_event(2))
        with pyro.plate("sequences", len(sequences), dim=-2):
            state = 0
            keys = pyro.plate("keys", 3, dim=-1)
            for t in pyro.markov(range(sequences.shape[1])):
                with poutine.mask(mask=(t < lengths).unsqueeze(-1)):
                    state = pyro.sample(f"state_{t}", dist.Categorical(moves[state]), infer={"enumerate": "parallel"})
                    with keys:
                        pyro.sample(f"tone_{t}", dist.Bernoulli(tones[state.squeeze(-1)]), obs=sequences[:, t])

    return model, AutoDelta(poutine.block(model, expose=["moves", "tones"]))


def hidden_markov_likelihood(latents, data):
    """Log p of the tones at each time given those before, of each row."""
    moves, tones = latents["moves"].log(), latents["tones"]
    sequences, lengths = data["sequences"], data["lengths"]
    alpha = torch.tensor([0.0, -torch.inf]).expand(len(lengths), 2)  # the state before the first one is 0
    found = {}
    for t in range(sequences.shape[1]):
        seen = dist.Bernoulli(tones).log_prob(sequences[:, t].unsqueeze(1)).sum(-1)
        after = (alpha.unsqueeze(-1) + moves).logsumexp(1) + seen
        inside = (t < lengths).unsqueeze(-1)
        found[f"tone_{t}"] = torch.where(inside[:, 0], after.logsumexp(-1) - alpha.logsumexp(-1), torch.zeros(()))
        alpha = torch.where(inside, after, alpha)
    return found


def captures():
    def model(captured):
        animals, times = captured.shape
        survival = pyro.sample("survival", dist.Uniform(0.0, 1.0))
        recapture = pyro.sample("recapture", dist.Uniform(0.0, 1.0))
        with pyro.plate("animals", animals, dim=-1):
            alive = torch.ones(animals)
            seen_before = torch.zeros(animals).bool()
            for t in pyro.markov(range(times)):
                with poutine.mask(mask=seen_before):
                    still = survival * alive + (1 - seen_before.float()) * (1 - survival * alive)
                    alive = pyro.sample(f"alive_{t}", dist.Bernoulli(still), infer={"enumerate": "parallel"})
                    pyro.sample(f"captured_{t}", dist.Bernoulli(recapture * alive), obs=captured[:, t])
                seen_before = seen_before | captured[:, t].bool()

    return model, AutoDiagonalNormal(poutine.block(model, expose=["survival", "recapture"]), init_scale=0.1)


def captures_likelihood(latents, data):
    """Log p of each capture given those before it, and 0 up to the first one."""
    phi, rho = latents["survival"], latents["recapture"]
    captured = data["captured"]
    alpha = torch.tensor([0.0, 1.0]).expand(len(captured), 2)  # dead or alive
    before = torch.zeros(len(captured)).bool()
    found = {}
    for t in range(captured.shape[1]):
        moved = torch.stack([alpha[:, 0] + (1 - phi) * alpha[:, 1], phi * alpha[:, 1]], -1)
        hit = captured[:, t]
        after = moved * torch.stack([1 - hit, hit * rho + (1 - hit) * (1 - rho)], -1)
        total = torch.where(before, after.sum(-1), torch.ones(()))
        found[f"captured_{t}"] = total.log()
        alpha = torch.where(before.unsqueeze(-1), after / total.unsqueeze(-1), alpha)
        before = before | hit.bool()
    return found


def topics():
    def model(words):
        length, documents = words.shape
        with pyro.plate("topics", 2):
            weight = pyro.sample("weight", dist.Gamma(0.5, 1.0))
            vocabulary = pyro.sample("vocabulary", dist.Dirichlet(torch.ones(6)))
        with pyro.plate("documents", documents):
            share = pyro.sample("share", dist.Dirichlet(weight))
            with pyro.plate("words", length):
                topic = pyro.sample("topic", dist.Categorical(share), infer={"enumerate": "parallel"})
                pyro.sample("word", dist.Categorical(vocabulary[topic]), obs=words)

    def guide(words):
        rate = pyro.param("rate", torch.full((2,), 3.0), constraint=constraints.positive)
        themes = pyro.param("themes", lambda: torch.rand(2, 6) + 0.5, constraint=constraints.greater_than(0.5))
        net = pyro.param("net", lambda: 0.1 * torch.randn(6, 2))
        with pyro.plate("topics", 2):
            pyro.sample("weight", dist.Gamma(rate, 1.0))
            pyro.sample("vocabulary", dist.Dirichlet(themes))
        counts = torch.nn.functional.one_hot(words, 6).float().sum(0)
        with pyro.plate("documents", words.shape[1]):
            pyro.sample("share", dist.Dirichlet((counts @ net).exp()))

    return model, guide


def topics_likelihood(latents, data):
    """The rows of the data are places in the documents."""
    by_word = latents["share"] @ latents["vocabulary"]
    return {"word": by_word.gather(1, data["words"].t()).log().sum(0)}


CAPTURED = (torch.rand(12, 5, generator=generator(2)) < 0.5).float()
TONES = (torch.rand(6, 4, 3, generator=generator(3)) < 0.4).float()
WORDS = torch.randint(6, (7, 5), generator=generator(4))
DEPENDENT = "draws depend on the values of placeholders.*posterior_predictive"
IN_PYTHON = "cannot be compiled: it reads the value of a tensor in Python"

PROGRAMS = [
    Foreign(
        "hidden Markov model with lengths",
        hidden_markov,
        {"sequences": TONES, "lengths": torch.tensor([4, 3, 2, 4, 1, 3])},
        plate="sequences",
        objective=enum_elbo(2),
        given=("lengths",),
        likelihood=hidden_markov_likelihood,
    ),
    Foreign(
        "capture and recapture",
        captures,
        {"captured": CAPTURED},
        plate="animals",
        objective=enum_elbo(1),
        likelihood=captures_likelihood,
        refuses={"sample": DEPENDENT},
    ),
    Foreign(
        "latent Dirichlet allocation",
        topics,
        {"words": WORDS},
        plate="words",
        objective=enum_elbo(2),
        likelihood=topics_likelihood,
        refuses={"sample": DEPENDENT, "compile": IN_PYTHON},
    ),
]
