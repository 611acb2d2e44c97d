"""Restoring a running episode: the same seed and the same actions again, or the environment's own state.

Most environments cannot be saved. An episode is however a function of its reset seed and its actions, so the
adapter keeps both and repeats them on resume. Environments (or wrappers) that define `state_dict` and
`load_state_dict` are saved directly.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import (
    OrderEnforcing,
    PassiveEnvChecker,
    TimeLimit,
    TransformAction,
    TransformObservation,
    TransformReward,
)

from proximo.core.seeds import integer_seed
from proximo.envs.spaces import Array, Leaf
from proximo.errors import RunError

_STATELESS = (OrderEnforcing, PassiveEnvChecker, TransformObservation, TransformAction, TransformReward)

GymEnv = gym.Env[Any, Any]


class ActionHistory:
    """The actions of every running episode, appended for all environments at once.

    Rows older than the oldest running episode are dropped, so the memory is that of the longest episode.
    """

    def __init__(self, num_envs: int) -> None:
        self._rows: deque[Array] = deque()
        self._first = 0
        self._begin = [0] * num_envs

    def append(self, actions: Array) -> None:
        """Add `[N, ...]` actions; the array is kept, not copied."""
        self._rows.append(actions)

    def begin(self, index: int) -> None:
        """A new episode of environment `index` begins with the next appended row."""
        self._begin[index] = self._first + len(self._rows)
        keep = min(self._begin)
        while self._first < keep:
            self._rows.popleft()
            self._first += 1

    def length(self, index: int) -> int:
        """Steps of the running episode."""
        return self._first + len(self._rows) - self._begin[index]

    def of(self, index: int) -> list[Array]:
        """Actions of the running episode of environment `index`, oldest first."""
        skip = self._begin[index] - self._first
        return [np.asarray(row[index]) for number, row in enumerate(self._rows) if number >= skip]

    def restore(self, episodes: list[Array]) -> None:
        """Set the running episodes' actions, one `[length, ...]` array per environment."""
        longest = max(len(actions) for actions in episodes)
        self._first, self._rows = 0, deque()
        self._begin = [longest - len(actions) for actions in episodes]
        blank = np.zeros_like(episodes[0][:1]) if len(episodes[0]) else None
        for step in range(longest):
            row = [
                actions[step - begin] if step >= begin else None
                for actions, begin in zip(episodes, self._begin, strict=True)
            ]
            known = next(action for action in row if action is not None)
            filler = blank[0] if blank is not None else np.zeros_like(known)
            self._rows.append(np.stack([filler if action is None else action for action in row]))


class Episodes:
    """Which episode every copy is in: its seed, its actions so far, its name in messages."""

    def __init__(self, env_id: str, num_envs: int, first_env: int) -> None:
        self._env_id, self._first_env = env_id, first_env
        self.seed: int | None = None
        self.index = [0] * num_envs
        self.history = ActionHistory(num_envs)

    def start(self, seed: int, index: list[int]) -> None:
        """Episode number `index` of each copy, under the base seed `seed`, no action taken yet."""
        self.seed, self.index = seed, index
        self.history = ActionHistory(len(index))

    def next(self, env: int) -> None:
        """The next episode of one copy begins."""
        self.index[env] += 1
        self.history.begin(env)

    def seed_of(self, env: int, ahead: int = 0) -> int:
        """What the running episode of one copy (or the `ahead`-th after it) is reset with.

        A hash of base seed, copy and episode.
        """
        assert self.seed is not None
        return integer_seed(self.seed, "env", self._first_env + env, self.index[env] + ahead)

    def name(self, env: int, ahead: int = 0) -> str:
        """For messages: environment, copy, episode, seed."""
        return (
            f"{self._env_id}, environment {self._first_env + env} (episode {self.index[env] + ahead}, "
            f"seed {self.seed_of(env, ahead)})"
        )

    def where(self, env: int, given: Array | None, ahead: int = 0) -> str:
        """`name` with the step and the last of the `[N, ...]` actions, or with the reset if there is none."""
        if given is None:
            return f"{self.name(env, ahead)}, at reset,"
        return f"{self.name(env)}, step {self.history.length(env)}, action {given[env].tolist()},"


def native_owner(env: GymEnv) -> tuple[Any, TimeLimit[Any, Any] | None] | None:
    """The layer of `env` that saves itself, and the time limit above it; None if only replay can restore it.

    Wrappers above it that are not known to be stateless rule it out, because their state would be lost.
    """
    limit: TimeLimit[Any, Any] | None = None
    layer: Any = env
    while True:
        if callable(getattr(type(layer), "state_dict", None)) and callable(
            getattr(type(layer), "load_state_dict", None)
        ):
            return layer, limit
        if type(layer) is TimeLimit and limit is None:
            limit = layer
        elif not isinstance(layer, _STATELESS):
            return None
        layer = layer.env


def save_native(env: GymEnv) -> dict[str, Any] | None:
    """State of an environment that defines `state_dict` (and its time limit's counter), else None."""
    owner = native_owner(env)
    if owner is None:
        return None
    layer, limit = owner
    return {"env": layer.state_dict(), "elapsed": None if limit is None else limit._elapsed_steps}


def load_native(env: GymEnv, state: Mapping[str, Any], where: str) -> None:
    """Put back what `save_native` took; the environment must have been reset before."""
    owner = native_owner(env)
    if owner is None:
        raise RunError(f"{where}: the checkpoint holds its state but it has no load_state_dict any more")
    layer, limit = owner
    layer.load_state_dict(state["env"])
    if limit is not None:
        limit._elapsed_steps = state["elapsed"]


_NOT_REPEATED = (
    "the environment does not repeat itself from seed and actions; give it state_dict and load_state_dict"
)


def describe(error: BaseException) -> str:
    """An exception in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split()) or '(no message)'}"


def replay(env: GymEnv, actions: list[Any], name: str) -> tuple[Any, dict[str, Any]]:
    """Repeat at least one action on a freshly reset environment; last observation and info.

    Raises `RunError` if the episode ends on the way.
    """
    observation: Any = None
    info: dict[str, Any] = {}
    for number, action in enumerate(actions):
        try:
            observation, _, terminated, truncated, info = env.step(action)
        except Exception as error:
            raise RunError(f"{name}, replayed step {number + 1}, raised {describe(error)}") from error
        if terminated or truncated:
            raise RunError(
                f"{name}: replaying the running episode ended it at step {number + 1} of {len(actions)}: "
                f"{_NOT_REPEATED}"
            )
    return observation, info


def compare(
    leaves: tuple[Leaf, ...], env: int, got: Mapping[str, Array], saved: Mapping[str, Array], name: str
) -> None:
    """`RunError` naming the key whose replayed observation (row `env`) is not bitwise the saved one."""
    for leaf in leaves:
        if not np.array_equal(got[leaf.key][env], saved[leaf.key][env]):
            raise RunError(
                f"{name}: after replaying the running episode the observation {leaf.key!r} differs from the "
                f"saved one: {_NOT_REPEATED}"
            )
