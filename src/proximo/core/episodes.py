"""Counts returns and lengths of episodes across rollouts, in raw reward."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from proximo.core.types import Episode, Rollout


class EpisodeCounter:
    """Running return and length of each environment's episode; yields the ones that a rollout finished."""

    def __init__(self, num_envs: int) -> None:
        self.return_ = np.zeros(num_envs)
        self.length = np.zeros(num_envs, dtype=np.int64)

    def finished(self, rollout: Rollout) -> list[Episode]:
        """Take in a rollout; episodes come in the order of their ends.

        An adapter whose wrappers change rewards or episode ends (Atari) reports the true ones as
        `info["episode_return"]` and `info["episode_length"]`, NaN except at an end; these then count.
        """
        valid = rollout.valid.cpu().numpy()
        reward = rollout.reward.cpu().numpy().astype(np.float64) * valid
        # An end on an invalid row is that of an episode which was lost: forgotten, not counted.
        done = rollout.done.cpu().numpy()
        returns = self.return_ + np.cumsum(reward, axis=0)
        lengths = self.length + np.cumsum(valid, axis=0)
        # What was accumulated up to each environment's latest end, to be taken off later sums.
        base_return = np.zeros_like(self.return_)
        base_length = np.zeros_like(self.length)
        info = {name: entry.numpy() for name, entry in rollout.info.items()}
        reported = "episode_return" in info
        ends = ~np.isnan(info["episode_return"]) if reported else done & valid
        episodes = []
        for t, n in np.argwhere(ends | done):
            value, length = returns[t, n] - base_return[n], lengths[t, n] - base_length[n]
            if done[t, n]:
                base_return[n], base_length[n] = returns[t, n], lengths[t, n]
            if not ends[t, n]:
                continue
            if reported:
                value, length = info["episode_return"][t, n], info["episode_length"][t, n]
            episodes.append(_episode(float(value), int(length), info, t, n))
        self.return_ = returns[-1] - base_return
        self.length = lengths[-1] - base_length
        return episodes

    def state_dict(self) -> dict[str, Any]:
        """The running sums."""
        return {
            "return": torch.from_numpy(self.return_.copy()),
            "length": torch.from_numpy(self.length.copy()),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.return_ = state["return"].numpy().copy()
        self.length = state["length"].numpy().copy()


def _episode(value: float, length: int, info: dict[str, np.ndarray], t: int, n: int) -> Episode:
    last = {name: float(entry[t, n]) for name, entry in info.items() if not np.isnan(entry[t, n])}
    last.pop("episode_return", None)
    last.pop("episode_length", None)
    success = last.pop("success", None)
    return Episode(value, length, None if success is None else bool(success), last)
