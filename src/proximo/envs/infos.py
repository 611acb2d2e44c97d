"""Numbers of the `info` dictionaries as arrays `[N]`, NaN where an environment gave none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from proximo.envs.spaces import Array
from proximo.errors import RunError

if TYPE_CHECKING:
    from proximo.config.experiment import EnvConfig

SUCCESS = "success"
EPISODE = ("episode_return", "episode_length")
"""Set by wrappers that change rewards or where episodes end: the true ones, at a true end only."""


class InfoReader:
    """Collects named numbers of one step; a step in which none occur costs nothing."""

    def __init__(self, config: EnvConfig, num_envs: int, *, reports_episodes: bool = False) -> None:
        pairs = [(name, name) for name in config.info]
        pairs += [(config.success_key, SUCCESS)] if config.success_key else []
        pairs += [(name, name) for name in EPISODE] if reports_episodes else []
        self.names = tuple(dict.fromkeys(pairs))
        """Pairs of `info` key and a name its numbers go by; a key may have two."""
        self.wanted = tuple(dict.fromkeys(key for key, _ in pairs))
        """Their `info` keys alone."""
        self._num_envs = num_envs
        self._cells: dict[str, Array] = {}

    @property
    def columns(self) -> list[str]:
        """The names that numbers go by, each once."""
        return list(dict.fromkeys(name for _, name in self.names))

    def read(self, index: int, info: dict[str, Any]) -> None:
        """Pick the named numbers from one environment's `info`."""
        for key, name in self.names:
            if key in info:
                self.put(name, index, info[key], key)

    def put(self, name: str, index: int, value: Any, key: str) -> None:
        """Set one environment's number `name` of this step, found under `key`."""
        cell = self._cells.get(name)
        if cell is None:
            cell = self._cells[name] = np.full(self._num_envs, np.nan, np.float32)
        cell[index] = number(value, key)

    def take(self) -> dict[str, Array]:
        """The numbers that occurred in this step, `[N]` float32 by name; begins the next step."""
        taken, self._cells = self._cells, {}
        return taken


def number(value: Any, key: str) -> float:
    """A scalar as float (None: NaN); `RunError` naming the key for anything else."""
    if value is None:
        return float("nan")
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError) as error:
        raise RunError(f"info[{key!r}] is {value!r}, not a number; remove it from env.info") from error
