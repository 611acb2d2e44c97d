"""What a report takes from a run's folder: settings, rows, events, provenance, status, videos."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proximo.config import text
from proximo.config.overrides import leaves
from proximo.errors import UserError
from proximo.runs.log import read_events, read_progress
from proximo.runs.run import EXPERIMENT_FILE, Run, Status

Floats = NDArray[np.float64]
PHASE = "time/"
VIDEO_TYPES = {".mp4": "video/mp4", ".webm": "video/webm"}
# A single episode has no interval: there, not a number is the right answer.
MAY_BE_NAN = ("return_low", "return_high")


@dataclass(frozen=True)
class Final:
    """The last word on how good a run's policy is."""

    step: int
    mean: float
    low: float
    """Bounds of the 95 % interval over episodes; nan where there is none."""
    high: float
    evaluated: bool
    """By an evaluation; else the mean over the last training episodes."""
    verdict: str | None = None


@dataclass(frozen=True)
class Reference:
    """A return that the run is to be held against, such as that of the data it learnt from."""

    mean: float
    low: float
    """Bounds of the 95 % interval over episodes; nan where there is none."""
    high: float


DATA_SET = "data set"
"""The reference whose mean return is the score 100; that of the random policy is 0."""


@dataclass(frozen=True)
class RunData:
    """One run, read."""

    path: Path
    settings: dict[str, Any]
    """Dotted path → value of the whole resolved experiment."""
    yaml: str
    provenance: dict[str, Any]
    status: Status
    columns: dict[str, Floats]
    """Column of `progress.csv` → one number per row; nan where absent or not finite."""
    not_finite: dict[str, tuple[int, int]]
    """Column → in how many rows it was nan or infinite, and the first step of these."""
    events: list[dict[str, Any]]
    videos: list[Path] = field(default_factory=list)
    """Oldest first."""

    @property
    def env(self) -> str:
        """Id of the environment."""
        return str(self.settings.get("env.id", "?"))

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return str(self.settings.get("name", self.path.name))

    @property
    def seed(self) -> str:
        """Seed, as text."""
        return str(self.settings.get("seed", "?"))

    @property
    def step(self) -> int:
        """Steps that are on record."""
        steps = self.columns.get("step")
        return self.status.step if steps is None or not len(steps) else int(steps[-1])

    def series(self, metric: str) -> tuple[Floats, Floats]:
        """Steps and values of the rows that have the metric, by increasing step."""
        steps, values = self.columns.get("step"), self.columns.get(metric)
        if steps is None or values is None:
            return np.empty(0), np.empty(0)
        kept = np.isfinite(steps) & np.isfinite(values)
        # Of rows with the same step the last one counts.
        unique, last = np.unique(steps[kept][::-1], return_index=True)
        return unique, values[kept][::-1][last]

    @cached_property
    def phases(self) -> dict[str, float]:
        """Seconds per phase, and `other` for the wall time that no phase claims."""
        found = {
            name.removeprefix(PHASE): float(np.nansum(values))
            for name, values in self.columns.items()
            if name.startswith(PHASE)
        }
        rest = (self.seconds or 0.0) - sum(found.values())
        return found | ({"other": rest} if found and rest > 0.0 else {})

    @cached_property
    def seconds(self) -> float | None:
        """Wall time of the training over resumes: steps of each row over its steps per second."""
        steps, speeds = self.series("steps_per_second")
        if not len(steps):
            return None
        first = self.columns["step"] == steps[0]
        phases = [v[first] for name, v in self.columns.items() if name.startswith(PHASE)]
        # The first row also counts the random steps before training, which its speed leaves out.
        begun = float(np.nansum(phases)) if phases else steps[0] / max(speeds[0], 1e-9)
        return begun + float(np.sum(np.diff(steps) / np.maximum(speeds[1:], 1e-9)))

    @property
    def random(self) -> float | None:
        """Mean return of the random policy, where the run measured it."""
        values = [e.get("random_return_mean") for e in self.events if e["kind"] == "result"]
        return next((float(v) for v in reversed(values) if v is not None), None)

    @property
    def references(self) -> dict[str, Reference]:
        """The returns that were noted for comparison, by name; the newest of each."""
        found = {}
        for event in self.events:
            if event["kind"] == "reference":
                low, high = event.get("return_ci95") or (math.nan, math.nan)
                found[str(event["name"])] = Reference(float(event["return_mean"]), low, high)
        return found

    @cached_property
    def final(self) -> Final | None:
        """The newest evaluation; without evaluations the last row's training return; None without rows."""
        result = next((e for e in reversed(self.events) if e["kind"] == "result"), None)
        steps, means = self.series("eval/return_mean")
        evaluated = int(steps[-1]) if len(steps) else -1
        if result is not None and result.get("return_mean") is not None and result["step"] >= evaluated:
            low, high = result.get("return_ci95") or (math.nan, math.nan)
            return Final(result["step"], result["return_mean"], low, high, True, result.get("verdict"))
        if len(steps):
            row = np.flatnonzero(self.columns["step"] == steps[-1])[-1]
            low, high = (self.columns[f"eval/{n}"][row] if f"eval/{n}" in self.columns else math.nan
                         for n in MAY_BE_NAN)  # fmt: skip
            return Final(evaluated, float(means[-1]), float(low), float(high), True)
        steps, means = self.series("return_mean")
        return Final(int(steps[-1]), float(means[-1]), math.nan, math.nan, False) if len(steps) else None

    @property
    def best(self) -> tuple[int, float] | None:
        """Step and mean return of the best evaluation (of the best row where there are none)."""
        for metric in ("eval/return_mean", "return_mean"):
            steps, values = self.series(metric)
            if len(steps):
                at = int(np.argmax(values))
                return int(steps[at]), float(values[at])
        return None


