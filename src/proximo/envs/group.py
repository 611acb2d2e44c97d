"""The learner's record of copies that are stepped in other processes: what messages and checkpoints need.

Shapes: `N` copies of the group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Space

from proximo.envs.replay import Episodes
from proximo.envs.spaces import Array
from proximo.envs.tensors import episode_actions
from proximo.errors import RunError


@dataclass
class Cut:
    """Copies (`rows` of all) whose process was started again: in new episodes, which nobody has seen yet."""

    rows: slice
    applied: list[dict[str, Any]]
    """The parameters that each new episode began with."""


class Group:
    """Copies that are stepped together: rows `rows` of all."""

    def __init__(self, rows: slice, env_id: str, first_env: int) -> None:
        self.rows, self.count = rows, rows.stop - rows.start
        self.episodes = Episodes(env_id, self.count, first_env + rows.start)
        self.applied: list[dict[str, Any]] = [{}] * self.count
        """The parameters that each running episode began with."""
        self.last: dict[str, Array] = {}
        """What the next action is chosen on, `[N, ...]` per key."""
        self.lost: dict[int, Cut] = {}
        """Workers that were started again since this group was last stepped: the next step finds new episodes.

        Until then the record is that of the old ones: it fits `last`, so that a checkpoint can be resumed.
        """

    def start(self, seed: int, params: dict[str, Any]) -> None:
        """Episode 0 of every copy begins."""
        self.episodes.start(seed, [0] * self.count)
        self.applied = [params] * self.count
        self.lost.clear()

    def next(self, row: int, params: dict[str, Any]) -> None:
        """The next episode of one copy begins, with these parameters."""
        self.episodes.next(row)
        self.applied[row] = params

    def cut(self, workers: Sequence[int], final: Mapping[str, Array]) -> Array:
        """The new episodes of lost workers begin; their rows `[N]`, whose last observations go into `final`."""
        lost = np.zeros(self.count, np.bool_)
        for number in workers:
            cut = self.lost.pop(number)
            rows = self.local(cut.rows)
            lost[rows] = True
            for key, array in final.items():
                array[rows] = self.last[key][rows]
            # The action that was sent off meanwhile is none of the new episode's.
            for row, params in zip(range(self.count)[rows], cut.applied, strict=True):
                self.next(row, params)
        return lost

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
    groups: Sequence[Group],
    space: Space[Any],
    params: dict[str, Any],
    native: list[dict[str, Any]],
    now: Mapping[str, Array],
) -> dict[str, Any]:
    """The state of all copies, in the form of `SyncEnv.state_dict`.

    Where workers are lost, `cut` says which rows the next step will find in new episodes, and how those begin: with
    the observations that the copies show `now`. Who knows nothing of it goes on with the old episodes instead.
    """
    first = groups[0]
    obs = {
        key: torch.cat([torch.from_numpy(group.last[key].copy()) for group in groups]) for key in first.last
    }
    actions = [] if native else [rows for group in groups for rows in episode_actions(group.episodes, space)]
    state: dict[str, Any] = {
        "seed": first.episodes.seed,
        "episode": [episode for group in groups for episode in group.episodes.index],
        "actions": actions,
        "native": native,
        "obs": obs,
        "params": params,
        "applied": [dict(applied) for group in groups for applied in group.applied],
    }
    cuts = [cut for group in groups for cut in group.lost.values()]
    if cuts:
        rows = [row for cut in cuts for row in range(cut.rows.start, cut.rows.stop)]
        state["cut"] = {
            "rows": rows,
            "obs": {key: torch.from_numpy(array[rows]) for key, array in now.items()},
            "applied": [dict(applied) for cut in cuts for applied in cut.applied],
        }
    return state


def held(state: Mapping[str, Any], rows: slice) -> tuple[dict[str, Any], Cut | None]:
    """What a worker's copies hold in a state, as `part`; with the cut where all of them were lost.

    Together with others, lost copies go on with their old episodes: a worker steps all or none. `RunError` where they
    save themselves, for then the old ones are gone.
    """
    given, cut = part(state, rows), state.get("cut", {"rows": []})
    at = [cut["rows"].index(row) for row in range(rows.start, rows.stop) if row in cut["rows"]]
    if len(at) < rows.stop - rows.start:
        if at and given["native"]:
            raise RunError(
                "env.workers: a worker had died just before this checkpoint; resume with as many workers, and the "
                "same env.half_batches, as it was saved with"
            )
        return given, None
    given["episode"] = [episode + 1 for episode in given["episode"]]
    given["actions"] = [actions[:0] for actions in given["actions"]]
    given["obs"] = {key: entry.cpu().numpy()[at] for key, entry in cut["obs"].items()}
    given["applied"] = [dict(cut["applied"][position]) for position in at]
    return given, Cut(rows, given["applied"])


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
