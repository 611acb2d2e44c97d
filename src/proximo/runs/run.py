"""The folder of a run: `runs/<env>/<name>-<time>/`, its files, its status and its lock."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from proximo.config.experiment import Experiment, TensorboardTracker
from proximo.config.load import dump_experiment, load_experiment
from proximo.errors import RunError, UserError
from proximo.runs import archive, checkpoint
from proximo.runs.archive import EXPERIMENT_FILE as EXPERIMENT_FILE
from proximo.runs.files import replace_file, safe_name, writing
from proximo.runs.lock import Lock
from proximo.runs.log import Events, Progress
from proximo.runs.provenance import provenance

State = Literal["created", "running", "finished", "stopped", "failed", "interrupted"]
_STATUS_FILE = "status.json"


@dataclass(frozen=True)
class Status:
    """How a run is doing: `interrupted` is one that was killed, so that nobody could write anything else."""

    state: State
    reason: str
    step: int
    time: float
    """Unix seconds of the last change."""


class Run:
    """Handle of a run's folder."""

    def __init__(self, path: Path, checkpoint_: Path | None = None) -> None:
        self.path = path
        self.chosen = checkpoint_
        """The checkpoint that was named when opening (`runs/x/checkpoints/100`, `runs/x/best`), else None."""
        self.events = Events(path / "events.jsonl")
        self._lock = Lock(path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    # --- making and finding ---

    @classmethod
    def create(cls, experiment: Experiment) -> Run:
        """A new run folder with `experiment.yaml` and `provenance.json`; unique within the same second too.

        Raises: RunError where the folder cannot be written.
        """
        parent = Path(experiment.runs_dir) / safe_name(experiment.env.id)
        stem = f"{safe_name(experiment.name)}-{time.strftime('%Y%m%d-%H%M%S')}"
        with writing(parent):
            parent.mkdir(parents=True, exist_ok=True)
            path = _new_folder(parent, stem)
            (path / "checkpoints").mkdir()
        run = cls(path)
        run.write_experiment(experiment)
        replace_file(path / "provenance.json", json.dumps(provenance(experiment), indent=2) + "\n")
        run.set_status("created")
        return run

    @classmethod
    def open(cls, path: str | Path, root: str | Path = "runs") -> Run:
        """The run at `path`: its folder, a checkpoint or pointer in it, an archive, or a unique beginning of its name.

        Raises: UserError saying what is there instead, or which runs the beginning fits.
        """
        given = Path(path)
        if archive.is_archive(given):
            return cls(archive.opened(given))
        if given.exists():
            for folder in (given, *given.absolute().parents[:3]):
                if (folder / EXPERIMENT_FILE).is_file():
                    return cls(folder, _chosen(folder, given))
            if given.is_file():
                checkpoint.header(given)
            raise UserError(_no_run(given))
        matches = _matching(given, Path(root))
        if len(matches) == 1:
            return cls(matches[0])
        if matches:
            names = ", ".join(str(m) for m in matches[:5])
            raise UserError(f"{given} is the beginning of {len(matches)} runs, name one: {names}")
        raise UserError(f"there is no run {given}: `proximo runs` lists them")

    # --- its files ---

    def write_experiment(self, experiment: Experiment) -> None:
        """Write the resolved configuration (again, where a resume changed it)."""
        replace_file(self.path / EXPERIMENT_FILE, dump_experiment(experiment))

    def experiment(self) -> Experiment:
        """The resolved configuration of the run; UserError if the file does not validate."""
        return load_experiment(self.path / EXPERIMENT_FILE)

    def progress(self, columns: Sequence[str], resume_step: int | None = None) -> Progress:
        """The appender of `progress.csv`; `resume_step` drops rows past the checkpoint resumed from."""
        return Progress(self.path / "progress.csv", columns, resume_step=resume_step)

    def event(self, kind: str, step: int, fields: Mapping[str, Any] | None = None) -> None:
        """Append a record to `events.jsonl`."""
        self.events.write(kind, step, fields or {})

    def checkpoint_folder(self, step: int) -> Path:
        """Where the checkpoint of `step` lives."""
        return self.path / "checkpoints" / str(step)

    def checkpoint(self) -> tuple[Path, list[str]]:
        """The checkpoint to load: the one named when opening, else the newest intact one; what it skipped."""
        if self.chosen is not None:
            checkpoint.verify(self.chosen)
            return self.chosen, []
        return checkpoint.latest_valid(self.path)

    @property
    def videos(self) -> Path:
        """Folder for videos."""
        return self.path / "videos"

    def tensorboard(self, experiment: Experiment) -> Path:
        """Folder for TensorBoard's event files."""
        chosen = [node.folder for node in experiment.track if isinstance(node, TensorboardTracker)]
        return Path(chosen[0]) if chosen and chosen[0] else self.path / "tensorboard"

    def discard(self) -> None:
        """Remove a folder in which nothing was saved, and the folders around it that are empty then.

        Raises: RunError where it has checkpoints, or cannot be removed.
        """
        if any((self.path / "checkpoints").iterdir()):
            raise RunError(f"{self.path} has checkpoints: it is not removed")
        with writing(self.path):
            shutil.rmtree(self.path)
        for folder in self.path.parents[:2]:
            # A folder that is not empty stays.
            with suppress(OSError):
                folder.rmdir()

    # --- status and lock ---

    def set_status(self, state: State, reason: str = "", step: int = 0) -> None:
        """Write the status file."""
        content = {"state": state, "reason": reason, "step": step, "time": time.time(), "pid": os.getpid()}
        replace_file(self.path / _STATUS_FILE, json.dumps(content) + "\n")

    def status(self) -> Status:
        """Read the status file; a run that says `running` while nobody holds its lock is `interrupted`."""
        try:
            content = json.loads((self.path / _STATUS_FILE).read_text(encoding="utf-8"))
            status = Status(content["state"], content["reason"], content["step"], content["time"])
        except (OSError, ValueError, KeyError, TypeError):
            return Status("interrupted", "its status file is missing or unreadable", 0, 0.0)
        if status.state == "running" and not self._lock.is_held():
            return Status("interrupted", "the process was killed", status.step, status.time)
        return status

    def lock(self) -> None:
        """Take the run for this process until it ends or calls `close`, and tidy what a killed one left.

        Raises: UserError where another process (or another handle in this one) has it.
        """
        if self._lock.take():
            checkpoint.recover(self.path)

    def close(self) -> None:
        """Give the lock and the open files back."""
        self.events.close()
        self._lock.release()


def list_runs(root: str | Path = "runs") -> list[Run]:
    """All runs below `root` (or one environment's folder in it), oldest first by the time in their names."""
    base = Path(root)
    found = {f.parent for depth in ("*", "*/*") for f in base.glob(f"{depth}/{EXPERIMENT_FILE}")}
    return [Run(path) for path in sorted(found, key=_started)]


def _started(path: Path) -> tuple[str, str]:
    times = re.findall(r"-(\d{8}-\d{6})", path.name)
    return (times[-1] if times else "", str(path))


def _new_folder(parent: Path, stem: str) -> Path:
    number = 1
    while True:
        path = parent / (stem if number == 1 else f"{stem}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path


def _chosen(folder: Path, given: Path) -> Path | None:
    if given.is_file() and given.name in ("best", "last"):
        target = checkpoint.pointed(folder, given.name)
        if target is None:
            raise UserError(f"{given} names no existing checkpoint")
        return target
    inside = given if given.is_dir() else given.parent
    return inside if inside.absolute().parent.name == "checkpoints" else None


def _no_run(path: Path) -> str:
    runs = [str(run.path) for run in list_runs(path)]
    if runs:
        return f"{path} is not a run but holds {len(runs)}, name one: {', '.join(runs[-5:])}"
    return f"{path} is not a run: it has no {EXPERIMENT_FILE}"


def _matching(given: Path, root: Path) -> list[Path]:
    beside = [p for p in given.parent.glob(f"{given.name}*") if (p / EXPERIMENT_FILE).is_file()]
    if not beside and len(given.parts) == 1:
        beside = [run.path for run in list_runs(root) if run.path.name.startswith(given.name)]
    # A whole name is meant, not the beginning of a longer one: `base` is not `base-wide`.
    for rest in ("", r"-\d{8}-\d{6}(-\d+)?"):
        whole = [path for path in beside if re.fullmatch(re.escape(given.name) + rest, path.name)]
        if whole:
            return sorted(whole)
    return sorted(beside)
