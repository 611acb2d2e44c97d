"""From the rows of several seeds to one curve: the mean on a common grid of steps, and its 95 % band."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from proximo.runs.report.arms import Arm
from proximo.runs.report.read import Floats
from proximo.runs.statistics import t_quantile

GRID = 300
"""Points of a curve at most."""
Series = tuple[Floats, Floats]
"""Steps (increasing) and values."""


@dataclass(frozen=True)
class Curve:
    """Mean and band over seeds; all arrays `[G]`."""

    steps: Floats
    mean: Floats
    low: Floats
    """Bounds of the 95 % interval; nan where there is none."""
    high: Floats
    count: NDArray[np.int64]
    """Seeds that have data at the step."""
    seeds: tuple[Series, ...] = ()
    """The single runs, thinned out, where there are several."""
    over: str = "seeds"
    """What the band is over: `seeds`, or the `episodes` of the evaluations of a single run."""

    def parts(self) -> Iterator[slice]:
        """Stretches within which the number of seeds does not change."""
        edges = [0, *(np.flatnonzero(np.diff(self.count)) + 1), len(self.count)]
        for begin, end in pairwise(edges):
            if end > begin and self.count[begin] > 0:
                yield slice(int(begin), int(end))


def curve(arm: Arm, metric: str) -> Curve | None:
    """The metric of an arm; None where none of its runs has it."""
    series = [s for s in (run.series(metric) for run in arm.runs) if len(s[0])]
    if not series:
        return None
    if len(series) > 1:
        return average(series)
    steps, values = thinned(*series[0])
    low = high = np.full(len(steps), math.nan)
    over = "seeds"
    prefix, _, name = metric.rpartition("/")
    if prefix and name == "return_mean":
        run = next(run for run in arm.runs if len(run.series(metric)[0]))
        bounds = [run.series(f"{prefix}/{end}") for end in ("return_low", "return_high")]
        if all(len(bound[0]) for bound in bounds):
            low, high = (_at(bound, steps) for bound in bounds)
            over = "episodes"
    return Curve(steps, values, low, high, np.ones(len(steps), dtype=np.int64), over=over)


def average(series: Sequence[Series]) -> Curve:
    """Mean over the series that cover a step, and Student's 95 % interval of it where two or more do.

    Linear between a series' own steps, never beyond its ends.
    """
    steps = common_grid([s for s, _ in series])
    table = np.stack([_at(one, steps) for one in series])
    count = np.isfinite(table).sum(axis=0)
    some = np.maximum(count, 1)
    mean = np.where(count > 0, np.nansum(table, axis=0) / some, math.nan)
    squares = np.nansum((table - mean) ** 2, axis=0)
    deviation = np.sqrt(squares / np.maximum(count - 1, 1))
    quantile = np.array([t_quantile(int(n) - 1) if n > 1 else math.nan for n in count])
    half = quantile * deviation / np.sqrt(some)
    return Curve(steps, mean, mean - half, mean + half, count, tuple(thinned(*one) for one in series))


def common_grid(steps: Sequence[Floats]) -> Floats:
    """Every step that occurs, if these are few enough to draw; else `GRID` even ones."""
    grid = np.unique(np.concatenate(steps))
    return grid if len(grid) <= GRID else np.linspace(grid[0], grid[-1], GRID)


def thinned(steps: Floats, values: Floats) -> Series:
    """At most about `GRID` points: of each stretch the lowest and the highest, so that no spike is lost."""
    if len(steps) <= GRID:
        return steps, values
    kept = {0, len(steps) - 1}
    for part in np.array_split(np.arange(len(steps)), GRID // 2):
        kept |= {int(part[np.argmin(values[part])]), int(part[np.argmax(values[part])])}
    index = np.array(sorted(kept))
    return steps[index], values[index]


def _at(series: Series, steps: Floats) -> Floats:
    own, values = series
    return np.interp(steps, own, values, left=math.nan, right=math.nan)
