"""What to do about a finding, as lines that run: see `Remedy`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyro.infer.autoguide import AutoMultivariateNormal
from torch import Tensor

from pyrogen.diagnostics.report.examination import Examination
from pyrogen.diagnostics.report.findings import Remedy
from pyrogen.inference import Fit
from pyrogen.inference.program.input_checks import guide_parts, is_auto
from pyrogen.story import Pair

_FEW = 3
"""Data whose posteriors are drawn by MCMC."""
_SHOWN = 10
"""Data, or latents, in a list."""
_LARGER = {"hidden": "[1000,1000]", "channels": "[64,128]", "width": "128", "components": "40"}
"""Settings of a larger model; the first that a story has."""


@dataclass(frozen=True)
class Remedies:
    """Remedies of what is diagnosed.

    Args:
        e: what is diagnosed.
    """

    e: Examination

    @property
    def weight_draws(self) -> Remedy:
        """Correct the guide's draws by importance weights."""
        text = "correct means and standard deviations by importance weights, where their k-hat is low"
        if self.e.kind == "shared":
            line = "from pyrogen.diagnostics import shared_moments; shared_moments(run, data).corrected"
        else:
            line = "from pyrogen.diagnostics import corrected_expectations; corrected_expectations(run, data)"
        return Remedy(text, line)

    @property
    def flexible_guide(self) -> Remedy:
        """Train with a guide of a larger family."""
        text, story = "train with a more flexible guide", self.e.story
        if any(isinstance(part, AutoMultivariateNormal) for part in guide_parts(story)):
            return self.compare_with_mcmc
        if self.e.kind == "shared" or is_auto(story):
            guides = "from pyro.infer.autoguide import AutoMultivariateNormal"
            fit = "run = pyrogen.fit((model, AutoMultivariateNormal(model)), training, steps=5000)"
            return Remedy(text, f"{guides}; {_model(self.e)}; {fit}")
        if story.arguments.get("guide") == "meanfield":
            return Remedy(text, _with(self.e, "guide", '"full"'), ("--set guide=full",))
        if "posterior" in story.arguments and len(getattr(story, "latent_shape", ())) == 1:
            line = _with(self.e, "posterior", "FlowPosterior(*story.latent_shape)", "encoder")
            options = ("--set posterior=flow", "--set posterior=full")
            return Remedy(text, f"from pyrogen.distributions import FlowPosterior; {line}", options)
        return Remedy("see how far the best member of the guide's family is from the posterior", _gaps(self.e))

    @property
    def train_longer(self) -> Remedy:
        """Train for as many epochs again."""
        epochs = _epochs(self.e)
        return Remedy(
            "train longer",
            f"run = pyrogen.fit(story, training, epochs={epochs})",
            (f"--epochs {2 * epochs} --resume",),
        )

    @property
    def larger_model(self) -> Remedy:
        """Train a larger model."""
        for name, value in _LARGER.items():
            if name in self.e.story.arguments and type(self.e.story).__module__.startswith("pyrogen."):
                line = _with(self.e, name, value, "encoder", "decoder")
                return Remedy("train a larger model", line, tuple(f"--set {k}={v}" for k, v in _LARGER.items()))
        return Remedy(*_drawn(self.e))

    @property
    def compare_with_mcmc(self) -> Remedy:
        """Draw from the posterior by MCMC."""
        if self.e.kind == "shared":
            return Remedy("compare with MCMC", _mcmc("data"))
        return Remedy(f"compare with MCMC on {_FEW} data", _mcmc(_rows(self.e.data, _FEW)))

    @property
    def more_draws(self) -> Remedy:
        """Diagnose with more draws."""
        line = 'from pyrogen.diagnostics import diagnose; print(diagnose(run, data, budget="thorough"))'
        return Remedy("use more draws", line, command=("diagnose", "RUN", "--budget", "thorough"))

    @property
    def count_draws(self) -> Remedy:
        """Estimate the likelihood with more draws."""
        draws = 10 * self.e.budget.draws
        line = f"from pyrogen.inference import log_likelihood; print(log_likelihood(run, data, {draws}).value.mean())"
        return Remedy(f"estimate it with {draws:,} draws", line, command=("evaluate", "RUN", "-k", str(draws)))

    @property
    def more_starts(self) -> Remedy:
        """Train from several starts and compare them."""
        names = "import copy; from pyrogen.diagnostics import diagnose; from pyrogen.inference import fit_restarts"
        build = "lambda: copy.deepcopy(story)"
        if isinstance(self.e.story, Pair) or is_auto(self.e.story):
            guides = "from pyro.infer.autoguide import AutoNormal"
            names = f"{guides}; {names.removeprefix('import copy; ')}; {_model(self.e)}"
            build = "lambda: (model, AutoNormal(model))"
        line = f"{names}; print(diagnose(fit_restarts({build}, training, 4), data))"
        return Remedy("train from four starts and compare them", line, ("--restarts 4",))

    def use_start(self, start: int) -> Remedy:
        """Diagnose another of several starts in place of the first.

        Args:
            start: its number, counted from 1.

        Returns:
            The remedy; its line takes `runs`, the fits that were compared.
        """
        line = f"from pyrogen.diagnostics import diagnose; run = runs[{start - 1}]; print(diagnose(run, data))"
        command = ("diagnose", f"RUN/restart_{start}")
        return Remedy(f"use start {start} in place of the first", line, command=command)

    @property
    def free_of_labels(self) -> Remedy:
        """Read what does not depend on the order of labels."""
        line = "from pyrogen.inference import posterior_predictive; posterior_predictive(run, data, 100)"
        return Remedy("read what does not depend on the labels, such as predictions", line)

    @property
    def warm_up(self) -> Remedy:
        """Let the KL term gain its weight during the first epochs."""
        fit = "run = pyrogen.fit(story, training, objective=TemperedELBO(warmup=10))"
        line = f"from pyrogen.inference import TemperedELBO; {fit}"
        return Remedy("if latents are wanted, train with a KL warm-up", line, ("--objective warmup=10",))

    @property
    def list_latents(self) -> Remedy:
        """List the latents by how much they depend on the datum."""
        line = "from pyrogen.inference import active_units; active_units(run, data).variance"
        return Remedy("the model does not need them, which is no fault of the guide; see which they are", line)

    @property
    def flexible_prior(self) -> Remedy:
        """Train with a more flexible prior."""
        if "prior" in self.e.story.arguments and hasattr(self.e.story, "latent_shape"):
            mixture = "from pyrogen.distributions import NormalMixture"
            line = f"{mixture}; {_with(self.e, 'prior', 'NormalMixture(story.latent_shape)')}"
            options = ("--set prior=mixture", "--set prior=vamp", "--set prior=flow")
            return Remedy("train with a more flexible prior", line, options)
        line = "from pyrogen.inference import posterior; posterior(run, data, 100)"
        return Remedy("look at the latents, and give the prior their shape", line)

    @property
    def see_samples(self) -> Remedy:
        """Draw samples and look at them."""
        return Remedy(*_drawn(self.e), command=("sample", "RUN", "-n", "64", "--out", "SAMPLES"))

    @property
    def stop_earlier(self) -> Remedy:
        """Stop training when held-out data no longer gain."""
        fit = _fit_anew(self.e, "type(story)(**story.arguments)", "validation=data, patience=10")
        return Remedy("stop when the ELBO of held-out data no longer rises", fit, ("--patience 10",))

    @property
    def list_influential(self) -> Remedy:
        """List the data that influence the posterior most."""
        listed = f"loo(run, data).pareto_k.values.argsort()[: -{_SHOWN + 1} : -1]"
        line = f"from pyrogen.diagnostics import loo; print({listed})"
        return Remedy(f"list the {_SHOWN} of them with the largest k-hat, and refit without each", line)

    @property
    def other_prior(self) -> Remedy:
        """See how far each latent depends on the prior, by the draws that were examined."""
        names = "from pyrogen.diagnostics.model_checks.sensitivity import sensitivity"
        line = f"{names}; print(sensitivity(run, data, {self.e.budget.shared_draws}, seed={self.e.seed}).prior)"
        return Remedy("give the reasons for the prior, and see which latents another one would change", line)

    @property
    def see_prior(self) -> Remedy:
        """Look at data drawn from the prior."""
        line = "from pyrogen.inference import prior_predictive; prior_predictive(story, data, 100)"
        return Remedy("look at data drawn from the prior, and give it the scale of the data", line)

    @property
    def guide_with_a_variance(self) -> Remedy:
        """Train with a guide that is no point."""
        names = "from pyro.infer.autoguide import AutoNormal"
        fit = "run = pyrogen.fit((model, AutoNormal(model)), training, steps=5000)"
        return Remedy(
            "for posterior uncertainty train with a guide that has a variance", f"{names}; {_model(self.e)}; {fit}"
        )


