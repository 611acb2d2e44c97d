"""What is known of the pipeline's runs: `logs/pipeline_runs.json`, and how far an unfinished one has come.

The log is one JSON list to which each run adds its entry. It is written anew beside and renamed, under a lock, so
that a kill at any moment leaves it whole, and two runs that end together both are in it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from proximo.errors import UserError
from proximo.runs.files import replace_file, writing
from proximo.runs.log import jsonable

LOG = Path("logs/pipeline_runs.json")
UNFINISHED = Path("logs")


def append(entry: Mapping[str, Any], log: Path = LOG) -> None:
    """Add an entry, with its time. Raises: UserError where the file is something else, RunError (disk full)."""
    with locked(log.with_name(f".{log.name}.lock"), _wait):
        entries = entries_of(log)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        lines = [json.dumps(old) for old in entries]
        lines.append(json.dumps(jsonable({"timestamp": stamp, **entry})))
        # An entry a line: a list for every reader of JSON, and readable without one.
        replace_file(log, "[\n" + ",\n".join(lines) + "\n]\n")


def entries_of(log: Path = LOG) -> list[dict[str, Any]]:
    """All entries, oldest first; none where there is no log. Raises: UserError where the file is something else."""
    try:
        content = json.loads(log.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise UserError(f"{log}: cannot be read ({error}); move it away, and a new one is begun") from error
    if not isinstance(content, list):
        raise UserError(f"{log}: is no list of runs; move it away, and a new one is begun")
    return content


class Unfinished:
    """How far the run of one command has come: what the same command needs to go on after a kill.

    It holds JSON values by name, is written with each change, and is deleted when the run is over. One process at a
    time has it.
    """

    def __init__(self, path: Path, command: Mapping[str, Any]) -> None:
        self.path = path
        self.command = dict(command)

    @classmethod
    @contextmanager
    def held(cls, command: Mapping[str, Any], folder: Path = UNFINISHED) -> Iterator[Unfinished]:
        """That of this command, as it was left. Raises: UserError where another process runs the same command."""
        text = json.dumps(command, sort_keys=True)
        path = folder / f".pipeline_unfinished_{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
        lock = path.with_suffix(".lock")
        with locked(lock, _refuse):
            try:
                yield cls(path, command)
            finally:
                if not path.exists():
                    lock.unlink()

    @property
    def values(self) -> dict[str, Any]:
        """What was noted, in this process or in one before it."""
        return _read(self.path)["so_far"] if self.path.exists() else {}

    def note(self, **values: Any) -> None:
        """Keep these, on disk before the call returns."""
        if not self.path.exists():
            replace_file(self.path, json.dumps({"command": self.command, "so_far": {}}) + "\n")
        note(self.path, **values)

    def done(self) -> None:
        """Nothing is left to go on with."""
        self.path.unlink(missing_ok=True)


def note(path: Path, **values: Any) -> None:
    """Add to what an `Unfinished` holds. Raises: UserError where its file is damaged."""
    content = _read(path)
    content["so_far"] |= values
    replace_file(path, json.dumps(content, indent=1) + "\n")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {"command": content["command"], "so_far": dict(content["so_far"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); delete it to begin anew") from error


@contextmanager
def locked(file: Path, busy: Callable[[], None]) -> Iterator[None]:
    """Hold the lock `file` inside the block; where another process has it, `busy` is called and it is waited for."""
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _refuse() -> None:
    raise UserError("the same command is already running here; wait for it, or stop it")


def _wait() -> None:
    """It takes a moment only."""
