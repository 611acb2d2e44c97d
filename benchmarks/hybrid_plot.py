"""The picture of benchmarks/hybrid.py: returns over steps, a panel for each environment, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hybrid_table import WORDS, curve, data_mean, of
from jobs import Row
from panels import Panel, over_seeds, write

COLOURS = {"scratch": "#777777", "finetune": "#d9822b", "symmetric": "#8a5bb5", "hybrid": "#0b6bcb"}
LEVELS = {"data": ("the data set's mean", "2 4"), "clone": ("the clone", "7 4")}


def picture(rows: Sequence[Row], envs: Sequence[str], file: Path) -> None:
    """Write it: mean over seeds, with Student's 95 % interval as a band where there are two seeds or more."""
    shown = [env for env in envs if any(row["env"] == env for row in rows)]
    panels = [_panel(env, [row for row in rows if row["env"] == env]) for env in shown]
    write(panels, WORDS, COLOURS, file, LEVELS)


def _panel(env: str, rows: Sequence[Row]) -> Panel:
    found = {arm: curve(of(rows, arm)) for arm in COLOURS if of(rows, arm)}
    curves = {arm: over_seeds(steps, values.tolist()) for arm, (steps, values) in found.items()}
    clone = [row["return_mean"] for row in of(rows, "clone").values()]
    levels = {"data": data_mean(rows), "clone": float(np.mean(clone)) if clone else None}
    return Panel(env, curves, {name: level for name, level in levels.items() if level is not None})
