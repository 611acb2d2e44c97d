"""Resets ahead of time: a spare environment beside each copy, reset while there is nothing else to do.

An episode is a function of its seed and its actions, and the seed of the next one is known before the present one
ends. So a spare can be reset early and take the place of the copy whose episode ended: the same data, sooner.
Not for environments that carry something from one episode into the next; those must say so or not ask for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from proximo.envs.layers import layer_with
from proximo.envs.replay import GymEnv, native_owner
from proximo.envs.spaces import Array
from proximo.errors import RunError, UserError

if TYPE_CHECKING:
    from proximo.config.experiment import EnvConfig

EXPENSIVE = ("NetHack", "MiniHack", "NLE")
"""Ids (after their namespace) beginning so are known for resets that cost many steps."""


def expensive(env_id: str) -> bool:
    """Whether an id is known for steps and resets that are worth a process of their own."""
    return env_id.rpartition("/")[2].rpartition(":")[2].startswith(EXPENSIVE)


def resets_ahead(env: GymEnv, config: EnvConfig) -> bool:
    """Whether spares are kept; `UserError` where `env.reset_ahead: true` cannot be done bitwise.

    `auto`: for ids of a short list, and for classes whose `metadata` has `reset_ahead: True`.
    """
    if config.reset_ahead == "auto":
        wanted = expensive(config.id) or bool((env.metadata or {}).get("reset_ahead"))
        return wanted and _obstacle(env) is None
    if config.reset_ahead and _obstacle(env) is not None:
        raise UserError(f"env.reset_ahead: {config.id} {_obstacle(env)}; set it to auto or false")
    return bool(config.reset_ahead)


def _obstacle(env: GymEnv) -> str | None:
    if layer_with(env, "abandon") is not None:
        return "goes on with the same game after a lost life, so no other copy can take its place"
    if native_owner(env) is not None:
        return "saves its own state, so its episodes need not follow from their seeds"
    return None


class Spares:
    """One spare for each copy, with the first observations `[N, ...]` of the episodes they were reset for."""

    def __init__(self, envs: Sequence[GymEnv], obs: dict[str, Array]) -> None:
        self.envs = list(envs)
        self.obs = obs
        self._ready: list[tuple[int, dict[str, Any]] | None] = [None] * len(self.envs)
        self._failed: dict[int, RunError] = {}

    def forget(self) -> None:
        """Whatever was prepared is for episodes that will not come."""
        self._ready = [None] * len(self.envs)
        self._failed.clear()

    def waiting(self, params: dict[str, Any]) -> int | None:
        """The next spare that is not ready for an episode with these parameters."""
        for index, ready in enumerate(self._ready):
            if ready is None or ready[1] is not params:
                return index
        return None

    @contextmanager
    def preparing(self, index: int, seed: int, params: dict[str, Any]) -> Iterator[GymEnv]:
        """Around the reset of a spare; that it failed is told when its episode begins, as without spares."""
        self._ready[index] = seed, params
        self._failed.pop(index, None)
        try:
            yield self.envs[index]
        except RunError as error:
            self._failed[index] = error

    def ready(self, index: int, seed: int, params: dict[str, Any]) -> bool:
        """Whether a spare was reset for just this episode."""
        ready = self._ready[index]
        return ready is not None and ready[0] == seed and ready[1] is params

    def take(self, index: int, used: GymEnv, obs: dict[str, Array]) -> GymEnv:
        """The spare, for the copy `used`, which becomes the spare; its first observation goes into `obs`."""
        failed = self._failed.pop(index, None)
        self._ready[index] = None
        if failed is not None:
            raise failed
        fresh, self.envs[index] = self.envs[index], used
        for key, array in self.obs.items():
            obs[key][index] = array[index]
        return fresh
