"""Resets ahead of time: a few spare environments beside the copies, reset while there is nothing else to do.

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
COPIES_A_SPARE = 4


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


def spares_for(copies: int) -> int:
    """How many spares `copies` environments share.

    Few: every NetHack game takes memory, and while the learner learns, one core cannot reset many more in any case.
    """
    return -(-copies // COPIES_A_SPARE)


class Spares:
    """A few spares, each reset for the next episode of one copy; `obs` are their first observations `[N, ...]`."""

    def __init__(self, envs: Sequence[GymEnv], obs: dict[str, Array]) -> None:
        self.obs = obs
        self._free = list(envs)
        self._ready: dict[int, tuple[GymEnv, int, dict[str, Any]]] = {}
        """Copy → spare, seed and parameters of the episode that it was reset for."""
        self._failed: dict[int, RunError] = {}

    @property
    def envs(self) -> list[GymEnv]:
        """All of them, as they are now."""
        return [*self._free, *(env for env, _, _ in self._ready.values())]

    def forget(self) -> None:
        """Whatever was prepared is for episodes that will not come."""
        self._free = self.envs
        self._ready.clear()
        self._failed.clear()

    def waiting(self, params: dict[str, Any], lengths: Sequence[int]) -> int | None:
        """The copy whose next episode a spare should be reset for; None where all spares are ready.

        That of the longest running episode (`lengths` `[N]`), which will probably end first.
        """
        for index, (env, _, known) in self._ready.items():
            if known is not params:
                del self._ready[index]
                self._free.append(env)
                return index
        waiting = [index for index in range(len(lengths)) if index not in self._ready]
        return max(waiting, key=lambda index: lengths[index]) if self._free and waiting else None

    @contextmanager
    def preparing(self, index: int, seed: int, params: dict[str, Any]) -> Iterator[GymEnv]:
        """Around the reset of a spare; that it failed is told when its episode begins, as without spares."""
        env = self._free.pop()
        self._ready[index] = env, seed, params
        self._failed.pop(index, None)
        try:
            yield env
        except RunError as error:
            self._failed[index] = error

    def ready(self, index: int, seed: int, params: dict[str, Any]) -> bool:
        """Whether a spare was reset for just this episode."""
        _, known, given = self._ready.get(index, (None, None, None))
        return known == seed and given is params

    def take(self, index: int, used: GymEnv, obs: dict[str, Array]) -> GymEnv:
        """The spare, for the copy `used`, which becomes the spare; its first observation goes into `obs`."""
        fresh, _, _ = self._ready.pop(index)
        failed = self._failed.pop(index, None)
        self._free.append(used if failed is None else fresh)
        if failed is not None:
            raise failed
        for key, array in self.obs.items():
            obs[key][index] = array[index]
        return fresh
