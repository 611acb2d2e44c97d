"""Proximo and Stable-Baselines3 side by side: the same hyper-parameters, the same evaluation, equal seeds.

    python benchmarks/versus_sb3.py --jobs 16 --time-limit 540    # what has no result yet; then the table
    python benchmarks/versus_sb3.py --only Hopper-v5 --seeds 0-1 --sides proximo
    python benchmarks/versus_sb3.py --table                       # only the table

Both run 8 environments in one process and one thread, with the networks, Adam, initialisation and clipping that
Stable-Baselines3 has by default, and normalise observations and rewards. The final policies play 20 episodes
deterministically on environments of their own, one by one, with statistics frozen, through the same function.
What differs: Proximo sets its observation statistics from 256 random steps (counted) and then moves them after
each update, Stable-Baselines3 at each step.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs import ROOT, Job, Row, append_row, interval, markdown, parser, read_rows, run_jobs, write_result

sys.path.insert(0, str(ROOT / "src"))

ENVS = ("HalfCheetah-v5", "Hopper-v5", "Walker2d-v5")
SIDES = ("sb3", "proximo")
STEPS, NUM_ENVS, NUM_STEPS, MINIBATCH, EPOCHS = 1_000_000, 8, 256, 64, 10
RATE, GAMMA, LAMBDA, CLIP, ENTROPY, VALUE, GRADIENT = 3e-4, 0.99, 0.95, 0.2, 0.0, 0.5, 0.5
HIDDEN, CLIP_OBS, CLIP_REWARD = [64, 64], 10.0, 10.0
NORMALIZE = {"gamma": GAMMA, "clip_obs": CLIP_OBS, "clip_reward": CLIP_REWARD}
"""What Stable-Baselines3's `VecNormalize` is given."""
EPISODES, EVAL_SEED, SEEDS = 20, 1_000_000, 5
BAR = 0.95
PACKAGES = ("torch", "numpy", "gymnasium", "mujoco", "stable-baselines3")

Actor = Callable[[Any], Any]


def main() -> int:
    """Run what is missing, print the table; 0 if every ratio reaches the bar."""
    args = _arguments()
    if args.worker:
        side, env, seed, folder = args.worker
        return work(side, env, int(seed), args.steps, Path(folder))
    envs = args.only or list(ENVS)
    rows = read_rows(args.out)
    if not args.table:
        known = {(row["side"], row["env"], row["seed"], row["wanted"]) for row in rows}
        # Seed by seed, so that an interrupted benchmark has pairs to compare.
        wanted = [
            (side, env, seed) for seed in args.seeds or range(SEEDS) for env in envs for side in args.sides
        ]
        jobs = [_job(*key, args) for key in wanted if (*key, args.steps) not in known]
        run_jobs(jobs, args.jobs, args.time_limit, lambda row: append_row(args.out, row))
        rows = read_rows(args.out)
    text, passed = table([row for row in rows if row["wanted"] == args.steps], envs)
    print(text)
    return 0 if passed else 1


def _arguments() -> argparse.Namespace:
    args = parser(__doc__ or "", "versus_sb3.jsonl")
    args.formatter_class = argparse.RawDescriptionHelpFormatter
    args.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    args.add_argument("--steps", type=int, default=STEPS, help=f"environment steps (default {STEPS:,})")
    args.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    return args.parse_args()


def _job(side: str, env: str, seed: int, args: argparse.Namespace) -> Job:
    folder = args.work / "versus_sb3" / f"{env}-{side}-{seed}-{args.steps}"
    words = ["--worker", side, env, str(seed), str(folder), "--steps", str(args.steps)]
    return Job(f"{env} {side} seed {seed}", [sys.executable, str(Path(__file__).resolve()), *words], folder)


def work(side: str, env: str, seed: int, wanted: int, folder: Path) -> int:
    """One run, in this process."""
    import torch

    torch.set_num_threads(1)
    begun = time.monotonic()
    # As many whole rollouts as fit, so that both sides take the same number of updates.
    steps = wanted // (NUM_ENVS * NUM_STEPS) * NUM_ENVS * NUM_STEPS
    train = {"sb3": _train_sb3, "proximo": _train_proximo}[side]
    act, taken = train(env, seed, steps, folder)
    seconds = time.monotonic() - begun
    returns = play(env, act)
    row = {
        "side": side,
        "env": env,
        "seed": seed,
        "wanted": wanted,
        "steps": taken,
        "return_mean": sum(returns) / len(returns),
        "returns": [round(value, 2) for value in returns],
        "seconds": round(seconds, 1),
    }
    write_result(folder, row, PACKAGES)
    return 0


