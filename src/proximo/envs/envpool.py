"""EnvPool's environments (Weng et al. 2022): C++ versions of many tasks, stepped by a pool of threads.

They are other programs than Gymnasium's: the tasks are the same, the numbers are not, bit for bit. EnvPool resets by
itself (`metadata["autoreset_mode"]` says when) and takes its seeds only when it is made, so a reset with a seed makes
it anew. It cannot save its episodes.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Sequence
from typing import Any

from proximo.config.experiment import EnvConfig
from proximo.config.registry import nearest
from proximo.envs import atari
from proximo.envs.processors import cores
from proximo.envs.replay import describe
from proximo.errors import UserError

EXTRA = "pip install 'proximo[envpool]'"


def refuses(config: EnvConfig) -> str | None:
    """Why EnvPool cannot stand in for a configuration; None where it can try."""
    if importlib.util.find_spec("envpool") is None:
        return f"it needs envpool: {EXTRA}"
    if atari.looks_like(config.id):
        return "Atari's preprocessing and true returns are Proximo's own: use another backend"
    if config.wrappers:
        return "it takes no env.wrappers: use sync"
    known = importlib.import_module("envpool").list_all_envs()
    return None if config.id in known else f"it has no such environment{nearest(config.id, known)}"


class EnvPool:
    """A `gymnasium.vector.VectorEnv` of `num_envs` copies, as `vector.GymVectorEnv` reads it.

    Raises `UserError` where EnvPool has no such environment or refuses its arguments.
    """

    takes_a_seed_each = True
    render_mode = None

    def __init__(self, config: EnvConfig, num_envs: int) -> None:
        reason = refuses(config)
        if reason is not None:
            raise UserError(f"env.backend=envpool: {config.id}: {reason}")
        self.num_envs, self._id = num_envs, config.id
        self._options: dict[str, Any] = {"num_threads": min(cores(), num_envs), **config.kwargs}
        if config.max_episode_steps is not None:
            self._options["max_episode_steps"] = config.max_episode_steps
        self._pool = self._make([0] * num_envs)
        self.metadata = self._pool.metadata
        # EnvPool gives the space of one copy under both names.
        self.single_observation_space = self._pool.observation_space
        self.single_action_space = self._pool.action_space

    @property
    def unwrapped(self) -> EnvPool:
        """Itself."""
        return self

    def reset(self, *, seed: Sequence[int], options: dict[str, Any] | None = None) -> Any:
        """New episodes, one seed per copy."""
        self._pool.close()
        self._pool = self._make(list(seed))
        return self._pool.reset()

    def step(self, actions: Any) -> Any:
        """One step of all copies; those that ended before it are only reset."""
        return self._pool.step(actions)

    def close(self) -> None:
        """Stop the threads."""
        self._pool.close()

    def _make(self, seeds: list[int]) -> Any:
        envpool = importlib.import_module("envpool")
        try:
            with warnings.catch_warnings():
                # It writes the bounds of its float32 spaces in float64.
                warnings.filterwarnings("ignore", message=r".*precision lowered by casting.*")
                pool = envpool.make_gymnasium(self._id, num_envs=self.num_envs, seed=seeds, **self._options)
                _ = pool.observation_space, pool.action_space
        except (TypeError, ValueError, RuntimeError, AssertionError) as error:
            reason = describe(error)[:200]
            raise UserError(f"env.backend=envpool: {self._id} could not be made: {reason}") from error
        return pool
