"""Environments as the peers make them, and what every side of workload W3 sees of MiniHack: one vector of floats."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

KEYS = ("glyphs_crop", "blstats")


class FlatCrop(gym.ObservationWrapper):
    """A Dict of `KEYS`, the crop of glyphs and the status line, → float32 `[81 + 27]`."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        size = sum(int(np.prod(env.observation_space[key].shape)) for key in KEYS)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (size,), np.float32)

    def observation(self, observation: dict[str, Any]) -> np.ndarray:
        """Row by row, the crop first."""
        return np.concatenate([observation[key].ravel() for key in KEYS], dtype=np.float32)


def make(env_id: str) -> gym.Env:
    """One environment; MiniHack as its own package makes it, with the wrapper."""
    if not env_id.startswith("MiniHack"):
        return gym.make(env_id)
    import minihack  # noqa: F401  (registers its environments)

    return FlatCrop(gym.make(env_id, observation_keys=KEYS, render_mode=None, disable_env_checker=True))
