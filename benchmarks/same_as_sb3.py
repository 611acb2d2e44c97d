"""The same place in a training, Proximo and the real Stable-Baselines3: every number of a rollout and its update.

    python benchmarks/same_as_sb3.py                           # both environments, trained for 200,000 steps first
    python benchmarks/same_as_sb3.py --envs HalfCheetah-v5
    python benchmarks/same_as_sb3.py --run RUN                 # a finished run of versus_sb3.py; --envs: also those

Proximo goes on from a checkpoint, with the settings of versus_sb3.py. Stable-Baselines3's own code is given its
weights, Adam's moments, actions, seeds of episodes and orders of rows; all else it computes itself. Episodes are cut
after 200 steps, so that there are truncations beside the falls.

By design one thing differs: when scales move. Proximo scales the observations of a rollout with the statistics from
before it, and its rewards with those from after it; Stable-Baselines3 moves both at each step. So both sides are
given Proximo's scales, Stable-Baselines3 also moves its own over the same rows, where both must arrive at the same,
and the second table has the size of the difference over the first updates of a training.

Rounding grows in an update, in float32 at times to more than any bound. So both sides learn a second time in float64,
from the same rows, weights and moments: Proximo by its eager engine, which the tests hold the others to.
Needs stable-baselines3 and the extra `mujoco`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jobs import ROOT, Row, markdown, measured

sys.path.insert(0, str(ROOT / "src"))

from same_as_sb3_pair import CPU, LIMIT, Array, Ours, Reseeded, Theirs, watch
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from versus_sb3 import EPOCHS, NORMALIZE, NUM_ENVS, PACKAGES, experiment

from proximo import UserError, train
from proximo.build import build
from proximo.config.load import load_experiment
from proximo.core.timer import Timer
from proximo.prepare import prepare
from proximo.runs import checkpoint

ENVS = ["Walker2d-v5", "Hopper-v5"]
TRAINED, ROLLOUTS = 200_000, 3
SEED, OTHER_SEED = 0, 4242
"""Of the training, and of what is compared."""
PREFIXES = (1, 2)
"""Epochs after which weights are compared, beside all."""
SHOWN = (1, 2, 3, 6)
"""Updates of which the difference by design is shown."""
ROUNDING, EXACT, STATISTICS, WEIGHTS, WEIGHTS_64 = 1e-5, 0.0, 1e-8, 1e-4, 1e-6
BOUNDS = {
    "raw observations": EXACT,
    "episode starts": EXACT,
    "normalised observations": ROUNDING,
    # A small deviation makes much of little.
    "log-probabilities": 10.0 * ROUNDING,
    "values": ROUNDING,
    "scaled rewards": ROUNDING,
    "advantages": ROUNDING,
    "returns": ROUNDING,
    "statistics of observations: mean (in deviations)": STATISTICS,
    "statistics of observations: variance (relative)": STATISTICS,
    "statistics of rewards: variance (relative)": STATISTICS,
    "weights after 1 epoch": WEIGHTS,
    "weights after 2 epochs": WEIGHTS,
    "weights after 1 epoch, float64": WEIGHTS_64,
    "weights after 2 epochs, float64": WEIGHTS_64,
    f"weights after {EPOCHS} epochs, float64": WEIGHTS_64,
}
"""Largest differences allowed: float32 with seven digits, float64 sums, and weights as a part of the way made."""
SHOWN_ONLY = f"weights after {EPOCHS} epochs"
"""Has no bound: rounding of float32 may grow to anything."""


def main() -> int:
    """Compare, print both tables, write the results; 0 if every bound holds."""
    args = _arguments()
    torch.set_num_threads(1)
    envs = args.envs or ([] if args.run else ENVS)
    try:
        runs = [*(trained(env, args.work) for env in envs), *args.run]
        rows = [compared(run, args.rollouts) for run in runs]
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    for row in rows:
        row["by_design"] = by_design(row["env"])
    found = {"limit": LIMIT, "rollouts": args.rollouts, "rows": rows, **measured(PACKAGES)}
    args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    text, passed = table(rows)
    print(text, design_table(rows), sep="\n\n")
    return 0 if passed else 1


def _arguments() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    found = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    found.add_argument("--envs", nargs="+", metavar="ENV", help=f"to train in (default {' '.join(ENVS)})")
    found.add_argument("--run", nargs="+", type=Path, default=[], metavar="FOLDER", help="finished runs")
    found.add_argument("--rollouts", type=int, default=ROLLOUTS, help=f"to compare (default {ROLLOUTS})")
    out = ROOT / "benchmarks" / "results" / "same_as_sb3.json"
    found.add_argument("--out", type=Path, default=out, help="results file")
    work = ROOT / "runs" / "benchmarks" / "same_as_sb3"
    found.add_argument("--work", type=Path, default=work, help="folder of the runs")
    return found.parse_args()


def trained(env: str, folder: Path) -> Path:
    """A short training's run."""
    result = train(experiment(env, SEED, TRAINED, folder))
    if result.status != "finished":
        sys.exit(1)
    return result.run


