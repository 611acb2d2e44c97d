"""The learner's record of copies that are stepped in other processes: what messages and checkpoints need.

Shapes: `N` copies of the group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from gymnasium.spaces import Space

from proximo.envs.replay import Episodes
from proximo.envs.spaces import Array
from proximo.envs.tensors import episode_actions


class Group:
    """Copies that are stepped together: rows `rows` of all."""

    def __init__(self, rows: slice, env_id: str, first_env: int) -> None:
        self.rows, self.count = rows, rows.stop - rows.start
        self.episodes = Episodes(env_id, self.count, first_env + rows.start)
        self.applied: list[dict[str, Any]] = [{}] * self.count
        """The parameters that each running episode began with."""
        self.last: dict[str, Array] = {}
        """What the next action is chosen on, `[N, ...]` per key."""
        self.lost: set[int] = set()
        """Workers that were started again since this group was last stepped: the next step finds new episodes."""

    def start(self, seed: int, params: dict[str, Any]) -> None:
        """Episode 0 of every copy begins."""
        self.episodes.start(seed, [0] * self.count)
        self.applied = [params] * self.count
        self.lost.clear()

    def next(self, row: int, params: dict[str, Any]) -> None:
        """The next episode of one copy begins, with these parameters."""
        self.episodes.next(row)
        self.applied[row] = params

    def local(self, rows: slice) -> slice:
        """Rows of all as rows of this group."""
        return slice(rows.start - self.rows.start, rows.stop - self.rows.start)

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over a restored state of this group's rows, as `part` gives it."""
        self.episodes.start(int(state["seed"]), list(state["episode"]))
        if state["actions"]:
            self.episodes.history.restore(state["actions"])
        self.applied = [dict(params) for params in state["applied"]]
        self.last = dict(state["obs"])
        self.lost.clear()


def save(
    groups: Sequence[Group], space: Space[Any], params: dict[str, Any], native: list[dict[str, Any]]
) -> dict[str, Any]:
    """The state of all copies, in the form of `SyncEnv.state_dict`."""
    first = groups[0]
    obs = {
        key: torch.cat([torch.from_numpy(group.last[key].copy()) for group in groups]) for key in first.last
    }
    actions = [] if native else [rows for group in groups for rows in episode_actions(group.episodes, space)]
    return {
        "seed": first.episodes.seed,
        "episode": [episode for group in groups for episode in group.episodes.index],
        "actions": actions,
        "native": native,
        "obs": obs,
        "params": params,
        "applied": [dict(applied) for group in groups for applied in group.applied],
    }


def part(state: Mapping[str, Any], rows: slice) -> dict[str, Any]:
    """The rows `rows` of a state, arrays instead of tensors."""
    return {
        "seed": int(state["seed"]),
        "episode": [int(episode) for episode in state["episode"][rows]],
        "actions": [actions.cpu().numpy() for actions in state["actions"][rows]],
        "native": list(state["native"][rows]),
        "obs": {key: entry.cpu().numpy()[rows] for key, entry in state["obs"].items()},
        "params": dict(state["params"]),
        "applied": [dict(params) for params in state["applied"][rows]],
    }
