"""Arms: runs that differ only in their seed, as one; and what tells the arms of an environment apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from proximo.runs.report.read import DATA_SET, Final, Reference, RunData
from proximo.runs.statistics import mean_ci95

NOT_COMPARED = frozenset({"name", "seed", "runs_dir", "track"})
"""Settings that do not make another arm."""


@dataclass(frozen=True)
class Arm:
    """Runs with the same settings but for seed, name and place."""

    index: int
    """Position among the arms of its environment: decides colour and dashes."""
    label: str
    runs: tuple[RunData, ...]

    @property
    def settings(self) -> dict[str, Any]:
        """What its runs have in common."""
        return self.runs[0].settings

    @property
    def unfinished(self) -> int:
        """How many of its runs have not come to their end."""
        return sum(run.status.state != "finished" for run in self.runs)

    @property
    def finals(self) -> list[Final]:
        """The last word of each run; training returns only where no run was evaluated."""
        found = [run.final for run in self.runs if run.final is not None]
        return [final for final in found if final.evaluated] or found

    @property
    def final(self) -> tuple[float, float, float] | None:
        """Mean final return and its 95 % interval: over runs, of a single run over its episodes."""
        finals = self.finals
        if not finals:
            return None
        if len(finals) == 1:
            return finals[0].mean, finals[0].low, finals[0].high
        means = [final.mean for final in finals]
        return float(np.mean(means)), *mean_ci95(means)

    @property
    def random(self) -> float | None:
        """Mean return of the random policy."""
        known = [run.random for run in self.runs if run.random is not None]
        return float(np.mean(known)) if known else None


@dataclass(frozen=True)
class Environment:
    """The arms of one environment; returns of different ones share no axis."""

    id: str
    arms: tuple[Arm, ...]

    @property
    def runs(self) -> list[RunData]:
        """All its runs."""
        return [run for arm in self.arms for run in arm.runs]

    @property
    def references(self) -> dict[str, Reference]:
        """What its runs are held against, by name: the first run's that has it."""
        found: dict[str, Reference] = {}
        for run in self.runs:
            found = {**run.references, **found}
        return found

    @property
    def random(self) -> float | None:
        """Mean return of the random policy."""
        return next((arm.random for arm in self.arms if arm.random is not None), None)

    def score(self, value: float) -> float | None:
        """A return where the random policy has 0 and the data set 100; None where one of these is unknown."""
        data, random = self.references.get(DATA_SET), self.random
        if data is None or random is None or data.mean == random:
            return None
        return 100.0 * (value - random) / (data.mean - random)


def environments(runs: Sequence[RunData]) -> list[Environment]:
    """The runs by environment and arm, in the order in which they were named."""
    by_env: dict[str, dict[str, list[RunData]]] = {}
    for run in runs:
        by_env.setdefault(run.env, {}).setdefault(_key(run), []).append(run)
    return [Environment(env, _arms(list(groups.values()))) for env, groups in by_env.items()]


def differences(arms: Sequence[Arm]) -> dict[str, list[str | None]]:
    """Setting → its value in each arm (None: not there), for those that are not the same everywhere."""
    paths = dict.fromkeys(path for arm in arms for path in arm.settings if path not in NOT_COMPARED)
    rows = {path: [_value(arm.settings, path) for arm in arms] for path in paths}
    return {path: values for path, values in rows.items() if len(set(values)) > 1}


def _key(run: RunData) -> str:
    kept = {path: value for path, value in run.settings.items() if path not in NOT_COMPARED}
    return json.dumps(kept, sort_keys=True, default=str)


def _arms(groups: Sequence[Sequence[RunData]]) -> tuple[Arm, ...]:
    plain = [Arm(i, _names(group), tuple(group)) for i, group in enumerate(groups)]
    rows = differences(plain)
    arms = []
    for arm in plain:
        label = arm.label
        twins = [other for other in plain if other.label == label]
        if len(twins) > 1:
            telling = [p for p in rows if len({rows[p][twin.index] for twin in twins}) > 1]
            parts = [f"{p.rpartition('.')[2]}={rows[p][arm.index] or 'unset'}" for p in telling[:3]]
            # Beyond three settings the number tells them apart and the table says the rest.
            more = f", … #{arm.index + 1}" if len(telling) > 3 else ""
            label = f"{label} ({', '.join(parts)}{more})"
        arms.append(Arm(arm.index, label, arm.runs))
    return tuple(arms)


def _names(runs: Sequence[RunData]) -> str:
    names = list(dict.fromkeys(run.name for run in runs))
    return " / ".join(names[:3]) + (" …" if len(names) > 3 else "")


def _value(settings: dict[str, Any], path: str) -> str | None:
    if path not in settings:
        return None
    value = settings[path]
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