def compared(run: Path, rollouts: int) -> Row:
    """The largest differences over some updates from the newest checkpoint of a run, and what was in them."""
    exp = load_experiment(run / "experiment.yaml")
    wanted = experiment(exp.env.id, exp.seed, exp.ppo.total_steps, run)
    folder = checkpoint.pointed(run, "last")
    if (exp.ppo, exp.policy) != (wanted.ppo, wanted.policy) or folder is None:
        raise UserError(f"{run} is no finished run with the settings of versus_sb3.py: take one of its own")
    env = exp.env.model_copy(update={"max_episode_steps": LIMIT})
    ours = Ours(exp.model_copy(update={"seed": OTHER_SEED, "env": env}), checkpoint.load(folder))
    theirs = Theirs(env.id, ours)
    largest_of: dict[str, float] = {}
    ends = {"terminated": 0, "truncated": 0}
    for _ in range(rollouts):
        data, orders, weights = ours.iterate(PREFIXES)
        raw = theirs.collect(ours, data.rollout.action)
        found = rollout_differences(data, theirs.model.rollout_buffer, raw) | statistics(ours, theirs)
        before = ours.weights_before
        found |= weight_differences(before, weights, theirs.learn(ours, orders))
        exact = ours.learn_in_float64(data, (*PREFIXES, EPOCHS))
        found |= weight_differences(before, exact, theirs.learn_in_float64(ours, data, orders), ", float64")
        # NumPy's maximum keeps a NaN.
        largest_of = {n: float(np.maximum(value, largest_of.get(n, 0.0))) for n, value in found.items()}
        for name in ends:
            ends[name] += int(getattr(data.rollout, name).sum())
    return {"env": env.id, "step": int(folder.name), **ends, "largest": largest_of}


def largest(ours: Any, theirs: Any) -> float:
    """Difference between two arrays; NaN where one has it."""
    return float(np.abs(np.asarray(ours, float) - np.asarray(theirs, float)).max())


def rollout_differences(data: Any, buffer: Any, raw: Array) -> dict[str, float]:
    """Of all that is known before learning."""
    rollout = data.rollout
    # Where an episode is cut they add the last observation's value to the reward, and we do not.
    whole = ~rollout.truncated.numpy()
    return {
        "raw observations": largest(rollout.obs["obs"], raw.astype(np.float32)),
        "episode starts": largest(rollout.start, buffer.episode_starts),
        "normalised observations": largest(data.obs["obs"], buffer.observations),
        "log-probabilities": largest(data.logp_old, buffer.log_probs),
        "values": largest(data.value["task"], buffer.values),
        "scaled rewards": largest(data.reward["task"].numpy()[whole], buffer.rewards[whole]),
        "advantages": largest(data.advantage, buffer.advantages),
        "returns": largest(data.target["task"], buffer.returns),
    }


