"""Scripted therapists in every cell of the therapy client: what `therapy_question.py grid` runs and draws.

A cell is a mechanism, a pattern, one parameter changed from its default, and a threshold; in every cell therapists
treat the same clients. No scripted therapist looks at the threshold, so one treatment without an end counts for all.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from jobs import ROOT, Row, markdown
from therapy_picture import write

sys.path.insert(0, str(ROOT / "src"))

from proximo.envs.hashing import Ints
from proximo.envs.therapy.clients import Clients
from proximo.envs.therapy.octants import CODES, COMPLEMENT, OCTANTS
from proximo.envs.therapy.parameters import MECHANISMS, PATTERNS, Parameters, parameters_of
from proximo.envs.therapy.therapists import THERAPISTS, Therapist
from proximo.runs.statistics import paired_difference

GRID = ROOT / "benchmarks" / "results" / "therapy_grid.json"
PICTURE = ROOT / "benchmarks" / "therapy_grid.svg"
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
CLIENTS, SEED = 300, 20_000_000
"""Clients of the grid; those whom learnt therapists are judged with are others, so that none was chosen by luck."""
CHANGES: tuple[dict[str, Any], ...] = (
    {},
    *({"entropy": value} for value in (0.1, 2.0, 10.0)),
    *({"bond_offset": value} for value in (0.3, 0.4, 0.5, 0.6, 0.9)),
    *({"baseline_accuracy": value} for value in (0.1, 0.2, 0.8)),
    *({"max_sessions": value} for value in (50, 300)),
    *({"bond_offset": value, "enable_perception": False} for value in (0.5, 0.7)),
)
RECENT = 15


def steady(clients: Clients) -> Ints:
    """Complements the octant that the client showed most often of late, its present one included."""
    shown = clients.history[:, ::2].astype(np.int64)
    done = np.minimum(clients.session, shown.shape[1])
    age = done[:, None] - np.arange(shown.shape[1])
    counted = (age > 0) & (age < RECENT)
    counts = np.stack([(counted & (shown == octant)).sum(axis=1) for octant in range(OCTANTS)], axis=1)
    counts[np.arange(clients.count), clients.action] += 1
    # Of equals the present one.
    score = 2 * counts + (np.arange(OCTANTS) == clients.action[:, None])
    return COMPLEMENT[score.argmax(axis=1)]


WARMER = COMPLEMENT.copy()
for shown, answer in (("D", "WS"), ("S", "WD"), ("CS", "D"), ("CD", "S")):
    WARMER[CODES.index(shown)] = CODES.index(answer)


def warmer(clients: Clients) -> Ints:
    """The neighbour of the complement on the warm side, for clients who are neither warm nor plainly cold."""
    return WARMER[clients.action]


WHO: dict[str, Therapist] = {
    "complement": THERAPISTS["complement"],
    "omniscient": THERAPISTS["omniscient"],
    "warmer": warmer,
    "steady": steady,
}
OTHERS = tuple(name for name in WHO if name != "complement")


def cells() -> Iterator[dict[str, Any]]:
    """Every cell but for the threshold, as parameters of the simulation."""
    for mechanism, pattern, change in itertools.product(MECHANISMS, PATTERNS, CHANGES):
        yield {"mechanism": mechanism, "patterns": [pattern], **change}


def successes(who: Therapist, parameters: Parameters, seeds: Ints) -> dict[float, np.ndarray[Any, Any]]:
    """Which clients succeed, `[N]` per threshold."""
    clients = Clients(len(seeds), parameters.changed({"threshold": 1.0, "dropout_session": 0}))
    clients.begin(seeds)
    best = np.full(len(seeds), -1.0)
    found = {threshold: np.zeros(len(seeds), np.bool_) for threshold in THRESHOLDS}
    gone = np.zeros(len(seeds), np.bool_)
    for session in range(1, parameters.max_sessions + 1):
        outcome = clients.step(who(clients))
        if session == parameters.dropout_session:
            # As in the simulation, a client who leaves now has no success any more, also none in this session.
            gone = clients.rs < clients.initial_rs
        best = np.where(gone, best, outcome.progress)
        for threshold, reached in found.items():
            reached |= ~gone & (best >= threshold)
    return found


def grid() -> None:
    """Judge the scripted therapists in every cell."""
    seeds = np.arange(SEED, SEED + CLIENTS)
    rows: list[Row] = []
    for cell in cells():
        parameters = parameters_of(cell)
        results = {name: successes(who, parameters, seeds) for name, who in WHO.items()}
        for threshold in THRESHOLDS:
            row: Row = {"cell": cell, "threshold": threshold}
            one = results["complement"][threshold].astype(float)
            row["complement"] = float(one.mean())
            for name in OTHERS:
                other = results[name][threshold].astype(float)
                row[name] = [float(other.mean()), *(round(x, 4) for x in paired_difference(other, one))]
            rows.append(row)
        print(described(cell), [round(row["complement"], 3) for row in rows[-5:]], flush=True)
    GRID.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n", encoding="utf-8")


def report() -> str:
    """How often a scripted therapist beats complement in the grid, and where; draws the picture too."""
    if not GRID.is_file():
        return ""
    rows = json.loads(GRID.read_text(encoding="utf-8"))
    draw(rows)
    text = ["\n".join(_counts(rows))]
    for name in OTHERS:
        best = [row for row in sorted(rows, key=lambda row: -row[name][2])[:6] if row[name][2] > 0]
        lines = [
            [
                *(described(row["cell"]), f"{row['threshold']:g}", f"{100 * row['complement']:.1f}"),
                *(f"{100 * row[name][0]:.1f}", points(row[name][1:])),
            ]
            for row in best
        ]
        header = ["cell", "threshold", "complement %", f"{name} %", "difference, points"]
        text += ["\n".join(markdown(header, lines))] if lines else []
    return "\n\n".join(text)


def _counts(rows: list[Row]) -> Iterator[str]:
    """Per changed parameter: in how many cells a therapist's interval is above complement, and below."""
    lines = []
    for change in (*CHANGES, None):
        mine = [row for row in rows if change is None or _change(row["cell"]) == change]
        counts = [
            f"{sum(row[name][2] > 0 for row in mine)} / {sum(row[name][3] < 0 for row in mine)}"
            for name in OTHERS
        ]
        lines.append(["all" if change is None else _words(change), str(len(mine)), *counts])
    return markdown(["changed", "cells", *(f"{name}: above / below" for name in OTHERS)], lines)


def _change(cell: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in cell.items() if key not in ("mechanism", "patterns", "threshold")}


def _words(change: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in change.items()) or "default"


def described(cell: dict[str, Any]) -> str:
    """A cell in words, without its threshold."""
    patterns = "+".join(cell["patterns"]) if len(cell["patterns"]) < len(PATTERNS) - 2 else "five patterns"
    return f"{cell['mechanism']}, {patterns}, {_words(_change(cell))}"


def points(difference: Any) -> str:
    """Mean and interval in points."""
    mean, low, high = (100 * value for value in difference)
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def draw(rows: list[Row]) -> None:
    """The grid's picture: a band per changed parameter, over mechanisms, patterns and thresholds."""
    lines = []
    for change in CHANGES:
        mine = [row for row in rows if _change(row["cell"]) == change]
        for name in OTHERS:
            differences = [row[name][1] for row in mine]
            spread = (float(np.mean(differences)), min(differences), max(differences))
            lines.append((f"{_words(change)}: {len(mine)} cells", name, spread))
    caption = "success minus complement’s, points: mean, least and most over the cells"
    write(PICTURE, lines, {name: name for name in OTHERS}, caption)
