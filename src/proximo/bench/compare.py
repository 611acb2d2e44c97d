"""Runs the measurements in turn and sums them up: medians, ratios within pairs, one JSON value."""

from __future__ import annotations

import datetime
import json
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from proximo.bench.measure import Row, measure
from proximo.bench.peers import Peer
from proximo.bench.workloads import Workload

OURS = "proximo"
QUANTITIES = ("of_training", "after_start_up", "of_whole", "start_up", "memory_mib")
LESS_IS_BETTER = ("start_up", "memory_mib")
BUSY = 0.3
"""Load per core before a measurement from which on a warning is printed."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What is measured and how often."""

    workloads: Sequence[Workload]
    peers: Sequence[Peer]
    scripts: Path | None
    """Folder of the peers' scripts."""
    python: str
    """The interpreter that runs the peers."""
    repeats: int = 3
    settings: tuple[str, ...] = ()
    """Further settings of Proximo's side, in every workload."""
    timeout: float = 1800.0


def run(plan: Plan, say: Say) -> dict[str, Any]:
    """All measurements; per workload its settings, all rows, medians and ratios."""
    results = {}
    for workload in plan.workloads:
        ours = replace(workload, overrides=(*workload.overrides, *plan.settings))
        say(f"{workload.name}: {ours}")
        rows = _rounds(plan, ours, say)
        results[workload.name] = {
            "settings": ours.as_dict(),
            "rows": rows,
            "medians": {name: medians(found) for name, found in rows.items()},
            "ratios": ratios(rows, [peer.name for peer in plan.peers if peer.torch]),
        }
    return results


def _rounds(plan: Plan, workload: Workload, say: Say) -> dict[str, list[Row]]:
    """A B C, A B C, …: what disturbs the machine for a while hits every side; a side that fails is not run again."""
    commands = {OURS: [sys.executable, "-m", "proximo.bench.worker"]}
    for peer in plan.peers:
        if workload.name in peer.workloads:
            commands[peer.name] = [plan.python, str((plan.scripts or Path()) / peer.script)]
    given = json.dumps({**workload.as_dict(), **({"scripts": str(plan.scripts)} if plan.scripts else {})})
    rows: dict[str, list[Row]] = {name: [] for name in commands}
    for turn in range(plan.repeats):
        for name, command in commands.items():
            if rows[name] and "error" in rows[name][-1]:
                continue
            load = os.getloadavg()[0]
            row = measure([*command, given], workload.threads, plan.timeout)
            row |= {"turn": turn, "load_before": round(load, 2)}
            rows[name].append(row)
            told = row.get("error") or f"{row['of_training']:,.0f} steps/s, start-up {row['start_up']:.1f} s"
            say(f"  {turn + 1}/{plan.repeats} {name}: {told}")
    return rows


def medians(rows: Sequence[Row]) -> dict[str, Any]:
    """Median, smallest and largest of every quantity; the error of a side that failed."""
    failed = [row["error"] for row in rows if "error" in row]
    if failed:
        return {"error": failed[0]}
    found: dict[str, Any] = {"count": len(rows)}
    for name in QUANTITIES:
        values = [row[name] for row in rows if row[name] is not None]
        if values:
            found[name] = {"median": statistics.median(values), "low": min(values), "high": max(values)}
    return found


def ratios(rows: dict[str, list[Row]], peers: Sequence[str]) -> dict[str, Any]:
    """Proximo's median over the best peer's, per quantity; `low` and `high` are over pairs of one round."""
    found = {}
    sides = {name: medians(rows[name]) for name in (OURS, *peers) if name in rows}
    ours = sides.pop(OURS)
    for quantity in QUANTITIES:
        able = {name: side[quantity]["median"] for name, side in sides.items() if quantity in side}
        if not able or quantity not in ours:
            continue
        best = (min if quantity in LESS_IS_BETTER else max)(able, key=lambda name: able[name])
        pairs = [a[quantity] / b[quantity] for a, b in zip(rows[OURS], rows[best], strict=True)]
        found[quantity] = {
            "peer": best,
            "ratio": ours[quantity]["median"] / able[best],
            "low": min(pairs),
            "high": max(pairs),
        }
    return found


def machine() -> dict[str, Any]:
    """Processor, cores, versions, commit, load."""
    from proximo.runs.provenance import git, hardware, versions

    return {
        **hardware(),
        "versions": versions(),
        "git": git(Path(__file__).parent),
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def document(plan: Plan, results: dict[str, Any], have: dict[str, str]) -> dict[str, Any]:
    """Everything as JSON values: where, when, what, how often, and what came out."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        # Where things lie on this machine is nobody's business.
        "command": ["proximo", *(Path(word).name if word.startswith("/") else word for word in sys.argv[1:])],
        "machine": machine(),
        "repeats": plan.repeats,
        "peers": {peer.name: have.get(peer.distribution or "", "script") for peer in plan.peers},
        "peers_torch": have.get("torch"),
        "peers_gymnasium": have.get("gymnasium"),
        "workloads": results,
    }


def busy() -> str | None:
    """A warning where other programs are running."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load / cores <= BUSY:
        return None
    return f"warning: the machine is busy (load {load:.1f} on {cores} cores): times and ratios are noise"