def statistics(ours: Ours, theirs: Theirs) -> dict[str, float]:
    """Of running statistics, moved over the same rows at once and step by step."""
    mean, var = ours.moments.mean.numpy(), ours.moments.var.numpy()
    obs, returns = theirs.watched.before, theirs.watched.ret_rms
    return {
        "statistics of observations: mean (in deviations)": largest(mean / var**0.5, obs.mean / var**0.5),
        "statistics of observations: variance (relative)": largest(var / obs.var, 1.0),
        "statistics of rewards: variance (relative)": largest(ours.scale.moments.var / returns.var, 1.0),
    }


def weight_differences(
    before: torch.Tensor, ours: Sequence[Any], theirs: Sequence[Any], suffix: str = ""
) -> dict[str, float]:
    """Distances as a part of the way that the update has made by then."""
    found = {}
    for epochs, mine in zip((*PREFIXES, EPOCHS), ours, strict=True):
        other = theirs[epochs * len(theirs) // EPOCHS - 1]
        name = f"weights after {epochs} epoch{'s' if epochs > 1 else ''}{suffix}"
        found[name] = float((mine - other).norm() / (other - before).norm())
    return found


def by_design(env: str) -> list[Row]:
    """Root mean square difference between scaled rows of a new training and as Stable-Baselines3 would scale them."""
    exp = experiment(env, SEED, TRAINED, Path())
    built = build(exp, CPU, Timer(), lambda line: None)
    prepare(exp, built)
    newest = watch(built)
    theirs = VecNormalize(DummyVecEnv([lambda: Reseeded(env, SEED, 0)] * NUM_ENVS), **NORMALIZE)
    rows = []
    for update in range(1, max(SHOWN) + 1):
        built.ppo.iterate()
        data = newest()
        obs, rewards = scaled_at_each_step(theirs, data.rollout)
        ours = data.reward["task"].numpy()
        rms = float(((data.obs["obs"].numpy() - obs) ** 2).mean() ** 0.5)
        relative = float((((ours - rewards) ** 2).mean() / (ours**2).mean()) ** 0.5)
        rows.append({"update": update, "observations": rms, "rewards (relative)": relative})
    return [row for row in rows if row["update"] in SHOWN]


def scaled_at_each_step(theirs: VecNormalize, rollout: Any) -> tuple[Array, Array]:
    """Observations `[T, N, D]` and rewards `[T, N]` as Stable-Baselines3 acts on and learns from them."""
    obs, rewards = [], []
    for row, reward, done in zip(
        rollout.obs["obs"].numpy(), rollout.reward.numpy(), rollout.done.numpy(), strict=True
    ):
        theirs.obs_rms.update(row)
        obs.append(theirs.normalize_obs(row))
        theirs._update_reward(reward)
        rewards.append(theirs.normalize_reward(reward))
        theirs.returns[done] = 0.0
    return np.stack(obs), np.stack(rewards)


def table(rows: Sequence[Row]) -> tuple[str, bool]:
    """Quantity by quantity, a column for each run; whether all bounds hold."""
    lines, passed = [], True
    for name, bound in BOUNDS.items():
        values = [row["largest"][name] for row in rows]
        # So that a NaN breaks it too.
        within = all(value <= bound for value in values)
        passed &= within
        words = [_word(bound, 0), "yes" if within else "**no**"]
        lines.append([name, *(_word(value) for value in values), *words])
    lines.append([SHOWN_ONLY, *(_word(row["largest"][SHOWN_ONLY]) for row in rows), "", ""])
    names = [
        f"{row['env']} from step {row['step']:,} ({row['terminated']} falls, {row['truncated']} cut)"
        for row in rows
    ]
    header = ["largest difference", *names, "bound", "within"]
    return "\n".join(markdown(header, lines)), passed


def _word(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}e}" if value else "0"


def design_table(rows: Sequence[Row]) -> str:
    """Environment by environment, each once."""
    lines = []
    for env, found in {row["env"]: row["by_design"] for row in rows}.items():
        for name in ("observations", "rewards (relative)"):
            lines.append([f"{env}, {name}", *(f"{entry[name]:.3f}" for entry in found)])
    header = ["difference by design, root mean square", *(f"update {update}" for update in SHOWN)]
    return "\n".join(markdown(header, lines))


if __name__ == "__main__":
    sys.exit(main())
