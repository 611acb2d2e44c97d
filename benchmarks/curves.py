"""Do the engines learn alike, and what does overlap cost in learning? Whole curves over several seeds.

    python benchmarks/curves.py --jobs 2                 # everything that has no result yet
    python benchmarks/curves.py --only Pendulum-v1 --arms native eager
    python benchmarks/curves.py --table                  # only the table and the picture

The policy plays 20 episodes deterministically at ten moments of every training, on seeds never used in training.
Compared are the last of the ten and their mean, which also tells how fast was learnt. CartPole and Pendulum: tuned
settings, 100,000 steps; HalfCheetah: those of W2a in `proximo bench`, 300,000.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from pathlib import Path

from jobs import ROOT, Job, Row, append_row, interval, markdown, parser, read_rows, run_jobs, write_result
from panels import Panel, over_seeds, write

sys.path.insert(0, str(ROOT / "src"))

EVALS, EPISODES = 10, 20
WIDE = ["env.num_envs=64", "ppo.num_steps=32"]
ARMS = {
    "native": ["engine=native"],
    "eager": ["engine=eager"],
    "compiled": ["engine=compiled"],
    "overlap": ["engine=native", "ppo.overlap=true"],
    "64": ["engine=native", *WIDE],
    "64 overlap": ["engine=native", *WIDE, "ppo.overlap=true"],
}
CLASSIC = ("native", "eager", "compiled", "overlap")
TASKS = {
    "CartPole-v1": CLASSIC,
    "Pendulum-v1": CLASSIC,
    "HalfCheetah-v5": ("native", "eager", "overlap", "64", "64 overlap"),
}
SEEDS = {"compiled": range(3)}
COLOURS = dict(zip(ARMS, ("#0b6bcb", "#d9822b", "#3a9d5d", "#c0392b", "#8a5bb5", "#777777"), strict=True))
WORDS = {arm: f"engine {arm}" if arm in CLASSIC[:3] else arm for arm in ARMS} | {
    "overlap": "native, overlap",
    "64": "native, 64 environments",
    "64 overlap": "native, 64, overlap",
}
PACKAGES = ("torch", "numpy", "gymnasium", "mujoco")


def main() -> int:
    """Run what is missing, print the table, draw the picture."""
    args = _arguments()
    if args.worker:
        env, arm, seed, folder = args.worker
        return work(env, arm, int(seed), Path(folder))
    if not args.table:
        known = {(row["env"], row["arm"], row["seed"]) for row in read_rows(args.out)}
        jobs = [_job(*wanted, args.work) for wanted in _wanted(args) if wanted not in known]
        run_jobs(jobs, args.jobs, args.time_limit, lambda row: append_row(args.out, row))
    rows = read_rows(args.out)
    print(table(rows))
    if args.picture is not None:
        write(
            [_panel(env, rows) for env in TASKS if _curves(rows, env, "native")], WORDS, COLOURS, args.picture
        )
    return 0


def _arguments() -> argparse.Namespace:
    args = parser(__doc__ or "", "curves.jsonl")
    args.formatter_class = argparse.RawDescriptionHelpFormatter
    args.add_argument("--arms", nargs="+", choices=ARMS, metavar="ARM", help=", ".join(ARMS))
    args.add_argument("--picture", type=Path, metavar="FILE", help="write the curves")
    args.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    return args.parse_args()


def _wanted(args: argparse.Namespace) -> list[tuple[str, str, int]]:
    found = []
    for env in args.only or TASKS:
        for arm in args.arms or TASKS[env]:
            seeds = args.seeds or SEEDS.get(arm, range(5))
            found += [(env, arm, seed) for seed in seeds]
    # Seed by seed, so that an interrupted benchmark has something of every arm.
    return sorted(found, key=lambda wanted: wanted[2])


def _job(env: str, arm: str, seed: int, work: Path) -> Job:
    folder = work / "curves" / f"{env}-{arm.replace(' ', '-')}-{seed}"
    command = [sys.executable, str(Path(__file__).resolve()), "--worker", env, arm, str(seed), str(folder)]
    return Job(f"{env} {arm} seed {seed}", command, folder)


def work(env: str, arm: str, seed: int, folder: Path) -> int:
    """One run, in this process; its evaluations are the result."""
    from proximo.launch import train

    begun = time.monotonic()
    fixed = [
        f"eval.num_evals={EVALS}",
        f"eval.episodes={EPISODES}",
        f"seed={seed}",
        "threads=1",
        "device=cpu",
    ]
    result = train(_experiment(env, [*ARMS[arm], *fixed, f"runs_dir={folder / 'runs'}"]))
    if result.status != "finished":
        return 1
    with (result.run / "progress.csv").open(encoding="utf-8") as file:
        curve = [
            (int(row["step"]), float(row["eval/return_mean"]))
            for row in csv.DictReader(file)
            if row["eval/return_mean"]
        ]
    row = {
        "env": env,
        "arm": arm,
        "seed": seed,
        "steps": result.step,
        "return_mean": curve[-1][1],
        "curve": curve,
        "seconds": round(time.monotonic() - begun, 1),
    }
    write_result(folder, row, PACKAGES)
    return 0


def _experiment(env: str, overrides: list[str]):  # type: ignore[no-untyped-def]
    from proximo.bench.worker import settings
    from proximo.bench.workloads import WORKLOADS
    from proximo.config.load import load_experiment

    if env != "HalfCheetah-v5":
        return load_experiment(env, overrides)
    w2a = settings(WORKLOADS["W2a"].as_dict(), "runs")
    return load_experiment(w2a, ["hooks={}", "env.backend=auto", "ppo.total_steps=300000", *overrides])


def _curves(rows: list[Row], env: str, arm: str) -> list[list[list[float]]]:
    mine = {row["seed"]: row["curve"] for row in rows if row["env"] == env and row["arm"] == arm}
    return [mine[seed] for seed in sorted(mine)]


def table(rows: list[Row]) -> str:
    """Last return and mean of the ten by arm, and the difference to the first arm with Welch's 95 % interval."""
    lines = []
    for env, arms in TASKS.items():
        first = _curves(rows, env, "native")
        for arm in arms:
            mine = _curves(rows, env, arm)
            if mine and first:
                cells = [f(mine, first, arm == "native") for f in (_last, _mean)]
                lines.append([env, WORDS[arm], str(len(mine)), *(cell for pair in cells for cell in pair)])
    header = [
        "environment",
        "arm",
        "seeds",
        "last return",
        "beside native",
        "mean of ten evaluations",
        "beside native",
    ]
    return "\n".join(markdown(header, lines))


