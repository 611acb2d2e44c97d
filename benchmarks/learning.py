"""Does Proximo learn what it must, with its tuned settings? Trains, evaluates, compares with the bars.

    python benchmarks/learning.py --jobs 2                        # everything that has no result yet
    python benchmarks/learning.py --only CartPole-v1 --seeds 0-4
    python benchmarks/learning.py --jobs 16 --time-limit 540      # interrupted runs go on at the next call
    python benchmarks/learning.py --table                         # only the table

The final policy (not the best one seen) plays 20 episodes deterministically, on seeds never used in training.
Results made with other settings than today's tuned ones are left out of the table and run again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from jobs import ROOT, Job, Row, append_row, interval, markdown, parser, read_rows, run_jobs, write_result

sys.path.insert(0, str(ROOT / "src"))

EPISODES = 20
PACKAGES = ("torch", "numpy", "gymnasium", "mujoco", "box2d", "ale-py")


@dataclass(frozen=True)
class Bar:
    """What must be reached."""

    return_: float
    steps: int
    seeds: int
    each: bool = True
    """Every seed must reach it; else the mean over the seeds."""
    source: str = "goal"


ZOO = "rl-baselines3-zoo, v3"
BARS = {
    "CartPole-v1": Bar(475.0, 100_000, 5),
    "Pendulum-v1": Bar(-200.0, 100_000, 3),
    "MountainCarContinuous-v0": Bar(88.0, 100_000, 3),
    "LunarLander-v3": Bar(200.0, 1_000_000, 3),
    "InvertedDoublePendulum-v5": Bar(9_000.0, 1_000_000, 3),
    "HalfCheetah-v5": Bar(5_819.0, 1_000_000, 5, False, ZOO),
    "Hopper-v5": Bar(2_410.0, 1_000_000, 5, False, ZOO),
    "Walker2d-v5": Bar(3_479.0, 1_000_000, 5, False, ZOO),
}


def main() -> int:
    """Run what is missing, print the table; 0 if every bar in question is reached."""
    args = _arguments()
    if args.worker:
        env, seed, folder = args.worker
        return work(env, int(seed), Path(folder), args.set)
    envs = args.only or list(BARS)
    rows = read_rows(args.out)
    if not args.table:
        known = {(row["env"], row["seed"], row["settings"]) for row in rows}
        wanted = [(env, seed) for env in envs for seed in args.seeds or range(_bar(env).seeds)]
        missing = [(e, s) for e, s in wanted if (e, s, digest(e, args.set)) not in known]
        jobs = [_job(env, seed, args) for env, seed in missing]
        run_jobs(jobs, args.jobs, args.time_limit, lambda row: append_row(args.out, row))
        rows = read_rows(args.out)
    text, passed = table(rows, envs, args.set)
    print(text)
    return 0 if passed else 1


def _arguments() -> argparse.Namespace:
    args = parser(__doc__ or "", "learning.jsonl")
    args.formatter_class = argparse.RawDescriptionHelpFormatter
    args.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings to try instead")
    args.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    return args.parse_args()


def _bar(env: str) -> Bar:
    return BARS.get(env, Bar(float("-inf"), sys.maxsize, 3))


def digest(env: str, overrides: list[str]) -> str:
    """Short name of the settings: of the tuned file's content (comments aside) and what overrides it."""
    import yaml

    from proximo.config.load import tuned_file

    file = tuned_file(env)
    content = yaml.safe_load(file.read_text(encoding="utf-8")) if file else {}
    return hashlib.sha256(json.dumps([content, overrides], sort_keys=True).encode()).hexdigest()[:10]


def _job(env: str, seed: int, args: argparse.Namespace) -> Job:
    folder = args.work / "learning" / f"{env.replace('/', '_')}-{digest(env, args.set)}-{seed}"
    command = [sys.executable, str(Path(__file__).resolve()), "--worker", env, str(seed), str(folder)]
    return Job(f"{env} seed {seed}", [*command, *(["--set", *args.set] if args.set else [])], folder)


