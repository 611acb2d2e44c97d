"""The tables of benchmarks/hybrid.py."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jobs import Row, interval, markdown

HYBRID, SCRATCH, CLONE = "hybrid", "scratch", "clone"
WORDS = {
    "scratch": "PPO from scratch",
    "clone": "the clone",
    "finetune": "PPO fine-tuned from the clone",
    "symmetric": "symmetric sampling",
    "hybrid": "hybrid",
}


def tables(rows: Sequence[Row], envs: Sequence[str], arms: Sequence[str]) -> str:
    """Returns of each arm, and the hybrid beside each, by environment."""
    parts = []
    for env in envs:
        mine = [row for row in rows if row["env"] == env]
        if mine:
            parts.append(f"**{env}**\n\n" + "\n".join(_table(mine, arms)))
    return "\n\n".join(parts) or "no results yet"


def of(rows: Sequence[Row], arm: str) -> dict[int, Row]:
    """The rows of an arm by seed, in order."""
    return {row["seed"]: row for row in sorted(rows, key=lambda r: int(r["seed"])) if row["arm"] == arm}


def data_mean(rows: Sequence[Row]) -> float | None:
    """Mean return of the recorded episodes."""
    found = [row["data_return_mean"] for row in rows if row["data_return_mean"] is not None]
    return found[-1] if found else None


def _table(rows: Sequence[Row], arms: Sequence[str]) -> Iterator[str]:
    data, random = data_mean(rows), float(np.mean([row["random"] for row in rows]))
    goal = _mean(of(rows, SCRATCH))
    hybrid = of(rows, HYBRID)
    lines = []
    if data is not None:
        against = _difference([r["return_mean"] - data for r in hybrid.values()])
        lines.append(["the data set's mean", f"{data:.1f}", "", "100", against, ""])
    for arm in arms:
        mine = of(rows, arm)
        if not mine:
            continue
        returns = [row["return_mean"] for row in mine.values()]
        pairs = [hybrid[s]["return_mean"] - row["return_mean"] for s, row in mine.items() if s in hybrid]
        score = "" if data is None else f"{100 * (np.mean(returns) - random) / (data - random):.0f}"
        each = ", ".join(f"{value:.0f}" if abs(value) > 10 else f"{value:.2g}" for value in returns)
        lines.append(
            [
                WORDS[arm],
                interval(returns),
                each,
                score,
                "" if arm == HYBRID else _difference(pairs),
                "" if arm == CLONE else _reached(mine, goal),
            ]
        )
    header = [
        "",
        "return: mean ± 95 %",
        "each seed",
        "score",
        "hybrid is better by",
        "steps to scratch's return",
    ]
    return markdown(header, lines)


def _mean(rows: dict[int, Row]) -> float | None:
    return float(np.mean([row["return_mean"] for row in rows.values()])) if rows else None


def _difference(pairs: Sequence[float]) -> str:
    """Mean difference over seeds and Student's 95 % interval of it."""
    from proximo.runs.statistics import mean_ci95

    if len(pairs) < 2:
        return ""
    low, high = mean_ci95(pairs)
    verdict = "" if low > 0 else ", **worse**" if high < 0 else ", **not shown**" if high > low else ", level"
    return f"{np.mean(pairs):.1f} [{low:.1f}, {high:.1f}]{verdict}"


def curve(rows: dict[int, Row]) -> tuple[list[int], np.ndarray[tuple[int, int], np.dtype[np.float64]]]:
    """Steps of the evaluations and their returns, `[seeds, evaluations]`; those that all seeds have."""
    count = min(len(row["curve"]) for row in rows.values())
    steps = [int(step) for step, _ in next(iter(rows.values()))["curve"][:count]]
    return steps, np.array([[value for _, value in row["curve"][:count]] for row in rows.values()])


def _reached(rows: dict[int, Row], goal: float | None) -> str:
    """The first evaluation at which the mean over seeds is scratch's mean final return."""
    if goal is None or not rows:
        return ""
    steps, values = curve(rows)
    for step, value in zip(steps, values.mean(0), strict=True):
        if value >= goal:
            return f"{step:,} ({step / steps[-1]:.0%})"
    return "not reached"