def _last(mine: list[list[list[float]]], first: list[list[list[float]]], same: bool) -> tuple[str, str]:
    return _beside([curve[-1][1] for curve in mine], [curve[-1][1] for curve in first], same)


def _mean(mine: list[list[list[float]]], first: list[list[list[float]]], same: bool) -> tuple[str, str]:
    a, b = ([sum(v for _, v in curve) / len(curve) for curve in curves] for curves in (mine, first))
    return _beside(a, b, same)


def _beside(a: list[float], b: list[float], same: bool) -> tuple[str, str]:
    from proximo.runs.statistics import difference_ci95

    if same:
        return interval(a), ""
    if min(len(a), len(b)) < 2:
        return interval(a), ""
    low, high = difference_ci95(a, b)
    verdict = "level" if low <= 0.0 <= high else "**apart**"
    return interval(a), f"{sum(a) / len(a) - sum(b) / len(b):+.1f} [{low:.1f}, {high:.1f}] {verdict}"


def _panel(env: str, rows: list[Row]) -> Panel:
    found = {arm: _curves(rows, env, arm) for arm in TASKS[env]}
    curves = {
        arm: over_seeds([s for s, _ in mine[0]], [[v for _, v in curve] for curve in mine])
        for arm, mine in found.items()
        if mine
    }
    return Panel(env, curves)


if __name__ == "__main__":
    sys.exit(main())
