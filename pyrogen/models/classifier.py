"""The discriminative story: labels given data, without a model of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from pyrogen.nn import Dense, Label, Shape, as_shape, flatten_batch
from pyrogen.story import Story, check_event


class Classifier(Story):
    """y | x ~ Categorical(softmax(f(x))), trained on log p(y | x), with no penalty on f.

    Unlike the generative stories it has no latents, and x is given and never drawn. The probabilities of the classes
    sum to 1 for every x, even for noise. Without hidden layers it is multinomial logistic regression.
    `sample(n, x=...)` draws labels.

    Args:
        event_shape: shape of one datum.
        classes: number of classes C.
        network: f, (batch, *event_shape) -> logits (batch, C); a dense network by default.
        hidden: widths of the dense network's hidden layers; (400,) by default, `()` for a linear one.

    Example:
        >>> story = Classifier((1, 8, 8), classes=10, hidden=())
        >>> story.probabilities(torch.rand(5, 1, 8, 8)).shape, story.sample(5, x=torch.rand(5, 1, 8, 8)).shape
        (torch.Size([5, 10]), torch.Size([5]))

    References:
        Cox 1958, JRSS B 20(2); Ng, Jordan 2001, "On discriminative vs. generative classifiers", NIPS 14.
    """

    unsupported = {"guide": "it has no latents"}

    def __init__(
        self, event_shape: Shape, classes: int, *, network: nn.Module | None = None, hidden: Sequence[int] = (400,)
    ) -> None:
        super().__init__()
        self.event_shape, self.label = as_shape(event_shape), Label(classes)
        self.network = Dense(self.event_shape, self.label.size, hidden) if network is None else network

    def model(self, x: Tensor | None, n: int, y: Tensor | None) -> Tensor:
        """p(y | x).

        Args:
            x: data, (n, *event_shape).
            n: number of rows.
            y: labels to observe, (n,) int64, or None to draw them.

        Returns:
            y, drawn or observed, (n,) int64.

        Raises:
            ValueError: x is None.
        """
        if x is None:
            raise ValueError("a classifier does not model x: pass the column 'x'")
        logits = flatten_batch(self.network, x, self.event_shape)
        with pyro.plate("data", n, dim=-1):
            return pyro.sample("y", dist.Categorical(logits=logits), obs=y)

    def guide(self, x: Tensor | None, n: int, y: Tensor | None) -> None:
        """Empty: there are no latents.

        Args:
            x: data, (n, *event_shape).
            n: number of rows.
            y: labels, (n,) int64.
        """

    def probabilities(self, x: Tensor) -> Tensor:
        """p(y | x) of each class.

        Args:
            x: data, (..., *event_shape).

        Returns:
            (..., C), non-negative, with sum 1.
        """
        return flatten_batch(self.network, x, self.event_shape).softmax(-1)

    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        """log p(y | x), exactly.

        Args:
            x: data, (..., *event_shape).
            y: labels, (...) int64.

        Returns:
            (...) in nats.
        """
        logits = flatten_batch(self.network, x, self.event_shape).log_softmax(-1)
        return logits.gather(-1, y[..., None])[..., 0]

    def check(self, data: Mapping[str, Tensor]) -> None:
        """Refuse an x of another event shape, and labels y outside 0 to C - 1.

        Args:
            data: the columns by name: `x`, (n, *event_shape), and `y`, (n,) int64.
        """
        check_event(self.name, "event_shape", data, self.event_shape, integer=False)
        self.label.check(self.name, data)
