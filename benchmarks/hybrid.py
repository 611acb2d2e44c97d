"""Do demonstrations help? The hybrid beside its data, the clone, fine-tuning, symmetric sampling and scratch.

    python benchmarks/hybrid.py --only Hopper-v5 --seeds 0-4     # everything that has no result yet
    python benchmarks/hybrid.py --arms scratch --time-limit 540  # interrupted runs go on at the next call
    python benchmarks/hybrid.py --table                          # the tables, from what is there
    python benchmarks/hybrid.py --picture benchmarks/hybrid.svg  # returns over steps, with intervals

Every arm has the same budget of environment steps, settings of PPO (the tuned ones), seeds and evaluation: the final
policy, not the best one seen, plays 20 episodes by its mode on seeds never used in training. The demonstrator is a
training of seed 50, taken at its newest checkpoint whose recorded mean return is not above scratch's mean final
return; where chance never solves the task, it is a scripted policy. The settings of the arms were chosen on seeds
from 100.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybrid_plot import picture
from hybrid_table import tables
from jobs import ROOT, Job, append_row, parser, read_rows, run_jobs, write_result

sys.path.insert(0, str(ROOT / "src"))

EPISODES = 20
EVALS = 15
PACKAGES = ("torch", "numpy", "gymnasium", "mujoco", "minari")
DEMONSTRATOR = 50
ARMS = ("scratch", "clone", "finetune", "symmetric", "hybrid")
SCRIPTED = "benchmarks/hybrid_scripted.py:PushAlong"
GOAL_ONLY = "env.wrappers=[{name: 'benchmarks/hybrid_scripted.py:GoalOnly'}]"


@dataclass(frozen=True)
class Task:
    """An environment, its budget, and where its demonstrations come from."""

    steps: int
    demos: int
    """Recorded episodes."""
    scripted: bool = False
    settings: tuple[str, ...] = ()
    """Of all arms."""


TASKS = {
    "Walker2d-v5": Task(300_000, 20),
    "Hopper-v5": Task(300_000, 40),
    "HalfCheetah-v5": Task(300_000, 20),
    "MountainCar-v0": Task(100_000, 20, scripted=True, settings=(GOAL_ONLY,)),
}
CLONING = (
    "demos.expert.mix_ratio=1",
    "demos.expert.segment=1",
    "ppo.surrogate=false",
    "ppo.value_coef=0",
    "ppo.epochs=1",
    "ppo.lr_schedule=constant",
    "ppo.learning_rate=1e-3",
    "ppo.minibatch_size=128",
    "losses.clone={type: cloning}",
)
CLONE_PASSES = 20
ARM_SETTINGS: dict[str, tuple[str, ...]] = {
    "scratch": (),
    "clone": CLONING,
    "finetune": (),
    "symmetric": ("demos.expert.mix_ratio=0.5", "demos.expert.ood=false"),
    "hybrid": (
        "demos.expert.mix_ratio=0.5",
        "demos.expert.mix_ratio_end=0",
        "demos.expert.c_bar=0.95",
        # A pull towards the data for the whole training would hold the agent to what it soon surpasses.
        "losses.clone={type: cloning, weight: 0.005, weight_end: 0, until: 0.3}",
        "warm_start_steps=8192",
    ),
}
FROM_CLONE = ("finetune", "hybrid")


def main() -> int:
    """Run what is missing, print the tables; 0 if all of it is there."""
    args = _arguments()
    if args.worker:
        env, arm, seed, folder = args.worker
        return work(env, arm, int(seed), Path(folder), args.work, args.set)
    envs, arms, seeds = args.only or list(TASKS), args.arms or list(ARMS), args.seeds or list(range(5))
    if not args.table and not args.picture:
        known = {(r["env"], r["arm"], r["seed"], r["settings"]) for r in read_rows(args.out)}
        wanted = [(e, a, s) for s in seeds for e in envs for a in ARMS if a in arms]
        missing = [(e, a, s) for e, a, s in wanted if (e, a, s, digest(e, a, args.set)) not in known]
        jobs = [_job(*which, args) for which in missing]
        run_jobs(jobs, args.jobs, args.time_limit, lambda row: append_row(args.out, row))
    rows = [r for r in read_rows(args.out) if r["settings"] == digest(r["env"], r["arm"], args.set)]
    print(tables(rows, envs, list(ARMS)))
    if args.picture:
        picture(rows, envs, args.picture)
    have = {(r["env"], r["arm"], r["seed"]) for r in rows}
    return 0 if all((e, a, s) in have for e in envs for a in arms for s in seeds) else 1


def _arguments() -> argparse.Namespace:
    args = parser(__doc__ or "", "hybrid.jsonl")
    args.formatter_class = argparse.RawDescriptionHelpFormatter
    args.add_argument("--arms", nargs="+", choices=ARMS, help="only these")
    args.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings to try in the hybrid"
    )
    args.add_argument("--picture", type=Path, metavar="FILE", help="write the curves")
    args.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    return args.parse_args()


def settings(env: str, arm: str, changes: Sequence[str] = ()) -> list[str]:
    """What is written behind `proximo train ENV` for this arm, places and seed aside."""
    task = TASKS[env]
    found = [f"ppo.total_steps={task.steps}", *task.settings, *ARM_SETTINGS[arm]]
    return [*found, *changes] if arm == "hybrid" else found


def digest(env: str, arm: str, changes: Sequence[str]) -> str:
    """Short name of the settings: the tuned file's content, what overrides it, and the clone's that it begins with."""
    import yaml

    from proximo.config.load import tuned_file

    file = tuned_file(env)
    content = yaml.safe_load(file.read_text(encoding="utf-8")) if file else {}
    made = [content, TASKS[env].demos, settings(env, arm, changes)]
    if arm in FROM_CLONE:
        made += [CLONE_PASSES, settings(env, "clone")]
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:10]


def _job(env: str, arm: str, seed: int, args: argparse.Namespace) -> Job:
    folder = place(args.work, env, arm, seed, args.set)
    command = [sys.executable, str(Path(__file__).resolve()), "--worker", env, arm, str(seed)]
    command += [str(folder), "--work", str(args.work)]
    return Job(f"{env} {arm} seed {seed}", [*command, *(["--set", *args.set] if args.set else [])], folder)


def place(work: Path, env: str, arm: str, seed: int, changes: Sequence[str] = ()) -> Path:
    """The folder of a run."""
    return work / "hybrid" / f"{env}-{arm}-{digest(env, arm, changes if arm == 'hybrid' else ())}-{seed}"


def work(env: str, arm: str, seed: int, folder: Path, root: Path, changes: Sequence[str]) -> int:
    """One run, in this process: what it needs, the training, the evaluation, the result."""
    os.environ["MINARI_DATASETS_PATH"] = str(root / "hybrid" / "datasets")
    begun = time.monotonic()
    needed: list[str] = []
    if arm != "scratch":
        needed.append(f"demos.expert.datasets=[{demonstrations(env, root)}]")
    if arm == "clone":
        needed.append(f"ppo.total_steps={CLONE_PASSES * _rows(env, root)}")
    if arm in FROM_CLONE:
        clone = place(root, env, "clone", seed)
        _train(env, "clone", seed, clone, [*needed, f"ppo.total_steps={CLONE_PASSES * _rows(env, root)}"])
        needed.append(f"init_from={_run(clone)}")
    if arm == "finetune":
        needed = [item for item in needed if not item.startswith("demos.")]
    run = _train(env, arm, seed, folder, [*changes, *needed] if arm == "hybrid" else needed)
    if run is None:
        return 1
    row = {"env": env, "arm": arm, "seed": seed, **judged(run), "data_return_mean": None}
    if arm != "scratch":
        row["data_return_mean"] = _data(env, root).return_mean
    row |= {"seconds": round(time.monotonic() - begun, 1), "settings": digest(env, arm, changes)}
    row["changes"] = list(changes) if arm == "hybrid" else []
    write_result(folder, row, PACKAGES)
    return 0


def _train(env: str, arm: str, seed: int, folder: Path, needed: Sequence[str]) -> Path | None:
    """Train, or go on with what was begun; the run when it is finished."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "training.lock").open("w") as lock:
        # The arms that begin with a clone may come while another process makes it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _train_alone(env, arm, seed, folder, needed)


