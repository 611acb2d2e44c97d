"""One process at a time trains a run."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from proximo.errors import RunError, UserError
from proximo.runs.files import writing

_FILE = ".lock"
# POSIX locks belong to the process: a second handle in this one must be refused by us.
_held_here: set[Path] = set()


class Lock:
    """A run's lock file; the system gives it back when the process dies, however it does."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.file = run / _FILE
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Hold it from now on; False if this handle held it already.

        Raises: UserError where another process (or another handle in this one) has it.
        """
        if self._descriptor is not None:
            return False
        if self.run.resolve() in _held_here:
            raise UserError(f"run {self.run} is already being trained in this process")
        with writing(self.file):
            descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 20).decode("ascii", "replace").strip() or "?"
            os.close(descriptor)
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise RunError(
                    f"cannot lock {self.file}: {error.strerror}; put runs_dir on a local disk"
                ) from error
            raise UserError(
                f"run {self.run} is being trained by process {holder}: wait for it or stop it"
            ) from error
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._descriptor = descriptor
        _held_here.add(self.run.resolve())
        return True

    def release(self) -> None:
        """Give it back, where this handle has it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            _held_here.discard(self.run.resolve())

    def is_held(self) -> bool:
        """Whether anybody has it."""
        if self.run.resolve() in _held_here:
            return True
        try:
            descriptor = os.open(self.file, os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        else:
            return False
        finally:
            os.close(descriptor)
