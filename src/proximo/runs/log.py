"""The two files every run has: `progress.csv` (a row per update) and `events.jsonl` (a record per event)."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import orjson

from proximo.errors import UserError
from proximo.runs.files import BatchedFile, replace_file, writing

Record = tuple[float, str, int, Mapping[str, Any]]
"""Time, kind, step and fields of an event."""


class Progress(BatchedFile[Mapping[str, float]]):
    """Appends rows to `progress.csv`; an absent metric is an empty cell.

    `write` puts a row on disk at once, `later` within half a second and at the latest with `flush` or `close`.

    The header is `columns` (and whatever an earlier part of the run had). A metric that nobody announced
    widens the table: the file is rewritten once, instead of losing the number.
    """

    def __init__(self, path: Path, columns: Sequence[str], *, resume_step: int | None = None) -> None:
        """Continue `path`, dropping a half-written last line and rows past `resume_step`; or start it."""
        super().__init__(path)
        try:
            rows = list(read_progress(path))
            if resume_step is not None:
                rows = [row for row in rows if float(row.get("step") or math.inf) <= resume_step]
            earlier = _header(path)
        except (ValueError, csv.Error) as error:
            raise UserError(f"{path} is not the table it was ({error}): move it away, then resume") from error
        self.columns = list(dict.fromkeys(["step", *earlier, *columns]))
        self._rewrite(rows)

    def write(self, row: Mapping[str, float]) -> None:
        """Append one row. Raises: RunError (disk full)."""
        self.later(row)
        self.flush()

    def later(self, row: Mapping[str, float]) -> None:
        """Append one row soon. Raises: RunError (disk full), perhaps for an earlier row."""
        self._add(row)

    def _data(self, rows: Sequence[Mapping[str, float]]) -> bytes:
        full = [{**self._empty, **row} for row in rows]
        if max(map(len, full)) > len(self.columns):
            earlier = list(read_progress(self.path))
            self.columns = list(dict.fromkeys([*self.columns, *(name for row in full for name in row)]))
            self._rewrite(earlier)
            full = [{**self._empty, **row} for row in rows]
        return _table([[*row.values()] for row in full])

    def _rewrite(self, rows: Iterable[Mapping[str, str]]) -> None:
        self._empty: dict[str, float | None] = dict.fromkeys(self.columns)
        lines = [_line(self.columns)]
        lines += [_line(row.get(name, "") for name in self.columns) for row in rows]
        replace_file(self.path, "".join(lines))


def _line(cells: Iterable[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(list(cells))
    return buffer.getvalue()


def _table(rows: Sequence[Sequence[float | None]]) -> bytes:
    # Every digit is kept, so that two runs can be compared exactly; numbers need no quotes.
    if all(math.isfinite(sum(filter(None, row))) for row in rows):
        try:
            # All rows in one call: hundreds come a second.
            text = orjson.dumps(rows)[2:-2].replace(b"null", b"").replace(b"],[", b"\n")
        except TypeError:  # integers of more than 64 bits, NumPy's numbers
            text = b"?"
        if not text.translate(None, b"0123456789.,+-e\n"):
            return text + b"\n"
    return "".join([",".join(map(_cell, row)) + "\n" for row in rows]).encode()


def _cell(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "" if value is None else repr(float(value))
    return repr(int(value)) if isinstance(value, int) else orjson.dumps(float(value)).decode()


def _header(path: Path) -> list[str]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        first = file.readline()
    return next(csv.reader([first]), []) if first.endswith("\n") else []


def read_progress(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a `progress.csv` as text by column, without a last line that was cut off by a kill."""
    if not path.exists():
        return
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    yield from csv.DictReader(io.StringIO(whole, newline=""))


class Events(BatchedFile[Record]):
    """Appends records `{"time", "step", "kind", ...}` to `events.jsonl`, one JSON object per line.

    Append-only, also over resumes: a record of kind `resume` says from which step the story goes on. Numbers
    that are not finite become null. `write` and `later` are as for `Progress`; the order is kept.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._checked = False

    def write(self, kind: str, step: int, fields: Mapping[str, Any]) -> None:
        """Append one record. Raises: RunError (disk full)."""
        self.later(kind, step, fields)
        self.flush()

    def later(self, kind: str, step: int, fields: Mapping[str, Any]) -> None:
        """Append one record soon. Raises: RunError (disk full), perhaps for an earlier record."""
        self._add((time.time(), kind, step, fields))

    def _data(self, records: Sequence[Record]) -> bytes:
        if not self._checked:
            with writing(self.path):
                _drop_torn_line(self.path)
            self._checked = True
        lines = [
            _record({"time": round(at, 3), "step": step, "kind": kind}, fields)
            for at, kind, step, fields in records
        ]
        return b"".join(lines)


def _record(head: dict[str, Any], fields: Mapping[str, Any]) -> bytes:
    try:
        # Hundreds a second.
        return orjson.dumps({**head, **fields}, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # integers of more than 64 bits, NumPy's numbers, paths
        return json.dumps({**head, **jsonable(fields)}).encode() + b"\n"


def _drop_torn_line(path: Path) -> None:
    if path.exists():
        data = path.read_bytes()
        if data and not data.endswith(b"\n"):
            os.truncate(path, data.rfind(b"\n") + 1)


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Records of an `events.jsonl`, without a last line that was cut off by a kill."""
    if path.exists():
        with path.open(encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):
                    yield json.loads(line)


def jsonable(value: Any) -> Any:
    """Strict JSON for numbers, strings, lists and mappings; nan and ±inf become null, the rest its text."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(v) for v in value]
    return str(value)
