"""When does a strategic therapist beat a complementary one? A grid of scripted ones, then learnt ones where it pays.

    python benchmarks/therapy_question.py grid    # scripted therapists in every cell: results/therapy_grid.json
    python benchmarks/therapy_question.py learn   # learnt ones in some cells: results/therapy_question.jsonl
    python benchmarks/therapy_question.py table   # both as Markdown, and therapy_question.svg

A cell is a mechanism, a pattern, one parameter changed from its default, and a threshold. In every cell therapists
treat the same clients. `omniscient` answers by the client's true U: a bound on what knowing it is worth, session by
session, not on strategy. `steady` strategically answers what completes the client's most frequent octant of late, for
a therapist who does not waver is perceived truly more often. No scripted therapist looks at the threshold, so one
treatment without an end counts for all thresholds.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jobs import ROOT, Job, append_row, markdown, parser, read_rows, run_jobs, write_result
from therapy_picture import write

sys.path.insert(0, str(ROOT / "src"))

from proximo.envs.hashing import Ints
from proximo.envs.therapy.clients import Clients
from proximo.envs.therapy.octants import COMPLEMENT, OCTANTS
from proximo.envs.therapy.parameters import MECHANISMS, PATTERNS, Parameters, parameters_of
from proximo.envs.therapy.therapists import THERAPISTS, Therapist
from proximo.runs.statistics import paired_difference

CONFIG = ROOT / "configs" / "learn.yaml"
GRID = ROOT / "benchmarks" / "results" / "therapy_grid.json"
PICTURE = ROOT / "benchmarks" / "therapy_question.svg"
GRID_PICTURE = ROOT / "benchmarks" / "therapy_grid.svg"
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
CLIENTS, GRID_CLIENTS = 1000, 300
GRID_SEED = 20_000_000
"""Clients of the grid; those whom learnt therapists are judged with are others, so that none was chosen by luck."""
CHANGES: tuple[dict[str, Any], ...] = (
    {},
    *({"entropy": value} for value in (0.1, 2.0, 10.0)),
    *({"bond_offset": value} for value in (0.3, 0.5, 0.9)),
    *({"baseline_accuracy": value} for value in (0.1, 0.2, 0.8)),
    *({"max_sessions": value} for value in (50, 300)),
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


WHO: dict[str, Therapist] = {
    "complement": THERAPISTS["complement"],
    "omniscient": THERAPISTS["omniscient"],
    "steady": steady,
}


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
    seeds = np.arange(GRID_SEED, GRID_SEED + GRID_CLIENTS)
    rows: list[dict[str, Any]] = []
    for cell in cells():
        parameters = parameters_of(cell)
        results = {name: successes(who, parameters, seeds) for name, who in WHO.items()}
        for threshold in THRESHOLDS:
            row = {"cell": cell, "threshold": threshold}
            one = results["complement"][threshold].astype(float)
            row["complement"] = float(one.mean())
            for name in ("omniscient", "steady"):
                other = results[name][threshold].astype(float)
                row[name] = [float(other.mean()), *(round(x, 4) for x in paired_difference(other, one))]
            rows.append(row)
        print(cell, [round(row["complement"], 3) for row in rows[-5:]], flush=True)
    GRID.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n", encoding="utf-8")


_COLD = {"mechanism": "frequency_amplifier", "patterns": ["cold_stuck"]}
CELLS: tuple[dict[str, Any], ...] = (
    {**_COLD, "baseline_accuracy": 0.8, "threshold": 0.8},
    {**_COLD, "bond_offset": 0.9, "threshold": 0.7},
)
"""Where learnt therapists try: near the default, and where the grid says that knowing U is worth much."""
ARMS: dict[str, dict[str, Any]] = {"knows": {"use_omniscient_wrapper": True}, "sees": {}}
"""What a learnt therapist is shown: the history, or also U, bond and what the client remembers."""
THREE = ("learnt", "complement", "omniscient")
STEPS = 3_000_000


def settings(cell: dict[str, Any], arm: str) -> dict[str, Any]:
    """The flat configuration of a training: the committed one with the cell's clients."""
    return {"total_timesteps": STEPS, "perception_episodes": 3000, **cell, **ARMS[arm]}


def work(index: int, arm: str, seed: int, folder: Path) -> int:
    """One training and its judgement, in this process."""
    from proximo.recipes import therapy
    from proximo.recipes.therapy_config import resolve
    from proximo.recipes.therapy_judge import FIRST_SEED, Cell, judge, summary, therapists

    places = {name: str(folder / name[:-4]) for name in ("output_dir", "log_dir", "runs_dir")}
    cell = CELLS[index]
    result = therapy.start(resolve(CONFIG, {**settings(cell, arm), **places, "seed": seed}))
    if result.status != "finished":
        return 1
    clients = parameters_of(cell)
    seeds = np.arange(FIRST_SEED, FIRST_SEED + CLIENTS)
    who = {**therapists([places["output_dir"] + "/policy_final"], ["complement", "omniscient"])}
    results = {name: judge(acts, seeds, clients) for name, acts in zip(THREE, who.values(), strict=True)}
    compared = Cell("", clients.mechanism, clients.threshold, results)
    row = {
        "cell": cell,
        "arm": arm,
        "seed": seed,
        "steps": result.step,
        "return_mean": result.return_mean,
        "judged": {name: summary(name, one) for name, one in results.items()},
        "difference": {name: compared.difference(name, "complement") for name in ("learnt", "omniscient")},
    }
    write_result(folder, row, ("torch", "numpy", "gymnasium"))
    return 0


