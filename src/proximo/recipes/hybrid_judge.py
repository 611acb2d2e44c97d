"""What came of it: returns of data set, clone, hybrid and others, with intervals and normalised scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proximo.agent import load
from proximo.config.experiment import Experiment
from proximo.demos.dataset import Dataset
from proximo.runs.evaluation import evaluate
from proximo.runs.report import words
from proximo.runs.report.arms import environments
from proximo.runs.report.read import DATA_SET, read_run
from proximo.runs.run import Run
from proximo.runs.statistics import mean_ci95

CLONE = "clone"


@dataclass(frozen=True)
class Summary:
    """The comparison in words and in numbers."""

    lines: tuple[str, ...]
    values: dict[str, Any]


def of_data(data: Dataset) -> dict[str, Any]:
    """The data set's returns as a reference."""
    return _reference(DATA_SET, data.returns.tolist())


def of_clone(clone: Path, plan: Experiment) -> dict[str, Any]:
    """The clone's returns, measured as those of the hybrid will be."""
    agent = load(clone)
    config = plan.eval
    result = evaluate(
        agent.policy, plan.env, config.episodes, config.seed, config.mode != "stochastic", agent.spec.device
    )
    return _reference(CLONE, result.returns)


def noted(run: Path) -> list[dict[str, Any]]:
    """The references that a run began with."""
    return [event for event in read_run(run).events if event["kind"] == "reference"]


def summary(run: Path, scratch: Sequence[str], references: Sequence[dict[str, Any]]) -> Summary:
    """Data set, clone, hybrid and scratch in one table; the verdict says what the hybrid's interval is above."""
    found = [read_run(path) for path in (run, *(Run.open(path).path for path in scratch))]
    (env,) = environments(found)
    rows = [
        (one["name"], one["return_mean"], *(one["return_ci95"] or (math.nan, math.nan))) for one in references
    ]
    for arm in env.arms:
        if arm.final is not None:
            rows.append(
                ("hybrid" if run in [one.path for one in arm.runs] else f"scratch ({arm.label})", *arm.final)
            )
    width = max(len(name) for name, *_ in rows)
    lines, values = [], {}
    for name, mean, low, high in rows:
        score = env.score(mean)
        said = "" if score is None else f"   score {score:.1f}"
        interval = f"   95 % interval {words.interval(low, high)}" if math.isfinite(low) else ""
        lines.append(f"{name:<{width}}   return {words.number(mean)}{interval}{said}")
        values[name] = {"return_mean": mean, "return_ci95": [low, high], "score": score}
    if env.random is not None:
        values["random"] = {"return_mean": env.random, "score": env.score(env.random)}
        lines.append(f"(score: 0 is the random policy's {words.number(env.random)}, 100 the data set's mean)")
    return Summary(tuple(lines), values)


def _reference(name: str, returns: Sequence[float]) -> dict[str, Any]:
    low, high = mean_ci95(returns)
    mean = math.fsum(returns) / len(returns)
    interval = None if math.isnan(low) else [low, high]
    return {"name": name, "return_mean": mean, "return_ci95": interval, "episodes": len(returns)}
