"""Settings of every story: what `pyrogen list` says that they take is accepted, and all else refused."""

from __future__ import annotations

import random
import re
from typing import NamedTuple

from fuzz.case import Case, accepted, refused
from fuzz.lines import misspelt
from fuzz.world import World, options
from pyrogen.cli.app import LISTING

SMALL: dict[str, tuple[str, tuple[str, ...]]] = {
    "gaussian": ("points", ("covariance=diagonal", "floor=0.01")),
    "pca": ("points", ("latent=3",)),
    "ppca": ("points", ("latent=1", "guide=meanfield", "--steps=1")),
    "bayesian_ppca": ("points", ("latent=2", "--steps=1")),
    "factor_analysis": ("points", ("latent=2", "floor=0.01", "--steps=1")),
    "kde": ("points", ("bandwidth=0.5",)),
    "kmeans": ("points", ("clusters=4",)),
    "mixture": ("points", ("components=2", "covariance=spherical", "--steps=1")),
    "autoencoder": ("images", ("latent=2", "hidden=[8,8]", "masking=0.2", "--steps=1")),
    "vae": ("images", ("latent=3", "hidden=[]", "posterior=full", "prior=mixture", "components=2", "--steps=1")),
    "hierarchical_vae": ("images", ("latents=[3,2]", "hidden=8", "guide=bottom-up", "--steps=1")),
    "vq_vae": ("images", ("codes=3", "features=2", "hidden=[8]", "prior=uniform", "commitment=0", "--steps=1")),
    "flow": (
        "points",
        ("kind=coupling", "elementwise=affine", "steps=2", "hidden=[8]", "--batch-size=8", "--epochs=1"),
    ),
    "diffusion": ("points", ("num_timesteps=5", "hidden=[8]", "schedule=cosine", "likelihood=gaussian", "--steps=1")),
    "made": ("labelled_images", ("hidden=[16]", "conditional=true", "--steps=1")),
    "pixelcnn": ("images", ("width=4", "blocks=1", "kernel=3", "--steps=1")),
    "gated_pixelcnn": ("images", ("width=4", "blocks=1", "--steps=1")),
    "pixelrnn": ("images", ("width=4", "layers=1", "kind=diagonal", "--steps=1")),
    "image_transformer": ("images", ("width=8", "heads=2", "layers=1", "--steps=1")),
    "tile_transformer": ("images", ("codes=3", "features=2", "hidden=[8]", "width=8", "layers=1", "--steps=1")),
    "language_model": ("words", ("network=recurrent", "width=8", "layers=1", "--steps=1")),
    "sequence_vae": ("words", ("latent=2", "width=8", "noise=false", "--steps=1")),
    "conditional_vae": ("labelled_images", ("latent=2", "hidden=8", "--steps=1")),
    "classifier": ("labelled_images", ("hidden=[]", "--steps=1")),
    "gan": ("points", ("latent=2", "network=dense", "hidden=[8]", "--steps=1")),
    "conditional_gan": ("labelled", ("latent=2", "hidden=[8]", "spectral=true", "--steps=1")),
    "vae_gan": ("points", ("latent=2", "hidden=[8]", "weight=3.5", "--steps=1")),
}
"""A small right line for each story: its data, settings and options."""
_ALWAYS_WRONG = ['{"a":1}', '[["a"]]', "[null]", "9" * 400, "\x1b[31m", "[" * 2000, "no such word"]


class Listed(NamedTuple):
    """A setting as `pyrogen list` describes it."""

    name: str
    takes: str
    condition: str


def listed() -> dict[str, list[Listed]]:
    """The settings of each story, read from `pyrogen list`."""
    stories: dict[str, list[Listed]] = {}
    for line in LISTING.read_text(encoding="utf-8").partition("\ndata,")[0].splitlines()[1:]:
        if found := re.fullmatch(r"  (\w+)  +.*", line):
            settings = stories[found[1]] = []
        elif found := re.fullmatch(r"    --set (\w+)=\S+ +(.*?)(?:; with (.*))?", line):
            settings.append(Listed(found[1], found[2], found[3] or ""))
    return stories


def wrong(takes: str, rng: random.Random) -> str:
    """A value that a setting does not take, by the words for what it takes."""
    values = list(_ALWAYS_WRONG)
    if "true or false" not in takes:
        values += ["true", "false"]
    if "null" not in takes:
        values += ["null"]
    if "number" not in takes:
        values += ["0", "-1", "1.5"]
    elif "list of" not in takes:
        values += ["[1]", "[]"]
    if "number" in takes:
        values += ["NaN", "Infinity", "-Infinity", "-1000", "1e300"]
    if "a number" not in takes:
        values += ["1.5", "0.001"]
    if "list of 1" in takes:
        values += ["[]", "[0]", "[-1]", "[1.5]", "[" + "1," * 64 + "1]"]
    return rng.choice(values)


def settings(world: World, rng: random.Random) -> Case:
    """A line of `train` for any story, right, or with a setting that is wrong, unknown, or given twice."""
    story = rng.choice(list(SMALL))
    data, given = SMALL[story]
    out = world.fresh()
    line = ["train", story, "--data", str(world.data[data]), "--out", str(out), *options(given)]
    kind, known = rng.random(), listed()[story]
    if kind < 0.12:
        return Case(f"{story}: right", line, accepted(), ())
    if kind < 0.22:
        name = misspelt(rng, rng.choice([s.name for s in known if len(s.name) > 4] or ["latent"])) + "q"
        return Case("unknown setting", [*line, "--set", f"{name}=1"], refused(name, status=2), (out,))
    if kind < 0.3:
        text = rng.choice(["latent", "=3", "", " ", "=", "  =1"])
        return Case("no key=value", [*line, "--set", text], refused("--set", "key=value", status=2), (out,))
    setting = rng.choice(known)
    others = [part for part in given if not part.startswith(f"{setting.name}=")]
    line = [*line[:6], *options(tuple(others))]
    if kind < 0.36:
        twice = ["--set", f"{setting.name}=1", "--set", f"{setting.name}=2"]
        return Case("setting twice", [*line, *twice], refused(setting.name, "twice", status=2), (out,))
    value = wrong(setting.takes, rng)
    return Case(
        f"{story}: {setting.name}", [*line, "--set", f"{setting.name}={value}"], refused(setting.name, status=2), (out,)
    )
