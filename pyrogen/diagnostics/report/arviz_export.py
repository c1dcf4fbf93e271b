"""Export to ArviZ: an `xarray.DataTree` in the groups of its schema."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from pyrogen.annotations import Count, Seed
from pyrogen.diagnostics.core.datatree import GROUPS, build_datatree
from pyrogen.diagnostics.core.posterior_draws import collect_draws
from pyrogen.diagnostics.guide.importance import summarize_log_weights
from pyrogen.diagnostics.model_checks.resampling import resample_draws
from pyrogen.inference import evaluation_context
from pyrogen.inference.persistence.config import describe_story, versions
from pyrogen.inference.training.result import Fit
from pyrogen.messages import did_you_mean
from pyrogen.story import Story

if TYPE_CHECKING:
    import xarray


def to_datatree(
    fitted: Any,
    data: Any,
    num_samples: Count = 100,
    *,
    seed: Seed = 0,
    groups: Iterable[str] | None = None,
    coords: Mapping[str, Any] | None = None,
    dims: Mapping[str, Iterable[str]] | None = None,
    resample: bool = False,
) -> xarray.DataTree:
    """Draws and log densities of a trained story on data, in the groups of ArviZ's schema.

    One draw of the latents from the guide is the same draw in `posterior`, `posterior_predictive`, `log_likelihood`,
    `sample_stats` and `importance`. Dimensions are (chain, draw), then plates by name, then the event's: `z_dim_0`, ...
    Several fits of one program (restarts) are as many chains: `arviz_stats.rhat` then shows whether they agree.

    - `posterior`: latents from the guide, and `pyro.deterministic` sites. `prior`: the same from the model.
    - `posterior_predictive`, `prior_predictive`: new draws of the observed sites.
    - `log_likelihood`: log p(x_i given the latents of the draw), (chain, draw, data), by observed site.
    - `log_prior`: log p(z) by latent site, which `arviz_stats.psense_summary` takes.
    - `importance`: `log_p`, `log_q`, `log_weight` of each datum, where every latent sits in the data plate;
      `importance_summary`: `elbo`, `log_likelihood`, their Monte Carlo errors, `ess` and `khat` by datum (and chain,
      where there are several), as `ImportanceWeights` defines them.
      With latents that data share: `sample_stats`, with `lp` and `log_q` of each draw.
    - `observed_data`, without sites that observe a difference of the data to something drawn; `constant_data`: the
      columns that the story takes and does not observe.

    A group is omitted if the story has nothing for it, and one that needs the observed columns where these were left
    out, as at new covariates. Latents marked for enumeration are summed out.

    Args:
        fitted: a `Fit`; a story; or a pair of Pyro functions that stock SVI has trained in Pyro's parameter store. Or
            a list of them, one for each chain.
        data: columns as `fit` takes them, training data or other.
        num_samples: draws in a chain, 100 by default.
        seed: of the draws of the first chain, 0 by default; each further chain adds 1. The caller's random state is
            restored.
        groups: the groups wanted, of `GROUPS`; None (the default): all.
        coords: labels by dimension, such as {"data": school_names}; None (the default): numbers.
        resample: whether to draw among the guide's draws by their importance weights, so that `posterior` holds draws
            of the posterior, as `arviz_stats.loo`, `compare` and `psense_summary` assume them, and
            `sample_stats` no `log_q`; for latents that data share. False by default.
        dims: names of a site's event dimensions, such as {"z": ["theme"]}; None (the default): `z_dim_0`, ...

    Returns:
        An `xarray.DataTree` with a node for each group.

    Raises:
        ValueError: `resample` where no weights of all latents together exist, or where they are unreliable;
            unknown groups, coordinates that do not fit, `num_samples` below 1, an empty list, a program that
            chooses its own rows or whose sites change from draw to draw, fits of different programs, a pair that was
            not trained, or data that the story cannot take.

    Example:
        >>> import torch
        >>> from pyrogen.diagnostics import to_datatree
        >>> from pyrogen.models import PPCA
        >>> x = torch.randn(20, 4)
        >>> tree = to_datatree(PPCA(4, latent=2).maximum_likelihood(x), {"x": x}, num_samples=50)
        >>> dict(tree["posterior"]["z"].sizes)
        {'chain': 1, 'draw': 50, 'data': 20, 'z_dim_0': 2}

    References:
        Kumar, Carroll, Hartikainen, Martin 2019, "ArviZ, a unified library for exploratory analysis of Bayesian models
        in Python", JOSS 4(33), doi:10.21105/joss.01143.
    """
    wanted = _wanted(groups)
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}")
    asked = {*wanted, "importance"} if "importance_summary" in wanted else wanted
    chains = []
    for chain, run in enumerate(fitted if isinstance(fitted, list) else [fitted]):
        with evaluation_context(run, seed + chain) as context:
            story = context.story
            also = {*asked, "sample_stats"} if resample else asked
            chains.append(collect_draws(story, context.batch(data, True), also, num_samples, True))
            if resample:
                resample_draws(chains[-1], story.name, seed + chain)
    if not chains:
        raise ValueError("fitted: expected a story, a pair or a Fit, or a list of them, got an empty list")
    arrays = chains[0]
    arrays.stack_chains(chains[1:])
    if "importance" in arrays.groups:
        arrays.groups["importance_summary"] = summarize_log_weights(arrays.groups["importance"]["log_weight"])
    arrays.groups = {group: arrays.groups[group] for group in wanted if group in arrays.groups}
    attributes = _attributes(run, story, seed, num_samples, len(chains))
    attributes["draws_of"] = "posterior, by importance resampling" if resample else "guide"
    return build_datatree(arrays, attributes, coords or {}, dims or {})


def to_inference_data(tree: xarray.DataTree) -> Any:
    """The tree as an `arviz.InferenceData`, for the functions of arviz 0.23.

    Args:
        tree: what `to_datatree` returned.

    Returns:
        An `arviz.InferenceData` with the same groups.

    Raises:
        ValueError: arviz is 1.0 or newer, whose functions take the tree itself.
    """
    import arviz

    # The class is still there in 1.x, as a stub.
    if int(arviz.__version__.split(".")[0]) >= 1:
        raise ValueError(
            f"arviz {arviz.__version__} has no InferenceData: its functions take the DataTree itself, az.summary(tree)"
        )
    return arviz.InferenceData.from_datatree(tree)


def _wanted(groups: Iterable[str] | None) -> tuple[str, ...]:
    wanted = GROUPS if groups is None else (groups,) if isinstance(groups, str) else tuple(groups)
    for group in wanted:
        if group not in GROUPS:
            hint = did_you_mean(str(group), GROUPS)
            raise ValueError(f"groups: there is no group '{group}'{hint} (have: {', '.join(GROUPS)})")
    return tuple(group for group in GROUPS if group in wanted)


def _attributes(fitted: Any, story: Story, seed: int, num_samples: int, chains: int) -> dict[str, Any]:
    """Metadata of the tree; text and numbers only, as netCDF requires."""
    installed, described = versions(), describe_story(story)
    attributes: dict[str, Any] = {
        "inference_library": "pyrogen",
        "inference_library_version": installed["pyrogen"],
        "versions": json.dumps(installed),
        "story": described["class"],
        "story_arguments": json.dumps(described["arguments"]),
        "guide": _guide_name(story),
        "seed": seed,
        "num_samples": num_samples,
        "num_chains": chains,
    }
    if isinstance(fitted, Fit):
        attributes["protocol"] = json.dumps(fitted.config.get("data", {}).get("protocol"))
    return attributes


def _guide_name(story: Story) -> str:
    """The class of an AutoGuide, else the name of the function."""
    if "guide" in story.unsupported:
        return "none"
    guide = story.guide.args[0] if isinstance(story.guide, functools.partial) else story.guide
    kind = type(guide).__name__
    return kind if isinstance(guide, nn.Module) else getattr(guide, "__qualname__", kind)
