"""Reward terms: the environment's own, potential-based shaping, and the adapter for a user's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from proximo.core.types import Rollout
from proximo.errors import RunError, user_code


class EnvReward:
    """The environment's own reward, unchanged."""

    def __init__(self, name: str = "env", stream: str = "task", weight: float = 1.0) -> None:
        self.name = name
        self.stream = stream
        self.weight = weight

    def __call__(self, rollout: Rollout) -> Tensor:
        """`[T, N]`."""
        return rollout.reward

    def update(self, rollout: Rollout) -> None:
        """Nothing to learn."""


class PotentialReward:
    """γΦ(s′) − Φ(s), for a potential Φ that the environment tells in `info`.

    Along an episode the terms add up to −Φ(s₀) (discounted), whatever was done, so no policy gains or loses by
    them. That needs Φ(s′) = 0 where the episode terminated; where it was cut, the value of the true successor
    stands for what would have followed, and Φ(s′) is that successor's.

    Source: Ng, Harada and Russell 1999, theorem 1; ends as in Grześ 2017.
    """

    def __init__(self, name: str, stream: str, weight: float, gamma: float, after: str, before: str) -> None:
        self.name = name
        self.stream = stream
        self.weight = weight
        self.gamma = gamma
        self.after, self.before = after, before

    def __call__(self, rollout: Rollout) -> Tensor:
        """`[T, N]`. Raises: RunError where the environment or the source does not tell the potential."""
        after, before = (self._told(rollout, key) for key in (self.after, self.before))
        after = torch.where(rollout.terminated, 0.0, after)
        return torch.where(rollout.valid, self.gamma * after - before, 0.0)

    def update(self, rollout: Rollout) -> None:
        """Nothing to learn."""

    def _told(self, rollout: Rollout, key: str) -> Tensor:
        told = rollout.info.get(key)
        told = None if told is None else told.to(rollout.reward)
        if told is None or not torch.isfinite(told[rollout.valid]).all():
            raise RunError(
                f"rewards.{self.name}: not every step of the source {rollout.source!r} has a finite number "
                f"{key!r} in its info"
            )
        return told


class CustomReward:
    """A user's `rollout -> [T, N]` callable, with an optional `update(rollout)` and `state_dict`."""

    def __init__(self, name: str, stream: str, weight: float, function: Callable[[Rollout], Tensor]) -> None:
        self.name = name
        self.stream = stream
        self.weight = weight
        self.function = function

    def __call__(self, rollout: Rollout) -> Tensor:
        """The callable's rewards. Raises: RunError where it raises, or gives no finite `[T, N]`."""
        with user_code(f"rewards.{self.name}"):
            reward = self.function(rollout)
        got = tuple(reward.shape) if isinstance(reward, Tensor) else type(reward).__name__
        if got != rollout.shape:
            raise RunError(
                f"rewards.{self.name} returned {got}; it must be a tensor [T, N] = {rollout.shape}"
            )
        if not torch.isfinite(reward).all():
            raise RunError(f"rewards.{self.name} returned NaN or infinity; its rewards must be finite")
        return reward.detach().to(rollout.reward)

    def update(self, rollout: Rollout) -> None:
        """Let it learn, where it can."""
        update = getattr(self.function, "update", None)
        if update is not None:
            with user_code(f"rewards.{self.name}.update"):
                update(rollout)

    def state_dict(self) -> dict[str, Any]:
        """Its own state, where it has one."""
        state = getattr(self.function, "state_dict", None)
        return dict(state()) if state is not None else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        load = getattr(self.function, "load_state_dict", None)
        if load is not None:
            load(state)
