"""Recorded episodes: what every reader of demonstrations gives, in memory or mapped from disk.

Shapes: `M` recorded steps, one episode after the other; `E` episodes; `K` any number of chosen rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from gymnasium.spaces import Box, Space
from torch import Tensor

from proximo.config.experiment import EnvConfig
from proximo.core import rng
from proximo.core.types import Obs
from proximo.errors import UserError

Form = Literal["environment", "unclipped", "squashed"]
"""What actions are: as the environment took them; before a Gaussian head clipped them; inside (−1, 1), before a
squashed head rescaled them to the bounds. `logp` is the density in the same form."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Episodes one after the other, step by step; the last step of each is terminated or truncated.

    Rewards, ends and log-probabilities are in memory. `obs`, `action` and `final_obs` may be mapped from a file: read
    them through `take` and `final`, a piece at a time. Raises: UserError where the columns do not fit each other.
    """

    obs: Obs
    """`[M, ...]` per key, raw."""
    action: Tensor
    """`[M, ...]` in the form `stored`."""
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    final_obs: Obs
    """`[E, ...]`: the observation after each episode's last step, in order."""
    logp: Tensor | None = None
    """`[M]` log-probability (natural log) under the policy that recorded, where known."""
    form: Form = "environment"
    """Of what `take` gives, and of `logp`."""
    stored: Form = "environment"
    """Of what `action` holds; see `in_environment_form`."""
    names: tuple[str, ...] = ()
    """The data sets that were combined."""
    env: EnvConfig | None = None
    """The environment it was recorded in, where known."""
    obs_spaces: Mapping[str, Space[Any]] | None = None
    """One space per key of `obs`, where known."""
    action_space: Space[Any] | None = None
    chosen: Tensor | None = None
    """`[M']` int64: the rows of `obs` and `action` this data set consists of (see `select`); None: all of them."""
    chosen_episodes: Tensor | None = None

    def __post_init__(self) -> None:
        if self.rows == 0:
            raise UserError("the demonstrations are empty: record at least one step")
        if not bool(self.done[-1]):
            raise UserError("the last recorded step must end its episode (mark it truncated)")
        held = next(iter(self.final_obs.values())).shape[0]
        ends = held if self.chosen_episodes is None else self.chosen_episodes.shape[0]
        if self.episodes != ends:
            raise UserError(f"{self.episodes} episodes end but {ends} final observations are given")

    @property
    def rows(self) -> int:
        """M."""
        return self.reward.shape[0]

    @property
    def done(self) -> Tensor:
        """`[M]` bool: the episode ended here, either way."""
        return self.terminated | self.truncated

    @property
    def episodes(self) -> int:
        """E."""
        return int(self.done.sum())

    @property
    def episode(self) -> Tensor:
        """`[M]` int64: the number of each row's episode."""
        done = self.done.long()
        return torch.cumsum(done, 0) - done

    @property
    def start(self) -> Tensor:
        """`[M]` bool: the first step of an episode."""
        done = self.done
        return torch.cat([torch.ones_like(done[:1]), done[:-1]])

    @property
    def lengths(self) -> Tensor:
        """`[E]` int64: steps of each episode."""
        return torch.bincount(self.episode, minlength=self.episodes)

    @property
    def returns(self) -> Tensor:
        """`[E]` float64: undiscounted return of each episode."""
        total = torch.zeros(self.episodes, dtype=torch.float64)
        return total.index_add_(0, self.episode, self.reward.double())

    @property
    def return_mean(self) -> float:
        """Mean over the episodes."""
        return float(self.returns.mean())

    def take(self, index: Tensor) -> tuple[Obs, Tensor]:
        """Observations and actions of the rows `index` (int64, any shape), in memory, `[*index.shape, ...]`."""
        if self.chosen is not None:
            index = self.chosen[index]
        action = self.action[index]
        if self.form != self.stored:
            action = _to_environment(action, self.stored, self.action_space)
        return {key: entry[index] for key, entry in self.obs.items()}, action

    def final(self, episodes: Tensor) -> Obs:
        """The observations after the last steps of `episodes` (int64, any shape)."""
        if self.chosen_episodes is not None:
            episodes = self.chosen_episodes[episodes]
        return {key: entry[episodes] for key, entry in self.final_obs.items()}

    def select(self, episodes: Tensor) -> Dataset:
        """Only these episodes (`[E']` int64), in this order; nothing large is copied."""
        lengths = self.lengths
        first = torch.cumsum(lengths, 0) - lengths
        rows = torch.cat([torch.arange(int(first[e]), int(first[e] + lengths[e])) for e in episodes])
        return replace(
            self,
            reward=self.reward[rows],
            terminated=self.terminated[rows],
            truncated=self.truncated[rows],
            logp=None if self.logp is None else self.logp[rows],
            chosen=rows if self.chosen is None else self.chosen[rows],
            chosen_episodes=episodes if self.chosen_episodes is None else self.chosen_episodes[episodes],
        )

    def split(self, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
        """Training and validation part: `fraction` of the episodes (at least one), drawn by `seed`, validate.

        Raises: UserError where an episode for each part is missing.
        """
        if not 0.0 < fraction < 1.0:
            raise UserError(f"the validation split {fraction} must lie between 0 and 1")
        if self.episodes < 2:
            raise UserError("a validation split needs at least 2 episodes: record more")
        key = rng.stream_key(seed, "demos/split")
        draws = rng.uniform(key, torch.arange(self.episodes), 0, 1, 1)[0, :, 0]
        order = torch.argsort(draws, stable=True)
        held_out = min(max(round(fraction * self.episodes), 1), self.episodes - 1)
        valid, train = order[:held_out].sort().values, order[held_out:].sort().values
        return self.select(train), self.select(valid)

    def seen_as(self, keys: Iterable[str]) -> Dataset:
        """The same data with these observations alone, which the environments also give."""
        names = list(keys)
        spaces = self.obs_spaces and {name: self.obs_spaces[name] for name in names}
        obs, final = ({name: part[name] for name in names} for part in (self.obs, self.final_obs))
        return replace(self, obs=obs, final_obs=final, obs_spaces=spaces)

    def in_environment_form(self) -> Dataset:
        """The same data with actions as the environment took them, for a policy of another head.

        A rescaled density follows by the width of the bounds; a clipped one has none, so `logp` becomes None.
        """
        if self.form == "environment":
            return self
        logp = None
        if self.form == "squashed" and self.logp is not None:
            assert isinstance(self.action_space, Box)
            logp = self.logp - _half_width(self.action_space).log().sum()
        return replace(self, form="environment", logp=logp)


def _half_width(space: Box) -> Tensor:
    return (torch.as_tensor(space.high) - torch.as_tensor(space.low)).float() / 2


def _to_environment(action: Tensor, stored: Form, space: Space[Any] | None) -> Tensor:
    assert isinstance(space, Box)
    low, high = torch.as_tensor(space.low), torch.as_tensor(space.high)
    shaped = action.reshape(*action.shape[: action.dim() - 1], *space.shape)
    if stored == "squashed":
        shaped = low + (shaped + 1.0) * 0.5 * (high - low)
    return shaped.clamp(low, high)
