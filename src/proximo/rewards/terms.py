"""Reward terms that are always there: the environment's own, and the adapter for a user's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from proximo.core.types import Rollout
from proximo.errors import UserError


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


class CustomReward:
    """A user's `rollout -> [T, N]` callable, with an optional `update(rollout)` and `state_dict`."""

    def __init__(self, name: str, stream: str, weight: float, function: Callable[[Rollout], Tensor]) -> None:
        self.name = name
        self.stream = stream
        self.weight = weight
        self.function = function

    def __call__(self, rollout: Rollout) -> Tensor:
        """The callable's rewards; refused where the shape is not `[T, N]`."""
        reward = self.function(rollout)
        if tuple(reward.shape) != rollout.shape:
            raise UserError(
                f"rewards.{self.name} returned shape {tuple(reward.shape)}; it must be [T, N] = {rollout.shape}"
            )
        return reward.detach().to(rollout.reward)

    def update(self, rollout: Rollout) -> None:
        """Let it learn, where it can."""
        update = getattr(self.function, "update", None)
        if update is not None:
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
