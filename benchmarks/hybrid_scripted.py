"""A sparse task, and someone who knows how to do it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym


class GoalOnly(gym.Wrapper[Any, Any, Any, Any]):
    """1 for reaching the goal, 0 for everything else."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """The environment ends an episode as terminated only at the goal."""
        obs, _, terminated, truncated, info = self.env.step(action)
        return obs, float(terminated), bool(terminated), truncated, info


class PushAlong:
    """Drives MountainCar's car up the hill: always pushes the way it rolls."""

    def __init__(self, env: Any) -> None:
        self.env = env

    def act(self, obs: Any, info: dict[str, Any]) -> int:
        """0 pushes left, 2 right."""
        return 2 if obs[1] >= 0.0 else 0
