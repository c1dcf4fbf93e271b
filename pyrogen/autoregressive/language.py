"""Language models: texts, symbol by symbol."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import pyro
import torch
from torch import Tensor

from pyrogen.autoregressive.model import NUMBERS, UNSUPPORTED
from pyrogen.distributions import AutoregressiveDistribution, Categorical
from pyrogen.nn import CausalNetwork, CausalRecurrent, CausalTransformer, elements, without_padding
from pyrogen.story import Story, check_event, check_length

__all__ = ["LanguageModel"]


class LanguageModel(Story):
    """p(x | length) = prod_t p(x_t | x_1, ..., x_{t-1}), the symbols of a text, int64, in turn.

    Texts may end before the last place: a column `length` (n,), int64, then says after how many symbols, and what
    stands behind is padding, which scores nothing. How long a text is, is no part of the story.

    Args:
        places: symbols of a text, at most.
        symbols: how many there are.
        network: "transformer", masked, or "recurrent".
        width: of its states.
        layers: of its states.

    Raises:
        ValueError: an unknown network; by `check`, x has another event shape or is of no symbols, or a length is none.

    Example:
        >>> story = LanguageModel(places=6, symbols=3, width=8, layers=1)
        >>> x = story.sample(5)
        >>> story.log_prob(x, torch.tensor([6, 5, 4, 3, 2])).shape, story.complete(x[:, :2]).shape
        (torch.Size([5]), torch.Size([5, 6]))

    References:
        Bengio, Ducharme, Vincent, Jauvin 2003, "A neural probabilistic language model", JMLR 3; Mikolov et al. 2010,
        "Recurrent neural network based language model", Interspeech; Radford et al. 2018, "Improving language
        understanding by generative pre-training".
    """

    unsupported = UNSUPPORTED

    def __init__(
        self,
        places: int,
        symbols: int,
        *,
        network: Literal["transformer", "recurrent"] = "transformer",
        width: int = 64,
        layers: int = 2,
    ) -> None:
        super().__init__()
        self.event_shape, self.likelihood = (places,), Categorical(symbols)
        told: Any = {"symbols": symbols, "outputs": symbols, "width": width, "layers": layers}
        if network not in ("transformer", "recurrent"):
            raise ValueError(f"network is one of transformer, recurrent, got {network!r}")
        self.network: CausalNetwork = (
            CausalTransformer(places, **told) if network == "transformer" else CausalRecurrent(**told)
        )

    def model(self, x: Tensor | None, n: int, length: Tensor | None = None) -> Tensor:
        """p(x | length)."""
        with pyro.plate("data", n, dim=-1):
            return pyro.sample("x", self.density(length), obs=None if x is None else without_padding(x, length))

    def guide(self, x: Tensor, n: int, length: Tensor | None = None) -> None:
        """Empty: there are no latents."""

    def density(self, length: Tensor | None = None) -> AutoregressiveDistribution:
        """p(x | length); None: all places."""
        return AutoregressiveDistribution(self.network, self.likelihood, self.event_shape, length=length)

    def sample(self, n: int, **given: Any) -> Any:
        """Draw `n` new texts of the lengths `length`: one for each, or one for all; left out, of all places."""
        if given.get("length") is not None:
            check_length(self.name, {"length": torch.as_tensor(given["length"]).reshape(-1)}, self.event_shape[0])
        return super().sample(n, **given)

    def log_prob(self, x: Tensor, length: Tensor | None = None) -> Tensor:
        """log p(x | length), exactly, (n,) in nats, for `x` (n, places) and `length` (n,)."""
        rows = max(1, NUMBERS // math.prod(self.event_shape))
        lengths = [None] * math.ceil(len(x) / rows) if length is None else length.split(rows)
        parts = zip(x.split(rows), lengths, strict=True)
        return torch.cat([self.density(each).log_prob(part) for part, each in parts])

    def bits_per_symbol(self, x: Tensor, length: Tensor | None = None) -> float:
        """-log2 p(x | length) for each symbol, over all texts `x` (n, places) of `length` (n,)."""
        with self.predicting():
            length = length if length is None else length.to(self.device)
            nats = -float(self.log_prob(x.to(self.device), length).double().sum())
            return nats / math.log(2) / (x.numel() if length is None else int(length.sum()))

    def complete(self, x: Tensor, length: Tensor | None = None) -> Tensor:
        """Draw the rest of texts of which the first symbols are given.

        Args:
            x: (n, symbols given), int64.
            length: (n,), of the whole texts; None: all places.

        Returns:
            (n, places), which begin with `x`.

        Raises:
            ValueError: more symbols than places, or none of the symbols.
        """
        if x.dim() != 2 or x.shape[1] > self.event_shape[0]:
            raise ValueError(f"{self.name} completes x of shape (n, up to {self.event_shape[0]}), got {tuple(x.shape)}")
        self.likelihood.check(x)
        with self.predicting():
            length = torch.full((len(x),), self.event_shape[0]) if length is None else length
            return self.density(length.to(self.device)).sample(prefix=x.to(self.device))

    def beginning(self, x: Tensor, part: float = 0.5) -> Tensor:
        """The first part of texts `x` (n, places), for `complete`."""
        return x[:, : max(1, round(part * self.event_shape[0]))]

    def check(self, data: Mapping[str, Tensor]) -> None:
        """Refuse an x of another event shape or of no symbols, and lengths that are none."""
        check_event(self.name, "event_shape", data, self.event_shape)
        check_length(self.name, data, self.event_shape[0])
        self.likelihood.check(elements(data["x"], data.get("length")))
