"""Reward terms that are always there: the environment's own, and the adapter for a user's."""

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