def experiment(env: str, seed: int, steps: int, folder: Path) -> Any:
    """Proximo's side: an `Experiment` whose runs go to `folder`."""
    from proximo import Experiment

    return Experiment(
        seed=seed,
        device="cpu",
        threads=1,
        runs_dir=str(folder),
        env={"id": env, "num_envs": NUM_ENVS},
        policy={
            "hidden_sizes": HIDDEN,
            "activation": "Tanh",
            "head": {"type": "gaussian", "log_std_init": 0.0},
            "obs_clip": CLIP_OBS,
        },
        ppo={
            "total_steps": steps,
            "num_steps": NUM_STEPS,
            "epochs": EPOCHS,
            "minibatch_size": MINIBATCH,
            "learning_rate": RATE,
            "gamma": GAMMA,
            "gae_lambda": LAMBDA,
            "clip": CLIP,
            "entropy_coef": ENTROPY,
            "value_coef": VALUE,
            "max_grad_norm": GRADIENT,
            "reward_clip": CLIP_REWARD,
        },
        eval={"num_evals": 0},
        checkpoint={"every": steps},
    )


def sb3_model(vector: Any, seed: int) -> Any:
    """Stable-Baselines3's side, on normalised environments."""
    from stable_baselines3 import PPO

    return PPO(
        "MlpPolicy",
        vector,
        learning_rate=RATE,
        n_steps=NUM_STEPS,
        batch_size=MINIBATCH,
        n_epochs=EPOCHS,
        gamma=GAMMA,
        gae_lambda=LAMBDA,
        clip_range=CLIP,
        ent_coef=ENTROPY,
        vf_coef=VALUE,
        max_grad_norm=GRADIENT,
        policy_kwargs={"net_arch": {"pi": HIDDEN, "vf": HIDDEN}, "log_std_init": 0.0},
        seed=seed,
        device="cpu",
    )


def _train_proximo(env: str, seed: int, steps: int, folder: Path) -> tuple[Actor, int]:
    from proximo import load, train

    result = train(experiment(env, seed, steps, folder / "runs"))
    if result.status != "finished":
        sys.exit(1)
    agent = load(result.run, "last")
    return agent.act, result.step


def _train_sb3(env: str, seed: int, steps: int, folder: Path) -> tuple[Actor, int]:
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecNormalize

    vector = VecNormalize(make_vec_env(env, n_envs=NUM_ENVS, seed=seed), **NORMALIZE)
    model = sb3_model(vector, seed)
    model.learn(steps)
    vector.training = False

    def act(obs: Any) -> Any:
        return model.predict(vector.normalize_obs(obs), deterministic=True)[0]

    return act, int(model.num_timesteps)


def play(env_id: str, act: Actor) -> list[float]:
    """Returns of the episodes of a fixed list of seeds."""
    import gymnasium

    env = gymnasium.make(env_id)
    returns = []
    for episode in range(EPISODES):
        obs, _ = env.reset(seed=EVAL_SEED + episode)
        total, done = 0.0, False
        while not done:
            obs, reward, terminated, truncated, _ = env.step(act(obs))
            total += float(reward)
            done = terminated or truncated
        returns.append(total)
    env.close()
    return returns


def table(rows: list[Row], envs: list[str]) -> tuple[str, bool]:
    """Per environment: mean ± 95 % over seeds of both sides, the ratio of means, seconds a run."""
    lines, all_passed = [], True
    for env in envs:
        found = {side: _by_seed(rows, env, side) for side in SIDES}
        seeds = sorted(set(found["sb3"]) & set(found["proximo"]))
        if not seeds:
            all_passed = False
            lines.append([env, "0", "", "", "", "", "not run"])
            continue
        theirs, ours = ([found[side][seed] for seed in seeds] for side in SIDES)
        means = [sum(row["return_mean"] for row in side) / len(side) for side in (theirs, ours)]
        ratio = means[1] / means[0]
        enough = len(seeds) >= SEEDS
        all_passed &= enough and ratio >= BAR
        verdict = ("yes" if ratio >= BAR else "no") if enough else f"{len(seeds)} of {SEEDS} seeds"
        texts = [interval([row["return_mean"] for row in side]) for side in (theirs, ours)]
        times = " / ".join(f"{sum(r['seconds'] for r in side) / len(side):.0f}" for side in (theirs, ours))
        lines.append([env, str(len(seeds)), *texts, f"{ratio:.2f}", times, verdict])
    header = [
        "environment",
        "seeds",
        "SB3: mean ± 95 %",
        "Proximo: mean ± 95 %",
        "ratio",
        "seconds a run, SB3 / Proximo",
        f"ratio ≥ {BAR}",
    ]
    return "\n".join(markdown(header, lines)), all_passed


def _by_seed(rows: list[Row], env: str, side: str) -> dict[int, Row]:
    return {row["seed"]: row for row in rows if row["env"] == env and row["side"] == side}


if __name__ == "__main__":
    sys.exit(main())
