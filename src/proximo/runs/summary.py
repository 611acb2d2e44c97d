"""One line per run: what `proximo runs` shows."""

from __future__ import annotations

import csv
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from proximo.runs.log import read_progress
from proximo.runs.run import EXPERIMENT_FILE, Run, Status


@dataclass(frozen=True)
class RunSummary:
    """One line of `proximo runs`."""

    path: Path
    env: str
    name: str
    status: Status
    step: int
    return_mean: float | None
    """Of training, in the last row of `progress.csv`."""
    eval_return_mean: float | None = None
    """Of the last evaluation."""
    seed: int | None = None


def summarise(run: Run) -> RunSummary:
    """What a list shows of a run, read from its small files only."""
    status, name = run.status(), run.path.name
    step, mean, evaluated = status.step, None, None
    # A table that was damaged must not hide all other runs; `resume` and `report` say what is wrong with it.
    with suppress(ValueError, csv.Error):
        rows = list(read_progress(run.path / "progress.csv"))
        row = rows[-1] if rows else {}
        step = int(float(row.get("step") or status.step))
        mean = float(row["return_mean"]) if row.get("return_mean") else None
        found = [row["eval/return_mean"] for row in rows if row.get("eval/return_mean")]
        evaluated = float(found[-1]) if found else None
    return RunSummary(run.path, run.path.parent.name, name, status, step, mean, evaluated, _seed(run.path))


def _seed(path: Path) -> int | None:
    # One line of a small file, instead of checking the whole configuration for a list.
    found = None
    with suppress(OSError, UnicodeDecodeError):
        found = re.search(
            r"^seed: (\d+)$", (path / EXPERIMENT_FILE).read_text(encoding="utf-8"), re.MULTILINE
        )
    return int(found[1]) if found else None
