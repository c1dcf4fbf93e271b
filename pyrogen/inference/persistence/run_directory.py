"""The files of a run.

config.json            story and arguments, columns, versions, data and protocol, options, seed
weights.safetensors    what `load` reads
resume.safetensors     the checkpoint, which alone suffices to resume
history.jsonl          one record an epoch
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pyrogen.inference.persistence.checkpoint import load_tree, save_tree, write_whole
from pyrogen.inference.persistence.config import FORMAT
from pyrogen.inference.persistence.former_format import current_names

_FILES = ("config.json", "weights.safetensors", "resume.safetensors", "history.jsonl")


class RunDirectory:
    """The files of one run.

    Args:
        path: of the directory, which is made when first written to.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()

    @property
    def used(self) -> bool:
        """Whether a run was written here."""
        return any((self.path / name).exists() for name in _FILES)

    @property
    def can_resume(self) -> bool:
        """Whether there is a checkpoint to resume from."""
        return (self.path / "resume.safetensors").exists()

    def begin(self, config: Mapping[str, Any]) -> None:
        """Make the directory, write the configuration, and remove the history of a run that left no checkpoint.

        Args:
            config: the content of `config.json`.

        Raises:
            ValueError: the path is a file.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"{self.path} is a file, expected a folder to write the run to")
        self.path.mkdir(parents=True, exist_ok=True)
        self.write_history([])
        self._write_json("config.json", config)

    def config(self) -> dict[str, Any]:
        """Read `config.json`.

        Returns:
            Its content, in today's names.

        Raises:
            FileNotFoundError: there is no such directory, or no run in it.
            ValueError: the file is damaged, or of a newer version.
        """
        path = self.path / "config.json"
        if not path.is_file():
            what = "holds no config.json: it is no run folder" if self.path.is_dir() else "does not exist"
            raise FileNotFoundError(
                f"{self.path} {what}; `pyrogen train ... --out {self.path}` or fit(out=...) writes one"
            )
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
            version = int(config["format"])
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"{path} is damaged: expected JSON with a 'format' number; restore it, or train again"
            ) from None
        _check_version(path, version, config.get("pyrogen"))
        return {**config, "story": current_names(config["story"])} if version < FORMAT else dict(config)

    def append(self, *records: Mapping[str, Any]) -> None:
        """Add records to the history.

        Args:
            records: one for each epoch.
        """
        with (self.path / "history.jsonl").open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(record) + "\n" for record in records))

    def write_history(self, records: list[dict[str, Any]]) -> None:
        """Replace the history.

        Args:
            records: one for each epoch.
        """
        text = "".join(json.dumps(record) + "\n" for record in records)
        write_whole(self.path / "history.jsonl", text.encode())

    def history(self) -> list[dict[str, Any]]:
        """Read the history.

        Returns:
            One record for each epoch; a line cut short by a kill is left out.
        """
        path, records = self.path / "history.jsonl", []
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
            try:
                records.append(json.loads(line))
            except ValueError:
                break
        return records

    def write_weights(self, tensors: Mapping[str, Tensor], config: Mapping[str, Any], **about: Any) -> None:
        """Replace the weights.

        Args:
            tensors: by name.
            config: of the run that they belong to.
            about: further values, kept in the file's header.
        """
        about = {"format": FORMAT, "run": config["run"], "story": config["story"]["class"], **about}
        save_tree(self.path / "weights.safetensors", dict(tensors), **about)

    def weights(self, config: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Read the weights.

        Args:
            config: of the run that they must belong to.

        Returns:
            The weights by name, and the values in the file's header.

        Raises:
            ValueError: they are damaged, of another run, or of another story.
        """
        path = self.path / "weights.safetensors"
        tensors, about = load_tree(path)
        _check_version(path, about.get("format", 0), None)
        if about.get("story") != config["story"]["class"]:
            raise ValueError(
                f"{path} holds weights of {about.get('story')}, and config.json tells of {config['story']['class']}"
            )
        if about.get("run") != config["run"]:
            raise ValueError(f"{path} belongs to another run than config.json beside it: put the right file back")
        return tensors, about

    def write_checkpoint(self, state: Any, config: Mapping[str, Any]) -> None:
        """Replace the checkpoint.

        Args:
            state: of the run.
            config: of the run.
        """
        save_tree(self.path / "resume.safetensors", state, format=FORMAT, config=dict(config))

    def checkpoint(self) -> tuple[Any, dict[str, Any]]:
        """Read the checkpoint.

        Returns:
            The state and the configuration of the run.

        Raises:
            ValueError: the checkpoint is of an older format.
        """
        path = self.path / "resume.safetensors"
        state, about = load_tree(path)
        _check_version(path, about.get("format", 0), None)
        if about["format"] < FORMAT:
            raise ValueError(
                f"{path} is of format {about['format']}, by an older pyrogen, and cannot be resumed: load the run, and "
                "fit its story into another folder"
            )
        return state, about["config"]

    def restore_files(self, history: list[dict[str, Any]], config: Mapping[str, Any]) -> None:
        """Write configuration and history from a checkpoint.

        Args:
            history: records of the epochs.
            config: the content of `config.json`.
        """
        self._write_json("config.json", config)
        self.write_history(history)

    def _write_json(self, name: str, content: Mapping[str, Any]) -> None:
        write_whole(self.path / name, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def _check_version(path: Path, version: int, by: str | None) -> None:
    if version > FORMAT:
        writer = f" (written by pyrogen {by})" if by else ""
        raise ValueError(f"{path} has format {version}{writer}, and this pyrogen reads up to {FORMAT}: upgrade pyrogen")
