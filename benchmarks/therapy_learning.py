"""Does a therapist learn the simulated client from the sparse reward? Trains, then judges on 1,000 paired clients.

    python benchmarks/therapy_learning.py                              # every threshold, the committed settings
    python benchmarks/therapy_learning.py --only 0.7 --arms sparse curriculum shaping
    python benchmarks/therapy_learning.py --table                      # only the tables
    python benchmarks/therapy_learning.py --table --picture benchmarks/therapy_learning.svg

No arm sees a demonstration. All train on the five default patterns (frequency_amplifier, distortion on), by
`proximo therapy train --config configs/learn.yaml --threshold X`, with what COMMAND adds. The final policy, not the
best one seen, treats the same 1,000 clients as the always complementary therapist, once cold_stuck ones and once of
all five patterns, on seeds never used in training. Results of other settings are left out of the table and run again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs import ROOT, Job, Row, append_row, markdown, parser, read_rows, run_jobs, write_result
from therapy_picture import write

sys.path.insert(0, str(ROOT / "src"))

CLIENTS = 1000
FIVE = ("cold_stuck", "dominant_stuck", "submissive_stuck", "mixed_random", "cold_warm")
KINDS = {"cold_stuck": ("cold_stuck",), "five patterns": FIVE}
PACKAGES = ("torch", "numpy", "gymnasium")
CONFIG = ROOT / "configs" / "learn.yaml"
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
COMMAND: dict[float, dict[str, Any]] = {0.8: {"total_timesteps": 12_000_000, "perception_episodes": 9000}}
"""What the command of a threshold adds to the file."""
SEEDS = (10, 11, 12)
LATER_SEEDS = {0.8: (20, 21, 22)}
"""Seeds that come before these were spent on earlier settings."""
NO_CURRICULUM = {"curriculum_start": None, "perception_start": None}
NO_SHAPING = {"shaping": 0.0}
ARMS: dict[str, dict[str, Any]] = {
    "both": {},
    "curriculum": NO_SHAPING,
    "shaping": NO_CURRICULUM,
    "sparse": {**NO_CURRICULUM, **NO_SHAPING},
}
"""What is taken out of the committed settings."""


def main() -> int:
    """Run what is missing and print the table; 0 if every arm in question is not below complement."""
    args = _arguments()
    if args.worker:
        threshold, arm, seed, folder = args.worker
        return work(float(threshold), arm, int(seed), Path(folder), args.set)
    thresholds = [float(word) for word in args.only or THRESHOLDS]
    arms = args.arms or ["both"]
    rows = read_rows(args.out)
    if not args.table:
        known = {(row["threshold"], row["arm"], row["seed"], row["settings"]) for row in rows}
        jobs = [
            _job(threshold, arm, seed, args)
            for arm in arms
            for threshold in thresholds
            for seed in args.seeds or LATER_SEEDS.get(threshold, SEEDS)
            if (threshold, arm, seed, digest(threshold, arm, args.set)) not in known
        ]
        run_jobs(jobs, args.jobs, args.time_limit, lambda row: append_row(args.out, row))
        rows = read_rows(args.out)
    text, good = table(rows, thresholds, arms, args.set)
    print(text)
    if args.picture:
        draw(args.picture, rows, thresholds, arms, args.set)
    return 0 if good else 1


def _arguments() -> argparse.Namespace:
    args = parser(__doc__ or "", "therapy_learning.jsonl")
    args.formatter_class = argparse.RawDescriptionHelpFormatter
    args.add_argument("--arms", nargs="+", choices=list(ARMS), help="only these")
    args.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings to try instead")
    args.add_argument("--picture", type=Path, metavar="FILE", help="draw what the table shows")
    args.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    return args.parse_args()


def settings(threshold: float, arm: str, changes: Sequence[str]) -> dict[str, Any]:
    """The flat configuration of an arm, without what is as by default (so that new fields change no digest)."""
    from dataclasses import asdict

    from proximo.config import text
    from proximo.recipes.therapy_config import get_default_config, load_config

    values = {
        **asdict(load_config(CONFIG)),
        **COMMAND.get(threshold, {}),
        "threshold": threshold,
        **ARMS[arm],
    }
    for item in changes:
        key, _, value = item.partition("=")
        values[key] = text.parse(value, item, lines=False)
    defaults = {**asdict(get_default_config()), "experiment_name": values["experiment_name"]}
    return {name: value for name, value in values.items() if value != defaults[name]}


def digest(threshold: float, arm: str, changes: Sequence[str]) -> str:
    """Short name of the settings."""
    content = json.dumps(settings(threshold, arm, changes), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:10]


def _job(threshold: float, arm: str, seed: int, args: argparse.Namespace) -> Job:
    name = f"{threshold:g}-{arm}-{digest(threshold, arm, args.set)}-{seed}"
    folder = args.work / "therapy" / name
    words = [sys.executable, str(Path(__file__).resolve()), "--worker", str(threshold), arm, str(seed)]
    command = [*words, str(folder.resolve()), *(["--set", *args.set] if args.set else [])]
    return Job(f"threshold {threshold:g}, {arm}, seed {seed}", command, folder)


def work(threshold: float, arm: str, seed: int, folder: Path, changes: Sequence[str]) -> int:
    """One training and its judgement, in this process."""
    from proximo.recipes import therapy
    from proximo.recipes.therapy_config import resolve

    begun = time.monotonic()
    places = {
        "output_dir": str(folder / "models"),
        "log_dir": str(folder / "logs"),
        "runs_dir": str(folder / "runs"),
    }
    values = settings(threshold, arm, changes)
    result = therapy.start(resolve(None, {**values, **places, "seed": seed}))
    seconds = time.monotonic() - begun
    if result.status != "finished":
        return 1
    row = {
        "threshold": threshold,
        "arm": arm,
        "seed": seed,
        "steps": result.step,
        "return_mean": result.return_mean,
        "judged": judged(str(folder / "models" / "policy_final"), threshold),
        "seconds": round(seconds, 1),
        "settings": digest(threshold, arm, changes),
        "changes": list(changes),
    }
    write_result(folder, row, PACKAGES)
    return 0


def judged(agent: str, threshold: float) -> Row:
    """Success of the agent and of complement, and the paired difference, by kind of clients."""
    import numpy as np

    from proximo.envs.therapy.parameters import Parameters
    from proximo.recipes.therapy_judge import FIRST_SEED, Cell, judge, summary, therapists

    who = therapists([agent], ["complement"])
    seeds = np.arange(FIRST_SEED, FIRST_SEED + CLIENTS)
    found = {}
    for kind, patterns in KINDS.items():
        clients = Parameters(patterns=patterns, threshold=threshold)
        results = {
            name: judge(acts, seeds, clients)
            for name, acts in zip(("agent", "complement"), who.values(), strict=True)
        }
        cell = Cell(kind, clients.mechanism, threshold, results)
        found[kind] = {name: summary(name, result) for name, result in results.items()}
        found[kind]["difference"] = cell.difference("agent", "complement")
    return found


def table(
    rows: list[Row], thresholds: Sequence[float], arms: Sequence[str], changes: Sequence[str]
) -> tuple[str, bool]:
    """A line per threshold, arm and seed; and whether each interval reaches 0 with both kinds of clients."""
    lines, good = [], True
    for threshold in thresholds:
        for arm in arms:
            name = digest(threshold, arm, changes)
            mine = {row["seed"]: row for row in rows if row["settings"] == name and row["arm"] == arm}
            good &= bool(mine)
            for seed, row in sorted(mine.items()):
                cells = [f"{threshold:g}", arm, str(seed), f"{row['steps']:,}", f"{row['seconds']:.0f}"]
                for kind in KINDS:
                    one = row["judged"][kind]
                    mean, low, high = (100 * value for value in one["difference"])
                    good &= high >= 0
                    cells.append(f"{100 * one['agent']['success_rate']:.1f}")
                    cells.append(f"{100 * one['complement']['success_rate']:.1f}")
                    cells.append(f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]{'' if high >= 0 else ' below'}")
                lines.append(cells)
    header = ["threshold", "arm", "seed", "sessions", "seconds"]
    for kind in KINDS:
        header += [f"{kind}: agent %", "complement %", "difference, points"]
    return "\n".join(markdown(header, lines)), good


def draw(
    path: Path, rows: list[Row], thresholds: Sequence[float], arms: Sequence[str], changes: Sequence[str]
) -> None:
    """The picture: a band per threshold, kind of clients and arm."""
    lines = []
    for threshold in thresholds:
        for arm in arms:
            name = digest(threshold, arm, changes)
            mine = [row for row in rows if row["settings"] == name and row["arm"] == arm]
            for kind in KINDS:
                for row in sorted(mine, key=lambda row: row["seed"]):
                    lines.append((f"{threshold:g}, {kind}, {arm}", kind, row["judged"][kind]["difference"]))
    if not lines:
        raise SystemExit(f"--picture {path}: there is no result to draw yet")
    write(path, lines, dict(zip(KINDS, KINDS, strict=True)))


if __name__ == "__main__":
    sys.exit(main())
