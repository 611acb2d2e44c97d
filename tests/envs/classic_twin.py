"""What the tests of the classic-control tasks compare with: Gymnasium's own environments, put into any state."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import torch

from proximo.config.experiment import EnvConfig
from proximo.envs.classic import BatchClassic


def make(env_id, n=4, native=True, first_env=0, **options):
    """The batch under test."""
    return BatchClassic(EnvConfig(id=env_id, **options), n, torch.device("cpu"), first_env, kernels=native)


def gymnasiums(env_id, **options):
    """Gymnasium's environment with its time limit, reset once."""
    with warnings.catch_warnings():
        # CartPole-v0 is meant.
        warnings.filterwarnings("ignore", message=".*is out of date")
        env = gymnasium.make(env_id, **options)
    env.reset(seed=0)
    return env


def sampler(env, seed=0):
    """Random actions of the right kind, Box ones also beyond the bounds."""
    generator = torch.Generator().manual_seed(seed)
    count, space = env.spec.num_envs, env.spec.action_space
    if isinstance(space, gymnasium.spaces.Discrete):
        return lambda: torch.randint(0, int(space.n), (count,), generator=generator)
    bound = 1.5 * float(space.high[0])
    return lambda: (torch.rand((count, 1), generator=generator) * 2 - 1) * bound


def states(env):
    """`[N, 4]`."""
    return env.state_dict()["state"].numpy()


def put(env, state):
    """Set the states, keeping everything else."""
    env.load_state_dict({**env.state_dict(), "state": torch.as_tensor(state, dtype=torch.float64)})


def scattered(env_id, count, generator):
    """States from all over: goals, walls, speed limits and the edges of failure included."""
    low, high = {
        "Acrobot-v1": ([-3.1, -3.1, -12, -28], [3.1, 3.1, 12, 28]),
        "Pendulum-v1": ([-9, -8, 0, 0], [9, 8, 0, 0]),
        "MountainCar-v0": ([-1.2, -0.07, 0, 0], [0.6, 0.07, 0, 0]),
        "MountainCarContinuous-v0": ([-1.2, -0.07, 0, 0], [0.6, 0.07, 0, 0]),
    }.get(env_id, ([-2.5, -3, -0.22, -3], [2.5, 3, 0.22, 3]))
    state = generator.uniform(low, high, (count, 4))
    if env_id.startswith("MountainCar"):
        state[: count // 4, 0] = -1.19
        state = state.astype(np.float32).astype(np.float64)
    return state


def twin_steps(twin, env_id, before, action):
    """Each row's (observation, reward, terminated) of Gymnasium's environment from these states and actions."""
    width = 4 if env_id[:2] in ("Ca", "Ac") else 2
    for row, given in zip(before, action, strict=True):
        twin.state, twin.steps_beyond_terminated = row[:width].copy(), None
        yield twin.step(given.numpy() if given.ndim else int(given))[:3]


def seen_by(step):
    """What was observed after the step, before any reset."""
    seen = step.obs["obs"].clone()
    seen[step.final.index] = step.final.obs["obs"]
    return seen
