"""Language models: texts, symbol by symbol."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import pyro
import torch
from torch import Tensor

from pyrogen.autoregressive.base import AutoregressiveStory
from pyrogen.distributions import AutoregressiveDistribution, Categorical
from pyrogen.nn import CausalRecurrent, CausalTransformer, elements, without_padding
from pyrogen.story import check_event, check_length


class LanguageModel(AutoregressiveStory):
    """p(x | length) = prod_t p(x_t | x_1, ..., x_{t-1}), the symbols of a text in their order. The guide is empty.

    Texts may be shorter than `max_length`: a column `length`, int64 (n,), gives the number of their symbols, and the
    padding behind has no effect on the density. The length of a text is not modelled.

    Args:
        max_length: maximal number of symbols in a text.
        symbols: number of different symbols.
        network: "transformer", the default, or "recurrent".
        width: size of the network's states, 64 by default.
        layers: number of layers, 2 by default.

    Raises:
        ValueError: `network` is unknown.

    Example:
        >>> story = LanguageModel(max_length=6, symbols=3, width=8, layers=1)
        >>> x = story.sample(5)
        >>> story.log_prob(x, torch.tensor([6, 5, 4, 3, 2])).shape, story.complete(x[:, :2]).shape
        (torch.Size([5]), torch.Size([5, 6]))

    References:
        Bengio, Ducharme, Vincent, Jauvin 2003, "A neural probabilistic language model", JMLR 3; Mikolov et al. 2010,
        "Recurrent neural network based language model", Interspeech; Radford et al. 2018, "Improving language
        understanding by generative pre-training".
    """

    def __init__(
        self,
        max_length: int,
        symbols: int,
        *,
        network: Literal["transformer", "recurrent"] = "transformer",
        width: int = 64,
        layers: int = 2,
    ) -> None:
        super().__init__()
        self.event_shape, self.likelihood = (max_length,), Categorical(symbols)
        if network not in ("transformer", "recurrent"):
            raise ValueError(f"network is one of transformer, recurrent, got {network!r}")
        options: Any = {"symbols": symbols, "outputs": symbols, "width": width, "layers": layers}
        transformer = network == "transformer"
        self.network = CausalTransformer(max_length, **options) if transformer else CausalRecurrent(**options)

    def model(self, x: Tensor | None, n: int, length: Tensor | None = None) -> Tensor:
        """p(x | length).

        Args:
            x: texts to observe, int64 (n, max_length), or None to draw them.
            n: number of rows.
            length: number of symbols, int64 (n,); None, the default: `max_length` for all.

        Returns:
            x, drawn or observed, with padding of 0, (n, max_length).
        """
        with pyro.plate("data", n, dim=-1):
            return pyro.sample("x", self.density(length), obs=None if x is None else without_padding(x, length))

    def guide(self, x: Tensor, n: int, length: Tensor | None = None) -> None:
        """Empty: there are no latents.

        Args:
            x: texts, int64 (n, max_length).
            n: number of rows.
            length: number of symbols, int64 (n,).
        """

    def density(self, length: Tensor | None = None) -> AutoregressiveDistribution:
        """p(x | length).

        Args:
            length: number of symbols, int64 (n,); None, the default: `max_length` for all.

        Returns:
            Batch shape (n,), or () without a length, event shape (max_length,).
        """
        return self._density(length=length)

    def sample(self, n: int, **given: Any) -> Any:
        """Draw new texts.

        Args:
            n: number of texts.
            **given: `length`, one for each text or one for all; without it texts have `max_length` symbols.

        Returns:
            Texts, int64 (n, max_length), with padding of 0.
        """
        if given.get("length") is not None:
            check_length(self.name, {"length": torch.as_tensor(given["length"]).reshape(-1)}, self.event_shape[0])
        return super().sample(n, **given)

    def log_prob(self, x: Tensor, length: Tensor | None = None) -> Tensor:
        """log p(x | length), exactly, of many rows in chunks.

        Args:
            x: texts, int64 (n, max_length).
            length: number of symbols, int64 (n,); None, the default: `max_length` for all.

        Returns:
            (n,) in nats.
        """
        return self._log_prob(x, length)

    def bits_per_symbol(self, x: Tensor, length: Tensor | None = None) -> float:
        """-log2 p(x | length) per symbol, over all texts.

        Args:
            x: texts, int64 (n, max_length).
            length: number of symbols, int64 (n,); None, the default: `max_length` for all.

        Returns:
            Bits per symbol.
        """
        with self.predicting():
            length = length if length is None else length.to(self.device)
            nats = -float(self.log_prob(x.to(self.device), length).double().sum())
            return nats / math.log(2) / (x.numel() if length is None else int(length.sum()))

    def complete(self, x: Tensor, length: Tensor | None = None) -> Tensor:
        """Draw the rest of texts whose first symbols are given; more than `length` are a ValueError.

        Args:
            x: first symbols, int64 (n, number of symbols).
            length: number of symbols of the whole texts, int64 (n,); None, the default: `max_length` for all.

        Returns:
            Texts, int64 (n, max_length), which begin with `x`, with padding of 0.

        Raises:
            ValueError: `x` has more symbols than `length` says, or than `max_length`.
        """
        self.likelihood.check(x)
        if length is None:
            return self._complete(x, torch.full((len(x),), self.event_shape[0]))
        check_length(self.name, {"length": length}, self.event_shape[0])
        if bool((x != without_padding(x, length)).any()):
            raise ValueError(
                f"{self.name} completes {x.shape[1]} symbols to texts of length {int(length.min())}; expected at "
                "most as many symbols as the length: raise the length, or shorten the beginning"
            )
        return without_padding(self._complete(x, length), length.to(self.device))

    def check(self, data: Mapping[str, Tensor]) -> None:
        """Refuse an x of another event shape or with other symbols, and lengths that are out of range.

        Args:
            data: the columns by name, among them `x`, (n, max_length).
        """
        check_event(self.name, "event_shape", data, self.event_shape, integer=True)
        check_length(self.name, data, self.event_shape[0])
        self.likelihood.check(elements(data["x"], data.get("length")))
