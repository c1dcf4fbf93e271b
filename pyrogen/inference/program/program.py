"""A story with its arguments bound: model and guide as functions of a batch, which every objective receives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyrogen.inference.program.rng import kept_random_state
from pyrogen.story import Batch, Spec, Store, Story, TrainingSpec, data_plate, latent_sites, observed_sites

__all__ = [
    "Program",
    "Recorder",
    "Recording",
    "divisor_for",
    "isolated_run",
    "kept_buffers",
    "live_weights",
    "shape_lazy_parameters",
]


class Program:
    """Model and guide of a story, as functions of one `Batch`.

    Args:
        story: the story.
        arguments: further arguments by name: constants, or callables of the step.
    """

    def __init__(self, story: Story, arguments: Mapping[str, Any] | None = None) -> None:
        self.story = story
        self.arguments = dict(arguments or {})
        self.signatures = story.signatures()
        self._model, self._guide = story.model, story.guide

    def model(self, batch: Batch) -> Any:
        """Run the story's model on the columns it asks for."""
        args, kwargs = self.signatures[0].bind(batch)
        return self._model(*args, **kwargs)

    def guide(self, batch: Batch) -> Any:
        """Run the story's guide on the columns it asks for."""
        args, kwargs = self.signatures[1].bind(batch)
        return self._guide(*args, **kwargs)

    def wants(self, key: str | int) -> bool:
        """Whether model or guide can receive the column."""
        return any(signature.wants(key) for signature in self.signatures)

    def named(self, columns: Mapping[str | int, Any]) -> dict[str, Any]:
        """Columns by name; those that came without one are called as the model calls them."""
        names = self.signatures[0].columns
        return {names[k] if isinstance(k, int) and k < len(names) else str(k): c for k, c in columns.items()}

    def at_step(self, batch: Batch, step: int) -> Batch:
        """The batch with the further arguments as they are at this step."""
        if not self.arguments:
            return batch
        extra = {name: value(step) if callable(value) else value for name, value in self.arguments.items()}
        return replace(batch, extra=extra)


class Recorder(Messenger):
    """Notes the sites and parameters that the last run of a function met."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = 0
        self.sites: dict[str, Any] = {}
        self.scales: dict[str, Any] = {}
        self.parameters: dict[int, str] = {}

    def around(self, function: Callable[[Batch], Any]) -> Callable[[Batch], Any]:
        """The function, noted down."""

        def run(batch: Batch) -> Any:
            self.rows = batch.n
            self.sites.clear()
            with self:
                return function(batch)

        return run

    def _pyro_sample(self, msg: Any) -> None:
        # The program's own scale: what an objective puts around the program comes later.
        self.scales[msg["name"]] = msg["scale"]

    def _pyro_post_sample(self, msg: Any) -> None:
        self.sites[msg["name"]] = msg.copy()

    def _pyro_post_param(self, msg: Any) -> None:
        value = msg["value"]
        value = getattr(value, "_pyro_unconstrained_param", value)
        unconstrained = value.unconstrained() if hasattr(value, "unconstrained") else value
        self.parameters[id(unconstrained)] = msg["name"]


@dataclass
class Recording:
    """What one run of guide and model met.

    Args:
        batch: what they ran on.
        model: sites and parameters of the model.
        guide: those of the guide.
    """

    batch: Batch
    model: Recorder = field(default_factory=Recorder)
    guide: Recorder = field(default_factory=Recorder)

    @property
    def plate(self) -> Any:
        """The data plate's frame, or None."""
        return data_plate(self.model.sites.values(), self.model.rows)

    @property
    def divisor(self) -> float:
        """By what a loss on this batch is divided to be per datum."""
        plate = self.plate
        return float(self.batch.n if plate is None else plate.full_size or plate.size)

    @property
    def nesting(self) -> int:
        """How deep vectorized plates are nested, counted in dimensions."""
        sites = [*self.model.sites.values(), *self.guide.sites.values()]
        frames = [f for s in sites if s["type"] == "sample" for f in s["cond_indep_stack"]]
        return max((-f.dim for f in frames if f.dim is not None), default=0)

    def run(self, program: Program) -> Recording:
        """Run guide and model once, for what can be noted alone."""
        trace = poutine.trace(self.guide.around(program.guide)).get_trace(self.batch)
        poutine.replay(self.model.around(program.model), trace=trace)(self.batch)
        return self

    def training_spec(self) -> TrainingSpec:
        """What there is to remember of the data, once the run is over."""
        batch, plate = self.batch, self.plate
        specs = {k: Spec(tuple(c.shape[1:]), c.dtype) for k, c in batch.columns.items() if isinstance(c, Tensor)}
        sites = tuple(observed_sites(self.model.sites.values()))
        return TrainingSpec(specs, batch.n, batch.total, plate.name if plate is not None else None, sites, batch.extra)

    def latents(self) -> dict[str, Any]:
        """The model's latent sites."""
        return latent_sites(self.model.sites.values())


@contextmanager
def isolated_run(story: Story, keep: bool = False) -> Iterator[None]:
    """A run that leaves no trace: random state and buffers kept, validation off, parameters made forgotten.

    Args:
        story: the story that runs.
        keep: keep the parameters that are made; that is a set-up call.
    """
    with ExitStack() as stack:
        stack.enter_context(kept_buffers(story.all_modules()))
        stack.enter_context(story.param_store_scope())
        if not keep:
            store = Store.current()
            stack.enter_context(store.select(store.params).swapped_in())
        stack.enter_context(kept_random_state())
        stack.enter_context(torch.no_grad())
        stack.enter_context(pyro.validation_enabled(False))
        yield


@contextmanager
def kept_buffers(modules: Iterable[torch.nn.Module]) -> Iterator[None]:
    """On leaving, every buffer of the modules is the tensor that it was, and holds what it held."""
    held = [(m, name, b, b.clone()) for m in modules for name, b in m.named_buffers(recurse=False)]
    try:
        yield
    finally:
        for module, name, buffer, value in held:
            module._buffers[name] = buffer
            if not torch.nn.parameter.is_lazy(buffer):
                buffer.data.copy_(value)


def live_weights(story: Story) -> dict[str, Tensor]:
    """Parameters and buffers of a story, live: what is trained, and what a run folder keeps."""
    return {name: t.detach() for name, t in {**story.trainable(), **story.saved_buffers()}.items()}


def divisor_for(program: Program, batch: Batch) -> float:
    """By what a loss on a batch of this size is divided to be per datum; runs the model once, unnoticed."""
    recording = Recording(batch)
    with isolated_run(program.story):
        recording.model.around(program.model)(batch)
    return recording.divisor


def shape_lazy_parameters(program: Program, first: Callable[[], Batch]) -> None:
    """Let lazy parameters take their shapes, and draw their values, by one run of guide and model, if there are any."""
    story = program.story
    tensors = [t for module in story.all_modules() for t in (*module.parameters(False), *module.buffers(False))]
    if any(torch.nn.parameter.is_lazy(tensor) for tensor in tensors):
        with story.param_store_scope(), story.initialize_lazy(), torch.no_grad(), pyro.validation_enabled(False):
            Recording(program.at_step(first(), 0)).run(program)