def learn(args: argparse.Namespace) -> None:
    """Train what is missing."""
    known = {(json.dumps(row["cell"]), row["arm"], row["seed"]) for row in read_rows(args.out)}
    jobs = []
    for seed, index, arm in itertools.product(args.seeds or range(3), range(len(CELLS)), ARMS):
        if (json.dumps(CELLS[index]), arm, seed) in known:
            continue
        name = hashlib.sha256(json.dumps([CELLS[index], arm, seed]).encode()).hexdigest()[:10]
        folder = (args.work / "question" / name).resolve()
        words = [sys.executable, str(Path(__file__).resolve()), "--worker", str(index), arm, str(seed)]
        jobs.append(Job(f"{CELLS[index]}, {arm}, seed {seed}", [*words, str(folder)], folder))
    run_jobs(jobs, args.jobs, args.time_limit, lambda row: append_row(args.out, row))


def report(rows: list[dict[str, Any]]) -> str:
    """Both tables as Markdown."""
    text = []
    if GRID.is_file():
        found = json.loads(GRID.read_text(encoding="utf-8"))
        text.append(grid_report(found))
        draw_grid(found)
    if rows:
        text.append(learnt_report(rows))
        draw(rows)
    return "\n\n".join(text)


def grid_report(rows: list[dict[str, Any]]) -> str:
    """How often a scripted therapist beats complement in the grid, and where by most."""
    text = []
    for name in ("omniscient", "steady"):
        above = [row for row in rows if row[name][2] > 0]
        below = [row for row in rows if row[name][3] < 0]
        text.append(
            f"{name}: interval above complement in {len(above)} of {len(rows)} cells, below in {len(below)}."
        )
        lines = [
            [
                *(described(row["cell"]), f"{row['threshold']:g}", f"{100 * row['complement']:.1f}"),
                *(f"{100 * row[name][0]:.1f}", points(row[name][1:])),
            ]
            for row in sorted(above, key=lambda row: -row[name][2])[:8]
        ]
        header = ["cell", "threshold", "complement %", f"{name} %", "difference, points"]
        text += ["\n".join(markdown(header, lines))] if lines else []
    return "\n\n".join(text)


def learnt_report(rows: list[dict[str, Any]]) -> str:
    """Learnt therapists in the chosen cells, a line per training."""
    lines = [
        [described(row["cell"]), f"{row['cell']['threshold']:g}", row["arm"], str(row["seed"])]
        + [
            f"{100 * row['judged'][name]['success_rate']:.1f}"
            for name in ("learnt", "complement", "omniscient")
        ]
        + [points(row["difference"]["learnt"]), points(row["difference"]["omniscient"])]
        for row in sorted(rows, key=order)
    ]
    header = ["cell", "threshold", "arm", "seed", "learnt %", "complement %", "omniscient %"]
    return "\n".join(markdown([*header, "learnt − complement", "omniscient − complement"], lines))


def order(row: dict[str, Any]) -> tuple[str, float, str, int]:
    """Cells together, then arms, then seeds."""
    return described(row["cell"]), row["cell"]["threshold"], row["arm"], row["seed"]


def described(cell: dict[str, Any]) -> str:
    """A cell in words, without its threshold."""
    rest = [f"{k}={v}" for k, v in cell.items() if k not in ("mechanism", "patterns", "threshold")]
    return ", ".join([cell["mechanism"], "+".join(cell["patterns"]), *rest])


def points(difference: Any) -> str:
    """Mean and interval in points."""
    mean, low, high = (100 * value for value in difference)
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def draw_grid(rows: list[dict[str, Any]]) -> None:
    """The grid's picture: a band per changed parameter, over mechanisms, patterns and thresholds."""
    lines = []
    for change in CHANGES:
        rest = [
            row
            for row in rows
            if {k: v for k, v in row["cell"].items() if k not in ("mechanism", "patterns")} == change
        ]
        title = ", ".join(f"{key}={value}" for key, value in change.items()) or "default"
        for name in ("omniscient", "steady"):
            differences = [row[name][1] for row in rest]
            spread = (float(np.mean(differences)), min(differences), max(differences))
            lines.append((f"{title}: {len(rest)} cells", name, spread))
    caption = "success minus complement’s, points: mean, least and most over the cells"
    write(GRID_PICTURE, lines, {"omniscient": "omniscient", "steady": "steady"}, caption)


LEGEND = {"sees": "learnt, sees the history", "knows": "learnt, knows U", "omniscient": "scripted, knows U"}


def draw(rows: list[dict[str, Any]]) -> None:
    """The picture: a band per cell."""
    lines: list[tuple[str, str, Any]] = []

    def band(row: dict[str, Any]) -> str:
        return f"{described(row['cell'])}, {row['cell']['threshold']:g}"

    for title, group in itertools.groupby(sorted(rows, key=order), key=band):
        of_cell = list(group)
        lines += [(title, row["arm"], row["difference"]["learnt"]) for row in of_cell]
        lines.append((title, "omniscient", of_cell[0]["difference"]["omniscient"]))
    write(PICTURE, lines, LEGEND)


def main() -> int:
    """Do what was asked for."""
    args = parser(__doc__ or "", "therapy_question.jsonl")
    args.formatter_class = argparse.RawDescriptionHelpFormatter
    args.add_argument("what", nargs="?", choices=("grid", "learn", "table"), default="table")
    args.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    given = args.parse_args()
    if given.worker:
        index, arm, seed, folder = given.worker
        return work(int(index), arm, int(seed), Path(folder))
    if given.what == "grid":
        grid()
    elif given.what == "learn":
        learn(given)
    print(report(read_rows(given.out)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
