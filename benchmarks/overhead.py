"""What a run spends on anything but PPO: import, start-up, logging, evaluation, checkpoints.

    python benchmarks/overhead.py                    # ten minutes each: the fastest workload and a physics one
    python benchmarks/overhead.py --minutes 1 --only CartPole-v1

The share is 1 − (act + env + estimate + learn) / wall: phases from the run's `progress.csv`, wall time of the whole
command from its start to its end, evaluation before and after training included. Evaluation and checkpoints are as
by default. One process, one PyTorch thread.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jobs import ROOT, markdown

sys.path.insert(0, str(ROOT / "src"))

PPO_PHASES = ("act", "env", "estimate", "learn")
BAR = 0.02
WORKLOADS = {
    "CartPole-v1": ["env.num_envs=8", "ppo.num_steps=128", "ppo.epochs=4", "ppo.minibatch_size=256"],
    "HalfCheetah-v5": ["env.num_envs=8", "ppo.num_steps=256", "ppo.epochs=10", "ppo.minibatch_size=64"],
}


def main() -> int:
    """Run, print the table, write the results; 0 if every share is within the bar."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "overhead.json")
    args = parser.parse_args()
    from proximo.bench.compare import machine

    earlier = json.loads(args.out.read_text(encoding="utf-8"))["rows"] if args.out.is_file() else []
    found = {row["id"]: row for row in earlier}
    rows = []
    for env in args.only:
        rows.append(measure(env, args.minutes))
        found[env] = {**rows[-1], "machine": machine()}
    args.out.write_text(json.dumps({"rows": list(found.values())}, indent=2) + "\n", encoding="utf-8")
    header = ["environment", "wall s", "updates", *PPO_PHASES, "eval", "log", "rest", "all but PPO", "≤ 2 %"]
    print("\n".join(markdown(header, [_line(row) for row in rows])))
    return 0 if all(row["overhead"] <= BAR for row in rows) else 1


def measure(env: str, minutes: float) -> dict[str, float | str]:
    """One run in a process of its own; its wall time in seconds and the shares of it."""
    with tempfile.TemporaryDirectory() as folder:
        # Far more steps than fit: evaluations and checkpoints are spread over the steps, so they are set by minutes.
        words = ["train", env, "--untuned", *WORKLOADS[env], f"runs_dir={folder}", f"stop.minutes={minutes}"]
        words.append(f"ppo.total_steps={_steps(env, minutes, folder)}")
        begun = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "proximo", *words], check=True, env=_environment(), stdout=sys.stderr
        )
        wall = time.monotonic() - begun
        return {"id": env, "wall": wall, **_shares(Path(folder), wall)}


def _steps(env: str, minutes: float, folder: str) -> int:
    # How far it gets is measured first, so that the run ends by its minutes with most of its evaluations behind it.
    trial = Path(folder) / "trial"
    words = ["train", env, "--untuned", *WORKLOADS[env], f"runs_dir={trial}", "ppo.total_steps=100000"]
    subprocess.run(
        [sys.executable, "-m", "proximo", *words, "eval.num_evals=0"],
        check=True,
        env=_environment(),
        stdout=subprocess.DEVNULL,
    )
    (file,) = trial.rglob("progress.csv")
    with file.open(encoding="utf-8") as rows:
        last = [float(row["steps_per_second"]) for row in csv.DictReader(rows)][5:]
    for run in trial.rglob("*"):
        if run.name == "progress.csv":
            run.unlink()
    return int(1.1 * sorted(last)[len(last) // 2] * minutes * 60)


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def _shares(folder: Path, wall: float) -> dict[str, float]:
    (file,) = folder.rglob("progress.csv")
    with file.open(encoding="utf-8") as rows:
        table = list(csv.DictReader(rows))
    shares = {
        name: sum(float(row[f"time/{name}"] or 0.0) for row in table) / wall
        for name in (*PPO_PHASES, "eval", "log")
    }
    overhead = 1.0 - sum(shares[name] for name in PPO_PHASES)
    rest = overhead - shares["eval"] - shares["log"]
    return {"updates": len(table), **shares, "rest": rest, "overhead": overhead}


def _line(row: dict[str, float | str]) -> list[str]:
    shares = [f"{100 * float(row[name]):.2f} %" for name in (*PPO_PHASES, "eval", "log", "rest", "overhead")]
    verdict = "yes" if float(row["overhead"]) <= BAR else "no"
    return [str(row["id"]), f"{float(row['wall']):.0f}", f"{row['updates']}", *shares, verdict]


if __name__ == "__main__":
    sys.exit(main())
