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
from proximo.runs.report.read import DATA_SET, RunData, read_run
from proximo.runs.run import Run
from proximo.runs.statistics import difference_ci95, mean_ci95, paired_difference

CLONE, HYBRID = "clone", "hybrid"
NO_INTERVAL = (math.nan, math.nan)


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
    return _reference(CLONE, result.returns) | {"returns": result.returns}


def noted(run: Path) -> list[dict[str, Any]]:
    """The references that a run began with."""
    return [event for event in read_run(run).events if event["kind"] == "reference"]


def summary(
    run: Path, scratch: Sequence[str], references: Sequence[dict[str, Any]], data: Dataset
) -> Summary:
    """Data set, clone, hybrid and scratch in one table, and the hybrid's differences to the first two."""
    found = [read_run(path) for path in (run, *(Run.open(path).path for path in scratch))]
    (env,) = environments(found)
    rows = [(one["name"], one["return_mean"], *(one["return_ci95"] or NO_INTERVAL)) for one in references]
    for arm in env.arms:
        if arm.final is not None:
            own = run in [one.path for one in arm.runs]
            rows.append((HYBRID if own else f"scratch ({arm.label})", *arm.final))
    width = max(len(name) for name, *_ in rows)
    lines, values = [], {}
    for name, mean, low, high in rows:
        score = env.score(mean)
        said = "" if score is None else f"   score {score:.1f}"
        lines.append(f"{name:<{width}}   return {words.number(mean)}{_interval(low, high)}{said}")
        values[name] = {"return_mean": mean, "return_ci95": [low, high], "score": score}
    if env.random is not None:
        values["random"] = {"return_mean": env.random, "score": env.score(env.random)}
        lines.append(f"(score: 0 is the random policy's {words.number(env.random)}, 100 the data set's mean)")
    for name, (mean, low, high) in _differences(found[0], references, data).items():
        verdict = (
            ""
            if math.isnan(low)
            else "   better"
            if low > 0
            else "   worse"
            if high < 0
            else "   no clear difference"
        )
        lines.append(f"{HYBRID} − {name}: {words.number(mean)}{_interval(low, high)}{verdict}")
        values[HYBRID][f"minus {name}"] = [mean, low, high]
    return Summary(tuple(lines), values)


def _differences(
    run: RunData, references: Sequence[dict[str, Any]], data: Dataset
) -> dict[str, tuple[float, float, float]]:
    """Mean difference and 95 % interval: Welch's to the data set, paired with the clone over the same episodes."""
    final = next((event for event in reversed(run.events) if event["kind"] == "result"), None)
    if final is None:
        return {}
    mine, recorded = final["returns"], data.returns.tolist()
    low, high = difference_ci95(mine, recorded)
    found = {DATA_SET: (math.fsum(mine) / len(mine) - math.fsum(recorded) / len(recorded), low, high)}
    cloned = next((one.get("returns") for one in references if one["name"] == CLONE), None)
    if cloned is not None and len(cloned) == len(mine):
        found[CLONE] = paired_difference(mine, cloned)
    return found


def _interval(low: float, high: float) -> str:
    return f"   95 % interval {words.interval(low, high)}" if math.isfinite(low) else ""


def _reference(name: str, returns: Sequence[float]) -> dict[str, Any]:
    low, high = mean_ci95(returns)
    mean = math.fsum(returns) / len(returns)
    interval = None if math.isnan(low) else [low, high]
    return {"name": name, "return_mean": mean, "return_ci95": interval, "episodes": len(returns)}
