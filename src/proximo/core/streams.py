"""Streams: a reward with its own value head, discount and scale; reward terms write to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from proximo.core.normalize import RewardScaler
from proximo.core.types import RewardTerm, Rollout


@dataclass
class Stream:
    """One reward stream; the policy's advantage is the weighted sum over streams."""

    name: str
    weight: float
    gamma: float
    lam: float
    episodic: bool = True
    """A non-episodic stream ignores episode ends and bootstraps from the reset observation."""
    scaler: RewardScaler | None = None

    def reward(self, rollout: Rollout, terms: Sequence[RewardTerm]) -> Tensor:
        """Weighted sum of its terms' rewards, scaled, `[T, N]`; the scale learns from fresh rows only."""
        total = self._total(rollout, terms)
        if self.scaler is None:
            return total
        return self.scaler.scale(total, self._done(rollout), rollout.valid, learn=rollout.fresh)

    def no_returns(self) -> Tensor:
        """What `learn_scale` begins with, `[1]`."""
        return torch.zeros(1) if self.scaler is None else torch.zeros_like(self.scaler.running[:1])

    def learn_scale(self, rollout: Rollout, terms: Sequence[RewardTerm], running: Tensor) -> None:
        """Take in the rewards of a rollout `[T, 1]`: for where no environment is stepped.

        `running` `[1]` is the return so far of its episode, carried on in place to the rollout that follows.
        """
        if self.scaler is not None:
            self.scaler.learn(self._total(rollout, terms), self._done(rollout), rollout.valid, running)

    def _total(self, rollout: Rollout, terms: Sequence[RewardTerm]) -> Tensor:
        total = torch.zeros_like(rollout.reward)
        for term in terms:
            if term.stream == self.name:
                total = total + term.weight * rollout.rewards[term.name]
        return total

    def _done(self, rollout: Rollout) -> Tensor:
        return rollout.done if self.episodic else torch.zeros_like(rollout.terminated)

    def state_dict(self) -> dict[str, Any]:
        """The scaler's statistics."""
        return {} if self.scaler is None else self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        if self.scaler is not None:
            self.scaler.load_state_dict(state)
