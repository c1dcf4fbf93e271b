"""The files of a run.

config.json            story and arguments, columns, versions, data and protocol, options, seed
weights.safetensors    what `load` reads
resume.safetensors     the checkpoint, which alone suffices to resume
history.jsonl          one record an epoch
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from torch import Tensor

from pyrogen.inference.persistence.checkpoint import CHECKSUM, check_seal, load_tree, save_tree, write_whole
from pyrogen.inference.persistence.config import FORMAT, check_fields, damaged_fields
from pyrogen.inference.persistence.folder_lock import locked
from pyrogen.inference.persistence.former_format import FORMER_NAMES, current_names
from pyrogen.inference.persistence.history import History
from pyrogen.messages import as_path, writing

_FILES = ("config.json", "weights.safetensors", "resume.safetensors", "history.jsonl")


class RunDirectory:
    """The files of one run.

    Args:
        path: of the directory, which is made when first written to.

    Raises:
        ValueError: the path is empty, or names the home of a user that does not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = as_path(path, "the run directory")
        self._history = History(self.path / "history.jsonl")
        self._mark: dict[str, Any] | None = None

    @property
    def used(self) -> bool:
        """Whether a run was written here."""
        return any((self.path / name).exists() for name in _FILES)

    @property
    def can_resume(self) -> bool:
        """Whether there is a checkpoint to resume from."""
        return (self.path / "resume.safetensors").exists()

    def locked(self) -> AbstractContextManager[None]:
        """Hold the directory for this process alone, see `folder_lock.locked`.

        Returns:
            A context, which raises ValueError where another process holds the directory.
        """
        return locked(self.path)

    def begin(self, config: Mapping[str, Any]) -> None:
        """Write the configuration, and remove the history of a run that left no checkpoint.

        Args:
            config: the content of `config.json`.
        """
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        self.write_history([])
        self._write_config(config)

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
            config: dict[str, Any] = json.loads(path.read_bytes())
            version = config["format"]
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            version = None
        if type(version) is not int:
            raise ValueError(
                f"{path} is damaged: expected JSON with a 'format' number; restore it, or train again"
            ) from None
        _check_version(path, version, config.get("pyrogen"))
        check_fields(config, path)
        config.pop("checksum", None)
        with damaged_fields(path):
            return {**config, "story": current_names(config["story"])} if version in FORMER_NAMES else config

    def check_config(self, config: Mapping[str, Any]) -> None:
        """Check `config.json` against its checksum; done last, as other checks name the field that is damaged.

        Args:
            config: its content.

        Raises:
            ValueError: it has changed since it was written.
        """
        check_seal(self.path / "config.json", config["format"])

    def append(self, *records: Mapping[str, Any], cut_short: bool = False) -> None:
        """Add records to the history.

        Args:
            records: one for each epoch.
            cut_short: whether a resumed run may replace the last one; False by default.
        """
        self._history.append(*records, cut_short=cut_short)

    def write_history(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Replace the history.

        Args:
            records: one for each epoch.
        """
        self._history.write(records)

    def history(self, about: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Read the history that the weights belong to.

        Args:
            about: the values in the header of the weights file.

        Returns:
            One record for each epoch.

        Raises:
            FileNotFoundError: the file is missing.
            ValueError: it is damaged.
        """
        return self._history.read(about.get("history"))

    def write_weights(self, tensors: Mapping[str, Tensor], config: Mapping[str, Any], **about: Any) -> None:
        """Replace the weights.

        Args:
            tensors: by name.
            config: of the run that they belong to.
            about: further values, kept in the file's header.
        """
        about = {"format": FORMAT, "run": config["run"], "story": config["story"]["class"], **about}
        about["history"] = self._history.mark()
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
        if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
            raise ValueError(f"{path} is damaged: its field 'tree' holds no weights; restore it, or train again")
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
            state: of the run, without its history, of which length and checksum are kept.
            config: of the run.
        """
        path, mark = self.path / "resume.safetensors", self._history.mark(with_text=True)
        save_tree(path, state, format=FORMAT, config=dict(config), history=mark)

    def checkpoint(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read the checkpoint.

        Returns:
            The state, with the history, and the configuration of the run.

        Raises:
            ValueError: the checkpoint is damaged or of an older format, or the history does not match it.
        """
        path = self.path / "resume.safetensors"
        state, about = load_tree(path)
        version = _check_version(path, about.get("format", 0), None)
        if version in FORMER_NAMES:
            raise ValueError(
                f"{path} is of format {version}, by an older pyrogen, and cannot be resumed: load the run, and "
                "fit its story into another folder"
            )
        config = about.get("config")
        if not isinstance(config, dict) or not isinstance(state, dict):
            raise ValueError(f"{path} is damaged: its header lacks the field 'config'; restore it, or train again")
        check_fields(config, path)
        beside = self._run_beside()
        if beside not in (None, config["run"]):
            raise ValueError(f"{path} belongs to another run than config.json beside it: put the right file back")
        self._mark = about.get("history")
        if self._mark is not None:
            state["history"] = self._history.read(self._mark)
        return state, {**config, "format": FORMAT}

    def _run_beside(self) -> Any:
        """The run that config.json names; None where it does not, as it is written anew."""
        path = self.path / "config.json"
        try:
            return json.loads(path.read_bytes())["run"] if path.is_file() else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    @property
    def checked(self) -> bool:
        """Whether the checkpoint that was read had a checksum; those of older versions have none."""
        return self._mark is not None

    def restore_files(self, history: Sequence[Mapping[str, Any]], config: Mapping[str, Any], cut_short: bool) -> None:
        """Write configuration and history as they were at the checkpoint that was read.

        Args:
            history: records of the epochs.
            config: the content of `config.json`.
            cut_short: whether the last record is of an epoch that a resumed run may continue.
        """
        self._write_config(config)
        self._history.restore(self._mark, history[:-1] if cut_short else history)
        if cut_short:
            self._history.append(history[-1], cut_short=True)

    def _write_config(self, config: Mapping[str, Any]) -> None:
        content = json.dumps({"checksum": CHECKSUM, **config}, indent=2, allow_nan=False)
        write_whole(self.path / "config.json", f"{content}\n".encode())


def _check_version(path: Path, version: Any, by: str | None) -> int:
    if not isinstance(version, int):
        raise ValueError(f"{path} is damaged: expected a number in its field 'format'; restore it, or train again")
    if version > FORMAT:
        writer = f" (written by pyrogen {by})" if by else ""
        raise ValueError(f"{path} has format {version}{writer}, and this pyrogen reads up to {FORMAT}: upgrade pyrogen")
    return version