def read_run(path: Path) -> RunData:
    """Read a run's folder; what a run that crashed early never wrote is empty.

    Raises: UserError naming the folder or the file that cannot be read.
    """
    if not path.is_dir():
        raise UserError(f"{path}: there is no such folder; `proximo runs` lists the runs")
    file = path / EXPERIMENT_FILE
    if not file.is_file():
        raise UserError(f"{path}: is no run, it has no {EXPERIMENT_FILE}; `proximo runs` lists the runs")
    with _reading(file):
        yaml = file.read_text(encoding="utf-8")
        settings = dict(leaves(text.parse(yaml, str(file))))
    with _reading(path / "progress.csv"):
        columns, not_finite = _columns(path / "progress.csv")
    with _reading(path / "events.jsonl"):
        events = _kept(list(read_events(path / "events.jsonl")))
    with _reading(path / "provenance.json"):
        provenance = _mapping(path / "provenance.json")
    found = sorted(
        (f for f in path.glob("videos/*") if f.suffix.lower() in VIDEO_TYPES and not f.name.startswith(".")),
        key=_filmed,
    )
    return RunData(path, settings, yaml, provenance, Run(path).status(), columns, not_finite, events, found)


def _filmed(file: Path) -> tuple[int, float, str]:
    # By the step in the name first: a copied folder has new times.
    number = re.findall(r"\d+", file.stem)
    return (int(number[-1]) if number else -1, file.stat().st_mtime, file.name)


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        cause = str(error).splitlines()[0]
        raise UserError(f"{file}: cannot be read ({cause}); leave this run out or repair the file") from error


def _columns(path: Path) -> tuple[dict[str, Floats], dict[str, tuple[int, int]]]:
    rows = list(read_progress(path))
    names = [name for name in rows[0] if name] if rows else []
    columns = {name: np.array([_number(row.get(name), path, name) for row in rows]) for name in names}
    bad: dict[str, tuple[int, int]] = {}
    for name in names:
        wrong = [int(i) for i in np.flatnonzero(~np.isfinite(columns[name])) if rows[i].get(name)]
        if wrong and not name.endswith(MAY_BE_NAN):
            step = columns["step"][wrong[0]] if "step" in columns else math.nan
            bad[name] = (len(wrong), int(step) if math.isfinite(step) else 0)
            columns[name][wrong] = math.nan
    return columns, bad


def _number(cell: str | None, path: Path, name: str) -> float:
    try:
        return float(cell) if cell else math.nan
    except ValueError as error:
        raise UserError(f"{path}: {cell!r} in the column {name} is no number") from error


def _mapping(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} is no mapping")
    return content


def _kept(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The story without what a resume took back: records of steps past the checkpoint it went on from."""
    kept: list[dict[str, Any]] = []
    for event in events:
        if not (isinstance(event, dict) and isinstance(event.get("step"), int) and "kind" in event):
            raise ValueError("a record has no step or no kind")
        if event["kind"] == "resume":
            kept = [e for e in kept if e["step"] <= event["step"] or e["kind"] == "resume"]
        kept.append(event)
    return kept
