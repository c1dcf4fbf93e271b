"""Remedies of a diagnosis as commands and lines of Python, of the folder, story and data of a run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pyrogen.catalog import CATALOG
from pyrogen.cli.parsing import parse_pairs
from pyrogen.diagnostics import Diagnosis, Remedy
from pyrogen.messages import RESUME_COMMAND, UsageError, writing

FILE = "command.txt"
"""In a run folder: the command that goes on with its training."""

_FLAGS = ("--resume", "--strip", "--no-progress", "--download")
"""Options of `pyrogen train` without a value."""
_ONE_LENGTH = ("--epochs", "--steps")


def keep_command(directory: Path) -> None:
    """Keep the command that trains a run in its folder, where it is run from the command line.

    Args:
        directory: of the run.
    """
    if command := RESUME_COMMAND.get():
        with writing(directory / FILE):
            (directory / FILE).write_text(f"{command}\n", encoding="utf-8", errors="surrogateescape")


@dataclass(frozen=True)
class TrainCommand:
    """`pyrogen train NAME` with its options.

    Args:
        name: of the story.
        options: (option, value) pairs in their order; the value of a flag is empty.
    """

    name: str
    options: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, words: Sequence[str]) -> TrainCommand:
        """From the words after `pyrogen train`.

        Args:
            words: name, options and values.

        Returns:
            The command.
        """
        name, options, rest = "", [], list(words)
        while rest:
            word, equals, value = rest.pop(0).partition("=") if rest[0].startswith("--") else (rest.pop(0), "", "")
            if not word.startswith("--"):
                name = word
            elif word in _FLAGS or equals:
                options.append((word, value))
            else:
                options.append((word, rest.pop(0)))
        return cls(name, tuple(options))

    @classmethod
    def of_run(cls, directory: Path) -> TrainCommand | None:
        """The command that trained a run.

        Args:
            directory: of the run.

        Returns:
            The command; None where none was kept.
        """
        with suppress(OSError, ValueError, IndexError):
            return cls.parse(shlex.split((directory / FILE).read_text(encoding="utf-8", errors="surrogateescape"))[2:])
        return None

    @property
    def settings(self) -> dict[str, str]:
        """The values of `--set` by name."""
        return dict(value.partition("=")[::2] for option, value in self.options if option == "--set")

    def changed(self, options: str, out: Path) -> TrainCommand | None:
        """The command with further options.

        Args:
            options: as one types them; they replace those of the same name.
            out: the folder of the run.

        Returns:
            The command, which writes to a folder of its own if it does not resume; None where the story has no such
            setting, or the setting has that value.
        """
        new = self.parse(shlex.split(options))
        if new.settings and not self._takes(new.settings):
            return None
        replaced = {name for name, _ in new.options if name != "--set"} | {"--out", "--resume"}
        replaced |= set(_ONE_LENGTH) if replaced & set(_ONE_LENGTH) else set()
        kept = [
            (name, value)
            for name, value in self.options
            if name not in replaced and not (name == "--set" and value.partition("=")[0] in new.settings)
        ]
        resumes = ("--resume", "") in new.options
        suffix = re.sub(r"[^A-Za-z0-9]+", "-", options).strip("-").removeprefix("set-").lower()
        folder = out if resumes else out.with_name(f"{out.name}-{suffix}")
        return TrainCommand(self.name, (*kept, *new.options, ("--out", str(folder))))

    def _takes(self, settings: dict[str, str]) -> bool:
        """Whether the story has these settings, and they change it."""
        entry = CATALOG.get(self.name)
        if entry is None:
            return False
        pairs = ([f"{key}={value}" for key, value in each.items()] for each in (self.settings, settings))
        former, new = (parse_pairs("--set", each) for each in pairs)
        values = {name: setting.default for name, setting in entry.settings.items()} | former | new
        for name, value in new.items():
            setting = entry.settings.get(name)
            if setting is None or setting.problem(value) or setting.why_unused(values):
                return False
            if former.get(name, setting.default) == value:
                return False
        return True

    def __str__(self) -> str:
        words = (word for option, value in self.options for word in (option, *([] if option in _FLAGS else [value])))
        return shlex.join(["pyrogen", "train", self.name, *words])


@dataclass(frozen=True)
class Commands:
    """How to do on the command line, and in Python, what a diagnosis advises.

    Args:
        directory: of the run.
        story: `path/to/file.py:Class` for a class that is not pyrogen's, or None.
        data: other data than the run's, or None.
        data_dir: the directory of data sets, or None.
        of_training: whether the training data were examined.
        images: whether samples are images.
        starts: number of further runs in the folder.
        trainable: whether the story takes steps.
    """

    directory: Path
    story: str | None = None
    data: str | None = None
    data_dir: Path | None = None
    of_training: bool = False
    images: bool = False
    starts: int = 0
    trainable: bool = True

    def filled(self, diagnosis: Diagnosis) -> Diagnosis:
        """A diagnosis whose remedies are commands, where they can be given on the command line.

        Args:
            diagnosis: the diagnosis.

        Returns:
            The same with the remedies' `line`.
        """
        findings = tuple(
            replace(finding, remedies=tuple(replace(r, line=self.line(r)) for r in finding.remedies))
            for finding in diagnosis.findings
        )
        return replace(diagnosis, findings=findings)

    def line(self, remedy: Remedy) -> str:
        """A remedy as a command.

        Args:
            remedy: the remedy.

        Returns:
            The command; empty where there is none.
        """
        if remedy.command:
            samples = str(self.directory / f"samples.{'png' if self.images else 'npz'}")
            words = [self._folder(word).replace("SAMPLES", samples) for word in remedy.command]
            return shlex.join(["pyrogen", *words, *self._further(of_data=words[0] != "sample")])
        trained = TrainCommand.of_run(self.directory) if self.trainable else None
        for options in remedy.options if trained is not None else ():
            with suppress(UsageError, ValueError):
                if command := trained and trained.changed(options, self.directory):
                    return str(command)
        return ""

    def _folder(self, word: str) -> str:
        return str(self.directory / word[4:]) if word.startswith("RUN/") else word.replace("RUN", str(self.directory))

    def _further(self, of_data: bool) -> list[str]:
        """Options that a command on the run needs as this one did."""
        options = {"--story": self.story, "--data": self.data, "--data-dir": self.data_dir}
        taken = options if of_data else ("--story",)
        return [word for name in taken if options[name] is not None for word in (name, str(options[name]))]

    @property
    def preparation(self) -> list[str]:
        """Lines of Python that make `run`, `story`, `data` and `training`, of which remedies are lines of Python."""
        load = f"run = pyrogen.load({str(self.directory)!r})"
        if self.story:
            names = "from pathlib import Path; from pyrogen.cli.open_run import load_run"
            load = f'{names}; run = load_run(Path({str(self.directory)!r}), {self.story!r}, "auto")'
        lines = [f"import pyrogen; {load}; story = run.story"]
        root = None if self.data_dir is None else str(self.data_dir)
        splits = f"splits = reload_data(story, run.config, {self.data!r}, {root!r})"
        lines.append(f"from pyrogen.cli.data_protocol import reload_data; {splits}")
        examined = "training" if self.of_training else "splits.test.batch()"
        lines.append(f"training = splits.train.batch(); data = {examined}")
        if self.starts:
            folders = f"[{str(self.directory)!r} + f'/restart_{{k}}' for k in range(2, {self.starts + 2})]"
            lines.append(f"runs = [run, *map(pyrogen.load, {folders})]")
        return lines
