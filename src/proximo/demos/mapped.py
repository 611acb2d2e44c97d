"""Columns on disk: a data set is turned once into flat files, which are then mapped instead of read.

Minibatches take rows from anywhere. An HDF5 or Arrow file would be opened and searched for each of them; a mapped file
costs what memory costs, and only the pages that are used are in memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from proximo.demos.store import alive, cache
from proximo.errors import RunError

FORMAT = 1
TOLD_BYTES = 50_000_000
"""Reading less takes no time worth a line."""
Array = np.ndarray[Any, Any]


class Columns:
    """Appends pieces to columns; all pieces of a column have the same type and row shape."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, IO[bytes]] = {}
        self._said: dict[str, dict[str, Any]] = {}

    def add(self, name: str, piece: Array) -> None:
        """Append `piece` `[rows, ...]`."""
        if name not in self._files:
            file = f"{len(self._files)}.bin"
            self._files[name] = (self._folder / file).open("wb")
            self._said[name] = {
                "file": file,
                "dtype": piece.dtype.str,
                "shape": list(piece.shape[1:]),
                "rows": 0,
            }
        said = self._said[name]
        assert (piece.dtype.str, list(piece.shape[1:])) == (said["dtype"], said["shape"]), name
        self._files[name].write(np.ascontiguousarray(piece).data)
        said["rows"] += len(piece)

    def finish(self, notes: dict[str, Any]) -> None:
        """Close the files and write the index."""
        self.close()
        index = {"format": FORMAT, "columns": self._said, "notes": notes}
        (self._folder / "index.json").write_text(json.dumps(index), encoding="utf-8")

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()


def fingerprint(folders: list[Path]) -> tuple[str, int]:
    """Of the names, sizes and times of all files in `folders`, another one as soon as anything changes; their bytes."""
    digest, size = hashlib.sha256(str(FORMAT).encode()), 0
    for folder in folders:
        digest.update(f"\n{folder.resolve()}".encode())
        for file in sorted(folder.rglob("*")):
            about = file.stat()
            digest.update(f"\n{file.relative_to(folder)} {about.st_size} {about.st_mtime_ns}".encode())
            size += about.st_size
    return digest.hexdigest()[:32], size


def mapped(
    folders: list[Path], fill: Callable[[Columns], dict[str, Any]], say: Callable[[str], None]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Columns by name, mapped, and the notes; `fill` writes them where this was not done before.

    Raises: RunError where the cache cannot be written, and what `fill` raises.
    """
    same = hashlib.sha256("\n".join(str(f.resolve()) for f in folders).encode()).hexdigest()[:16]
    now, size = fingerprint(folders)
    place = cache() / "columns" / same / now
    try:
        if not (place / "index.json").is_file():
            if size >= TOLD_BYTES:
                say(f"demonstrations: reading {size / 1e6:,.0f} MB once; from then on mapped from {place}")
            _build(place, fill)
        return _open(place)
    except OSError as error:
        cause = error.strerror or str(error)
        raise RunError(f"cannot write {place}: {cause}; free some space or set XDG_CACHE_HOME") from error


def _build(place: Path, fill: Callable[[Columns], dict[str, Any]]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    for left in place.parent.glob(".*-*"):
        if not alive(left.name.rpartition("-")[2]):
            shutil.rmtree(left, ignore_errors=True)
    partial = place.with_name(f".{place.name}-{os.getpid()}")
    partial.mkdir()
    columns = Columns(partial)
    try:
        columns.finish(fill(columns))
        # What an earlier state of the same data set left: a process that still maps it keeps its pages.
        for old in place.parent.iterdir():
            if old != place and not old.name.startswith("."):
                shutil.rmtree(old, ignore_errors=True)
        try:
            partial.rename(place)
        except OSError:
            # Another process was faster; its columns are the same.
            if not (place / "index.json").is_file():
                raise
    finally:
        columns.close()
        shutil.rmtree(partial, ignore_errors=True)


def _open(place: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    index = json.loads((place / "index.json").read_text(encoding="utf-8"))
    columns = {}
    for name, said in index["columns"].items():
        shape = (said["rows"], *said["shape"])
        # Copy on write: PyTorch knows no read-only memory and would warn.
        rows = np.memmap(place / said["file"], dtype=np.dtype(said["dtype"]), mode="c", shape=shape)
        columns[name] = torch.from_numpy(rows)
    return columns, index["notes"]
