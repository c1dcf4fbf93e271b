"""Model and guide of a story as functions of a batch, which every objective receives, and records of their runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyrogen.messages import did_you_mean
from pyrogen.story import RESERVED, Batch, Spec, Story, TrainingSpec, data_plate, latent_sites, observed_sites


class Recorder(Messenger):
    """Records the sites and parameters of the latest run of a model or guide.

    Attributes:
        rows: rows of the batch that it ran on.
        sites: sample sites by name.
        scales: the program's own scale of each site, before any that an objective puts around the program.
        parameters: names of the parameters by the `id` of their unconstrained tensors.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows = 0
        self.sites: dict[str, Any] = {}
        self.scales: dict[str, Any] = {}
        self.parameters: dict[int, str] = {}

    def start(self, batch: Batch) -> Recorder:
        """Begin a new record.

        Args:
            batch: what the program is going to run on.

        Returns:
            This object, to be entered around the run.
        """
        self.rows = batch.n
        self.sites.clear()
        return self

    def _pyro_sample(self, msg: Any) -> None:
        self.scales[msg["name"]] = msg["scale"]

    def _pyro_post_sample(self, msg: Any) -> None:
        self.sites[msg["name"]] = msg.copy()

    def _pyro_post_param(self, msg: Any) -> None:
        value = msg["value"]
        value = getattr(value, "_pyro_unconstrained_param", value)
        unconstrained = value.unconstrained() if hasattr(value, "unconstrained") else value
        self.parameters[id(unconstrained)] = msg["name"]


class SiteRecorder(Recorder):
    """Records the sites of the latest run alone, without copying them: cheap enough for every step."""

    def _pyro_sample(self, msg: Any) -> None:
        pass

    def _pyro_post_sample(self, msg: Any) -> None:
        self.sites[msg["name"]] = msg

    def _pyro_post_param(self, msg: Any) -> None:
        pass


class Program:
    """Model and guide of a story, as functions of one `Batch`.

    Args:
        story: the story.
        arguments: further arguments by name: constants, or callables of the step; None, the default: none.

    Raises:
        ValueError: neither model nor guide takes one of the arguments, or a story's is called by a reserved name.
    """

    def __init__(self, story: Story, arguments: Mapping[str, Any] | None = None) -> None:
        self.story = story
        self.arguments = dict(arguments or {})
        self.signatures = story.signatures()
        self._model, self._guide = story.bare_programs()
        self._recording: Recording | None = None
        self._check_arguments()

    @property
    def foreign(self) -> bool:
        """Whether model and guide are plain Pyro functions, to which reserved names may mean something else."""
        return self.signatures[0].foreign

    @property
    def functions(self) -> tuple[Any, Any]:
        """The story's model and guide themselves."""
        return self._model, self._guide

    def _check_arguments(self) -> None:
        known = list(dict.fromkeys(p.name for signature in self.signatures for p in signature.parameters))
        for name in self.arguments:
            if name in RESERVED and not self.foreign:
                raise ValueError(f"arguments may not be called '{name}': n, total and index are given by fit")
            if name not in known and not any(signature.variadic for signature in self.signatures):
                hint = did_you_mean(name, known)
                raise ValueError(
                    f"arguments: {self.story.name} takes no argument '{name}'{hint} (it takes: {', '.join(known)})"
                )

    def model(self, batch: Batch) -> Any:
        """Run the story's model on the columns that it asks for.

        Args:
            batch: the rows.

        Returns:
            What the model returns.
        """
        args, kwargs = self.signatures[0].bind(batch)
        recorder = nullcontext() if self._recording is None else self._recording.model.start(batch)
        with recorder, self.story.program_scope():
            return self._model(*args, **kwargs)

    def guide(self, batch: Batch) -> Any:
        """Run the story's guide on the columns that it asks for.

        Args:
            batch: the rows.

        Returns:
            What the guide returns.
        """
        args, kwargs = self.signatures[1].bind(batch)
        recorder = nullcontext() if self._recording is None else self._recording.guide.start(batch)
        with recorder, self.story.program_scope():
            return self._guide(*args, **kwargs)

    @contextmanager
    def recorded(self, recording: Recording) -> Iterator[Recording]:
        """Record every run of model and guide.

        Args:
            recording: where to.

        Yields:
            The recording.
        """
        outer, self._recording = self._recording, recording
        try:
            yield recording
        finally:
            self._recording = outer

    def wants(self, key: str | int) -> bool:
        """Whether model or guide can receive a column.

        Args:
            key: its name, or its position where it has none.

        Returns:
            True if one of them can.
        """
        return any(signature.accepts(key) for signature in self.signatures)

    def named(self, columns: Mapping[str | int, Any]) -> dict[str, Any]:
        """Columns by name; those without one get the names of the model's parameters, in order.

        Args:
            columns: by name or position.

        Returns:
            The columns by name.
        """
        names = self.signatures[0].positions
        return {names[k] if isinstance(k, int) and k < len(names) else str(k): c for k, c in columns.items()}

    def at_step(self, batch: Batch, step: int) -> Batch:
        """The batch with the further arguments as they are at a step.

        Args:
            batch: the rows.
            step: number of steps taken before.

        Returns:
            The batch.
        """
        if not self.arguments:
            return batch
        extra = {name: value(step) if callable(value) else value for name, value in self.arguments.items()}
        return replace(batch, extra=extra)


@dataclass
class Recording:
    """Sites and parameters of one run of guide and model.

    Args:
        batch: what they run on.
        model: record of the model.
        guide: record of the guide.
    """

    batch: Batch
    model: Recorder = field(default_factory=Recorder)
    guide: Recorder = field(default_factory=Recorder)

    def run(self, program: Program) -> Recording:
        """Run the guide, and the model on the guide's draws.

        Args:
            program: the story's.

        Returns:
            This object.
        """
        with program.recorded(self):
            trace = poutine.trace(program.guide).get_trace(self.batch)
            poutine.replay(program.model, trace=trace)(self.batch)
        return self

    def run_model(self, program: Program) -> Recording:
        """Run the model alone.

        Args:
            program: the story's.

        Returns:
            This object.
        """
        with program.recorded(self):
            program.model(self.batch)
        return self

    @property
    def plate(self) -> Any:
        """The data plate's frame, or None."""
        return data_plate(self.model.sites.values(), self.model.rows)

    @property
    def divisor(self) -> float:
        """Size of the data plate, by which a loss on the batch is divided to be per datum."""
        plate = self.plate
        return float(self.batch.n if plate is None else plate.full_size or plate.size)

    @property
    def nesting(self) -> int:
        """Largest number of dimensions that nested vectorized plates take."""
        sites = [*self.model.sites.values(), *self.guide.sites.values()]
        frames = [f for s in sites if s["type"] == "sample" for f in s["cond_indep_stack"]]
        return max((-f.dim for f in frames if f.dim is not None), default=0)

    def training_spec(self) -> TrainingSpec:
        """Columns, rows, data plate and observed sites of the run.

        Returns:
            What a story keeps of its training data.
        """
        batch, plate = self.batch, self.plate
        specs = {k: Spec(tuple(c.shape[1:]), c.dtype) for k, c in batch.columns.items() if isinstance(c, Tensor)}
        sites = tuple(observed_sites(self.model.sites.values()))
        return TrainingSpec(specs, batch.n, batch.total, plate.name if plate is not None else None, sites, batch.extra)

    def latents(self) -> dict[str, Any]:
        """The model's latent sites.

        Returns:
            By name.
        """
        return latent_sites(self.model.sites.values())