def _mcmc(data: str) -> str:
    names = (
        "from pyrogen.diagnostics import against_reference, sample_reference; from pyrogen.inference import posterior"
    )
    return f"{names}; few = {data}; against_reference(posterior(run, few, 1000), sample_reference(run, few))"


def _drawn(e: Examination) -> tuple[str, str]:
    if e.kind in ("shared", "local", "exact") and (e.kind == "shared" or e.fixed_rows):
        name = "posterior_predictive" if e.kind == "shared" else "prior_predictive"
        line = f"from pyrogen.inference import {name}; {name}(run, data, 100)"
        return "look at data that the model replicates, and let it have what they lack", line
    line = "from pyrogen.diagnostics import draw_samples; draw_samples(run, data, 64)"
    return "look at its samples, and let the model have what they lack", line


def _model(e: Examination) -> str:
    """An assignment of the model's function."""
    return f"model = story.{'bare_programs()[0]' if isinstance(e.story, Pair) else 'model'}"


def _fit_anew(e: Examination, story: str, further: str = "") -> str:
    """Training as many epochs as were taken, of a new story."""
    story = "story" if isinstance(e.story, Pair) else story
    return f"run = pyrogen.fit({', '.join(filter(None, (story, 'training', f'epochs={_epochs(e)}', further)))})"


def _with(e: Examination, name: str, value: str, *networks: str) -> str:
    """Training of a new story with another argument, and with networks that fit it."""
    fitting = "".join(f', "{network}": None' for network in networks if network in e.story.arguments)
    return f'arguments = {{**story.arguments, "{name}": {value}{fitting}}}; {_fit_anew(e, "type(story)(**arguments)")}'


def _gaps(e: Examination) -> str:
    return (
        "from pyrogen.diagnostics import inference_gaps; print(inference_gaps(run, data, rows=20).approximation.mean())"
    )


def _epochs(e: Examination) -> int:
    """Number of epochs that were taken, 20 where there is no history."""
    return len(e.fitted.history) or 20 if isinstance(e.fitted, Fit) else 20


def _rows(data: Any, count: int) -> str:
    """The first rows of the data, as an expression."""
    if isinstance(data, Tensor) or hasattr(data, "__array__"):
        return f"data[:{count}]"
    if isinstance(data, Mapping):
        return f"{{name: column[:{count}] for name, column in data.items()}}"
    return f"[column[:{count}] for column in data]" if isinstance(data, tuple | list) else "data"
