"""An environment of any observation size that costs almost nothing: what `scaling.py` sweeps observations with."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

LENGTH, TABLE = 200, 64


class Signal(gym.vector.VectorEnv[Any, Any, Any]):
    """Observations from a table of noise, reward for the action 1, episodes of a fixed length."""

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP}

    def __init__(self, num_envs: int, width: int = 4) -> None:
        self.num_envs = num_envs
        self.single_observation_space = Box(-np.inf, np.inf, (width,), np.float32)
        self.single_action_space = Discrete(2)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.table = np.random.default_rng(0).standard_normal((TABLE, num_envs, width)).astype(np.float32)
        self.never = np.zeros(num_envs, bool)
        self.at = 0

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """The first row of the table."""
        self.at = 0
        return self.table[0].copy(), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """The next row."""
        self.at += 1
        obs = self.table[self.at % TABLE].copy()
        reward, ended = actions.astype(np.float64), self.never.copy()
        if self.at % LENGTH:
            return obs, reward, ended, self.never.copy(), {}
        final = np.empty(self.num_envs, object)
        final[:] = list(obs)
        return obs, reward, ended, ~ended, {"final_obs": final, "_final_obs": ~ended}
