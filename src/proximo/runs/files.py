"""Writing files so that a crash, a full disk or a read-only folder never leaves half of one behind."""

from __future__ import annotations

import errno
import os
import re
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

from proximo.errors import RunError

Item = TypeVar("Item")
FLUSH_SECONDS = 0.5

_CURES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of your quota",
    errno.EROFS: "choose a writable folder with runs_dir=…",
    errno.EACCES: "choose a writable folder with runs_dir=…",
    errno.EPERM: "choose a writable folder with runs_dir=…",
    errno.ENOTDIR: "a part of the path is a file: remove it or choose another runs_dir=…",
    errno.EEXIST: "a file is in the way: remove it or choose another runs_dir=…",
}


@contextmanager
def writing(path: Path, *, kept: str = "") -> Iterator[None]:
    """Turn an `OSError` in the block into a RunError naming `path`, the cause, the cure and what is kept."""
    try:
        yield
    except OSError as error:
        cause = (error.strerror or str(error)).lower()
        cure = _CURES.get(error.errno or 0, "check the folder")
        raise RunError(f"cannot write {path}: {cause}; {cure}{kept}") from error


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, text: str) -> None:
    """Write `text` to `path` in one go: a reader sees the old or the new content, never half of it."""
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with writing(path):
        try:
            write_synced(temporary, text.encode())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


class Appender:
    """Adds to the end of a file, every piece on its way to the disk before the call returns.

    The file stays open, because opening costs more than writing a line; one that was removed or replaced meanwhile is
    opened again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1
        self._close: Callable[[], object] = lambda: None

    def append(self, data: bytes) -> None:
        """Raises: RunError (disk full, folder gone)."""
        with writing(self.path):
            if self._descriptor < 0 or os.fstat(self._descriptor).st_nlink == 0:
                self._open()
            while data:
                data = data[os.write(self._descriptor, data) :]

    def close(self) -> None:
        """Give the file back; a later `append` opens it again."""
        self._close()
        self._descriptor = -1

    def _open(self) -> None:
        self._close()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self.path, flags, 0o666)
        self._close = weakref.finalize(self, os.close, self._descriptor)


class BatchedFile(Generic[Item]):
    """A file to which items are added hundreds of times a second: written in one go, at most `FLUSH_SECONDS` late.

    Written one by one they cost several times as much, because the update before has emptied the processor's caches.
    What comes after a longer pause is written at once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = Appender(path)
        self._items: list[Item] = []
        self._due = -float("inf")

    def _data(self, items: Sequence[Item]) -> bytes:
        """The items as they stand in the file."""
        raise NotImplementedError

    def _add(self, item: Item) -> None:
        self._items.append(item)
        if time.monotonic() >= self._due:
            self.flush()

    def flush(self) -> None:
        """Put everything on disk. Raises: RunError (disk full)."""
        items, self._items = self._items, []
        self._due = time.monotonic() + FLUSH_SECONDS
        if items:
            self._file.append(self._data(items))

    def close(self) -> None:
        """Put everything on disk and give the file back."""
        try:
            self.flush()
        finally:
            self._file.close()


def safe_name(text: str) -> str:
    """`text` as one folder name: `ALE/Pong-v5` becomes `ALE_Pong-v5`."""
    return re.sub(r"[^A-Za-z0-9._+@-]+", "_", text).lstrip(".-") or "_"
