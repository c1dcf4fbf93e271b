"""Samples at the same latents, epoch by epoch, in one picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyrogen.annotations import Count, Seed
from pyrogen.inference import Fit
from pyrogen.inference.prediction.latent_points import mean_of
from pyrogen.inference.program.rng import seeded
from pyrogen.plots.images import GAP, Picture, image_grid, save_picture


class SampleStrip:
    """A callback of `fit` that adds a row of sampled images to a picture after each epoch, at the same latents.

    For any story that samples images, conditional or not. Images are means of p(x | z) where they are known, otherwise
    draws. A resumed run extends the picture of the run that it resumes.

    Args:
        path: of the picture, such as `strip.png`.
        n: images in a row, 10 by default.
        every: epochs between rows, 1 by default.
        given: columns that the model conditions on, such as `{"y": torch.arange(10)}`, with n rows; None by default.
        seed: of the latents, 0 by default.

    Example:
        >>> import tempfile
        >>> from pyrogen import fit
        >>> from pyrogen.models import VAE
        >>> path = Path(tempfile.mkdtemp()) / "strip.png"
        >>> x = torch.rand(64, 1, 8, 8).round()
        >>> run = fit(VAE((1, 8, 8), latent=2), x, epochs=2, callbacks=[SampleStrip(path)], progress=False)
        >>> path.exists()
        True
    """

    def __init__(
        self,
        path: str | Path,
        n: int = 10,
        *,
        every: Count = 1,
        given: Mapping[str, Tensor] | None = None,
        seed: Seed = 0,
    ) -> None:
        self.path, self.n, self.every, self.given, self.seed = Path(path), n, every, dict(given or {}), seed
        self.picture: Picture | None = None

    def __call__(self, fit: Fit, record: Mapping[str, Any]) -> None:
        """Draw the row of an epoch, and write the picture.

        Args:
            fit: the run.
            record: of the epoch, with its number under `epoch`.
        """
        if record["epoch"] % self.every:
            return
        story = fit.story
        sites = story.training_spec.sites if story.training_spec is not None else ()
        with seeded(self.seed), _Means(sites):
            drawn = story.sample(self.n, **{name: column.to(story.device) for name, column in self.given.items()})
        row = image_grid(drawn["x"] if isinstance(drawn, Mapping) else drawn, columns=self.n)
        above = self._rows_before(row, record["epoch"] // self.every - 1)
        self.picture = np.concatenate([above, row[GAP:]]) if above is not None else row
        save_picture(self.path, self.picture)

    def _rows_before(self, row: Picture, rows: int) -> Picture | None:
        """The first `rows` rows of the picture, from memory or from its file; None if there are none of this width."""
        from matplotlib.image import imread

        if self.picture is None and rows and self.path.exists():
            self.picture = imread(self.path)[..., :3]
        if self.picture is None or not rows or self.picture.shape[1] != row.shape[1]:
            return None
        return self.picture[: GAP + rows * (len(row) - GAP)]


class _Means(Messenger):
    """Replaces draws at the observed sites by the mean, where the distribution has one."""

    def __init__(self, sites: tuple[str, ...]) -> None:
        super().__init__()
        self.sites = sites

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] in self.sites and not msg["is_observed"]:
            try:
                msg["value"] = mean_of(msg["fn"])
            except NotImplementedError:
                return