def work(env: str, seed: int, folder: Path, overrides: list[str]) -> int:
    """One run, in this process: train (or go on with an interrupted training), evaluate, write the result."""
    from proximo.agent import load
    from proximo.config.load import load_experiment
    from proximo.errors import UserError
    from proximo.launch import resume, train
    from proximo.runs.evaluation import evaluate
    from proximo.runs.run import list_runs

    begun = time.monotonic()
    fixed = [f"seed={seed}", "eval.num_evals=0", "device=cpu", "threads=1", f"runs_dir={folder / 'runs'}"]
    runs = list_runs(folder / "runs")
    try:
        result = resume(runs[-1].path) if runs else None
    except UserError as error:
        print(f"cannot go on, starting afresh: {error}")
        result = None
    result = result or train(load_experiment(env, [*overrides, *fixed]))
    clock = folder / "seconds.txt"
    seconds = time.monotonic() - begun + (float(clock.read_text()) if clock.is_file() else 0.0)
    clock.write_text(str(seconds))
    if result.status != "finished":
        return 1
    agent = load(result.run, "last")
    config = agent.experiment
    played = evaluate(agent.policy, config.env, EPISODES, config.eval.seed, True, agent.spec.device)
    row = {
        "env": env,
        "seed": seed,
        "steps": result.step,
        "return_mean": played.return_mean,
        "return_ci95": list(played.return_ci95),
        "episodes": EPISODES,
        "seconds": round(seconds, 1),
        "settings": digest(env, overrides),
        "overrides": overrides,
    }
    write_result(folder, row, PACKAGES)
    return 0


def table(rows: list[Row], envs: list[str], overrides: list[str]) -> tuple[str, bool]:
    """The Markdown table of today's settings, and whether every environment reached its bar."""
    lines, all_passed = [], True
    for env in envs:
        bar = _bar(env)
        mine = [row for row in rows if row["env"] == env and row["settings"] == digest(env, overrides)]
        mine = list({row["seed"]: row for row in sorted(mine, key=lambda r: int(r["seed"]))}.values())
        verdict, passed = _verdict(bar, mine)
        all_passed &= passed
        if not mine:
            lines.append([env, _goal(bar), f"{bar.steps:,}", "", "", "", verdict])
            continue
        returns = [row["return_mean"] for row in mine]
        each = ", ".join(f"{value:.1f}" for value in returns)
        seconds = sum(row["seconds"] for row in mine) / len(mine)
        steps = max(row["steps"] for row in mine)
        lines.append([env, _goal(bar), f"{steps:,}", each, interval(returns), f"{seconds:.0f}", verdict])
    header = ["environment", "bar", "steps", "return of each seed", "mean ± 95 %", "seconds a run", "reached"]
    return "\n".join(markdown(header, lines)), all_passed


def _goal(bar: Bar) -> str:
    if bar.return_ == float("-inf"):
        return "–"
    return f"{bar.return_:g} " + (f"on {bar.seeds} of {bar.seeds} seeds" if bar.each else f"({bar.source})")


def _verdict(bar: Bar, rows: list[Row]) -> tuple[str, bool]:
    if len(rows) < bar.seeds:
        return f"{len(rows)} of {bar.seeds} run", False
    late = [row["seed"] for row in rows if row["steps"] > bar.steps]
    if late:
        return f"no: more than {bar.steps:,} steps", False
    returns = [row["return_mean"] for row in rows]
    if bar.each:
        reached = sum(value >= bar.return_ for value in returns)
        return f"{'yes' if reached == len(returns) else 'no'}: {reached} of {len(returns)}", reached == len(
            returns
        )
    share = sum(returns) / len(returns) / bar.return_
    return f"{'yes' if share >= 1 else 'no'}: {share:.0%}", share >= 1


if __name__ == "__main__":
    sys.exit(main())
