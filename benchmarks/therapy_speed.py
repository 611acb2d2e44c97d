"""The therapy simulator: sessions per second in a batch and alone, and both bit for bit over whole episodes.

    python benchmarks/therapy_speed.py

One core. The two are timed in turn and the median ratio is printed, which other load on the machine hardly moves.
Exits with 1 where the ratio is below 30 or any number differs.
"""

from __future__ import annotations

import statistics
import sys
import time

import gymnasium
import numpy as np
import torch

from proximo.config.experiment import EnvConfig
from proximo.envs.make import make_env
from proximo.envs.therapy.clients import Clients
from proximo.envs.therapy.env import TherapyEnv
from proximo.envs.therapy.parameters import PATTERNS, Parameters

ID, CLIENTS, ROUNDS, WANTED, EPISODES = "proximo/Therapy-v0", 4096, 7, 30.0, 1000


def batch_speed(actions: torch.Tensor) -> float:
    """Sessions per second of the batch backend, resets included; after as many to spread the episodes."""
    env = make_env(EnvConfig(id=ID, num_envs=CLIENTS, backend="batch"))
    env.reset(0)
    env.step(actions[0])
    begun = time.perf_counter()
    for row in actions:
        env.step(row)
    return actions.numel() / (time.perf_counter() - begun)


def single_speed(actions: torch.Tensor) -> float:
    """Sessions per second of one Gymnasium environment, resets included."""
    env = gymnasium.make(ID, disable_env_checker=True)
    env.reset(seed=0)
    given = actions.flatten()[:1000].tolist()
    begun = time.perf_counter()
    for action in given:
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
    return len(given) / (time.perf_counter() - begun)


def differences() -> int:
    """Episodes of EPISODES, played to the end, in which the batch and the single client ever differ."""
    parameters = {"patterns": PATTERNS, "threshold": 0.6}
    batch, env = Clients(EPISODES, Parameters(**parameters)), TherapyEnv(**parameters)
    batch.begin(np.arange(EPISODES))
    given = np.random.default_rng(0).integers(0, 8, (100, EPISODES))
    played = [(batch.step(row), batch.observe()) for row in given]
    wrong = 0
    for index in range(EPISODES):
        env.reset(seed=index)
        same, over = True, False
        for row, (outcome, seen) in zip(given, played, strict=True):
            obs, reward, terminated, truncated, info = env.step(row[index])
            same &= all(np.array_equal(value, seen[key][index]) for key, value in obs.items())
            same &= (reward, info["rs"], info["bond"], info["perceived_action"]) == (
                outcome.reward[index],
                outcome.rs[index],
                outcome.bond[index],
                outcome.perceived[index],
            )
            over = terminated or truncated
            if over:
                break
        wrong += not (same and over)
    return wrong


def main() -> int:
    """Measure, print, judge."""
    torch.set_num_threads(1)
    # Two full episodes' length, so that resets come as often as they do in training.
    actions = torch.from_numpy(np.random.default_rng(0).integers(0, 8, (200, CLIENTS)))
    ratios, speeds = [], []
    for _ in range(ROUNDS):
        alone, together = single_speed(actions), batch_speed(actions)
        ratios.append(together / alone)
        speeds.append((together, alone))
    ratio = statistics.median(ratios)
    together, alone = (statistics.median(column) for column in zip(*speeds, strict=True))
    print(f"batch of {CLIENTS}: {together:,.0f} sessions/s; single: {alone:,.0f} sessions/s")
    print(f"ratio: {ratio:.0f} (median of {', '.join(f'{r:.0f}' for r in ratios)}; wanted {WANTED:.0f})")
    wrong = differences()
    print(f"bit for bit: {EPISODES - wrong} of {EPISODES} episodes")
    return 0 if ratio >= WANTED and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