def _train_alone(env: str, arm: str, seed: int, folder: Path, needed: Sequence[str]) -> Path | None:
    from proximo.config.load import load_experiment
    from proximo.launch import resume, train
    from proximo.runs.run import list_runs

    runs = list_runs(folder / "runs")
    if runs and runs[-1].status().state == "finished":
        return runs[-1].path
    evals = 0 if arm == "clone" else EVALS
    fixed = [f"seed={seed}", f"eval.num_evals={evals}", "eval.episodes=5", "device=cpu", "threads=1"]
    # Bit for bit as the other backends, and quicker where other programs keep the cores busy.
    fixed += ["env.backend=sync"]
    fixed += [f"runs_dir={folder / 'runs'}", "checkpoint.keep=100", *needed]
    if runs and runs[-1].status().state != "failed":
        result = resume(runs[-1].path, verbosity=-1)
    else:
        result = train(load_experiment(env, [*settings(env, arm), *fixed]), verbosity=-1)
    return result.run if result.status == "finished" else None


def _run(folder: Path) -> Path:
    """The finished run of a folder, at its last checkpoint."""
    from proximo.runs.run import list_runs

    return list_runs(folder / "runs")[-1].path / "last"


def judged(run: Path) -> dict[str, Any]:
    """The final policy's evaluation, and the evaluations on the way."""
    import csv

    from proximo.agent import load
    from proximo.runs.evaluation import evaluate, random_baseline

    agent = load(run, "last")
    config = agent.experiment
    played = evaluate(agent.policy, config.env, EPISODES, config.eval.seed + 500, True, agent.spec.device)
    with (run / "progress.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    cells = [(int(r["step"]), r.get("eval/return_mean", "")) for r in rows]
    return {
        "steps": int(rows[-1]["step"]),
        "return_mean": played.return_mean,
        "success_rate": played.success_rate,
        "random": random_baseline(config.env, EPISODES, config.eval.seed + 500).return_mean,
        "curve": [[step, float(value)] for step, value in cells if value],
    }


def demonstrations(env: str, root: Path) -> str:
    """The name of the recorded data set; records it where it is missing. Needs scratch's results."""
    from proximo.cli.main import main as proximo

    name = f"benchmark/{env.lower()}/medium-v0"
    if (root / "hybrid" / "datasets" / name).exists():
        return name
    task = TASKS[env]
    words = ["demos", "record", "--dataset", name, "--episodes", str(task.demos)]
    if task.scripted:
        assert proximo([*words, env, *task.settings, "--policy", SCRIPTED]) == 0
        return name
    bar = _scratch(env, root)
    folder = place(root, env, "scratch", DEMONSTRATOR)
    run = _train(env, "scratch", DEMONSTRATOR, folder, ["checkpoint.every=20000"])
    assert run is not None
    steps = sorted((int(p.name) for p in (run / "checkpoints").iterdir()), reverse=True)
    for step in steps:
        assert proximo([*words, str(run / "checkpoints" / str(step)), "--overwrite"]) == 0
        if _data(env, root).return_mean <= bar:
            return name
    raise SystemExit(f"{env}: no checkpoint of the demonstrator is as weak as scratch ({bar:.0f})")


def _scratch(env: str, root: Path) -> float:
    """Scratch's mean final return over the seeds that have one."""
    results = [place(root, env, "scratch", seed) / "result.json" for seed in range(5)]
    known = [
        json.loads(file.read_text(encoding="utf-8"))["return_mean"] for file in results if file.is_file()
    ]
    if len(known) < 3:
        raise SystemExit(f"{env}: the demonstrator is chosen by scratch's results; run --arms scratch first")
    return sum(known) / len(known)


def _data(env: str, root: Path) -> Any:
    from proximo.demos.minari import load_demos

    return load_demos([f"benchmark/{env.lower()}/medium-v0"])


def _rows(env: str, root: Path) -> int:
    return int(_data(env, root).rows)


if __name__ == "__main__":
    sys.exit(main())
