"""What only the simulation knows, added to the observation: for bounds and for asymmetric critics."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from proximo.envs.therapy.clients import ALL, Clients, Rows
from proximo.envs.therapy.env import TherapyEnv
from proximo.envs.therapy.octants import NOBODY, OCTANTS, UTILITY_LOW
from proximo.envs.therapy.parameters import MECHANISMS, Parameters
from proximo.errors import UserError


def hidden_spaces(parameters: Parameters) -> dict[str, spaces.Space[Any]]:
    """One space per hidden key."""
    low, high = float(UTILITY_LOW.min()), float(UTILITY_LOW.max()) + parameters.utility_width
    seen = spaces.Discrete(NOBODY + 1)
    return {
        "utility": spaces.Box(0.0, 1.0, (OCTANTS * OCTANTS,), np.float32),
        "rs": spaces.Box(low, high, (1,), np.float32),
        "bond": spaces.Box(0.0, 1.0, (1,), np.float32),
        "entropy": spaces.Box(0.0, np.inf, (1,), np.float32),
        "mechanism": spaces.Box(0.0, 1.0, (len(MECHANISMS),), np.float32),
        "last_actual": seen,
        "last_perceived": seen,
        "distortion_rate": spaces.Box(0.0, 1.0, (1,), np.float32),
        "distortion_on": spaces.Discrete(2),
    }


def hidden(clients: Clients, rows: Rows = ALL) -> dict[str, npt.NDArray[Any]]:
    """The hidden keys of some clients, fresh arrays `[K, ...]`.

    `utility` is scaled to 0 (the client's worst) to 1 (its best); `distortion_rate` is the probability of not
    perceiving truly, 0 where distortion is off.
    """
    low, high = clients.rs_min[rows, None, None], clients.rs_max[rows, None, None]
    utility = (clients.utility[rows] - low) / (high - low)
    on = clients.number("enable_perception", rows)
    code = clients.number("mechanism", rows).astype(np.int64)
    numbers = {
        "rs": clients.rs[rows],
        "bond": clients.bond[rows],
        "entropy": clients.number("entropy", rows),
        "distortion_rate": on * (1.0 - clients.number("baseline_accuracy", rows)),
    }
    return {
        "utility": utility.reshape(-1, OCTANTS * OCTANTS).astype(np.float32),
        **{name: value.astype(np.float32)[:, None] for name, value in numbers.items()},
        "mechanism": np.eye(len(MECHANISMS), dtype=np.float32)[code],
        "last_actual": clients.last_actual[rows].copy(),
        "last_perceived": clients.last_perceived[rows].copy(),
        "distortion_on": on.astype(np.int64),
    }


class Omniscient(gym.ObservationWrapper[dict[str, Any], Any, dict[str, Any]]):
    """Adds the hidden keys to the observation of `proximo/Therapy-v0`.

    In a configuration: `env.wrappers: [{name: "proximo.envs.therapy.omniscient:Omniscient"}]`; the batch backend
    knows this wrapper and adds the same keys. Raises UserError around any other environment.
    """

    def __init__(self, env: gym.Env[dict[str, Any], Any]) -> None:
        super().__init__(env)
        inner = env.unwrapped
        if not isinstance(inner, TherapyEnv):
            raise UserError(f"Omniscient wraps proximo/Therapy-v0, not {type(inner).__name__}")
        self._clients = inner.clients
        shown = inner.observation_space
        assert isinstance(shown, spaces.Dict)
        self.observation_space = spaces.Dict({**shown.spaces, **hidden_spaces(inner.clients.parameters)})

    def observation(self, observation: dict[str, Any]) -> dict[str, Any]:
        """The observation with the hidden keys."""
        added = {key: value[0] for key, value in hidden(self._clients).items()}
        return {**observation, **added}
