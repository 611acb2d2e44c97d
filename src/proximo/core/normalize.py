"""Running statistics: moments of observations, deviation of discounted returns.

Statistics move only after an update (`Policy.observe`, `RewardScaler.scale` for rewards), never between acting
and evaluating: moving them in between makes fresh data look off-policy.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from proximo.core.returns import TORCH, Recursions


def statistics_dtype(device: torch.device) -> torch.dtype:
    """Float64, so that a hundred million rows still move a mean; float32 on MPS, which has nothing wider."""
    return torch.float32 if device.type == "mps" else torch.float64


class RunningMoments(nn.Module):
    """Count, mean and variance of a stream of vectors, merged batch by batch (Chan et al. 1979).

    Kept in float64 (see `statistics_dtype`). Shapes: `[*shape]`.
    """

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        # Plain float64 kept as buffers: saved with the weights, moved with the module.
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("var", torch.ones(shape, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def update(self, rows: Tensor) -> None:
        """Merge `rows` `[M, *shape]`; an empty batch changes nothing."""
        if rows.shape[0] == 0:
            return
        rows = rows.to(self.mean.dtype)
        mean, var, count = rows.mean(0), rows.var(0, unbiased=False), float(rows.shape[0])
        total = self.count + count
        delta = mean - self.mean
        m2 = self.var * self.count + var * count + delta**2 * (self.count * count / total)
        self.mean.add_(delta * (count / total))
        self.var.copy_(m2 / total)
        self.count.copy_(total)

    def std(self, floor: float = 1e-8) -> Tensor:
        """Deviation, float64, never below √floor."""
        return (self.var + floor).sqrt()


class RewardScaler:
    """Divides a reward by the running deviation of its discounted return.

    Keeps the value targets near unit scale whatever the environment pays. Unlike observation statistics it takes
    the rollout in before scaling it: the scale of rewards cannot make data look off-policy, and the first rollout
    would otherwise be unscaled.
    """

    def __init__(
        self, num_envs: int, gamma: float, clip: float, device: torch.device, recursions: Recursions = TORCH
    ) -> None:
        self.recursions = recursions
        self.gamma = gamma
        self.clip = clip
        dtype = statistics_dtype(device)
        self.moments = RunningMoments().to(dtype).to(device)
        self.running = torch.zeros(num_envs, dtype=dtype, device=device)

    @torch.no_grad()
    def scale(self, reward: Tensor, done: Tensor, valid: Tensor, *, learn: bool = True) -> Tensor:
        """Take in and scale `reward` `[T, N]`; `done` cuts the return, invalid rows are passed over."""
        if learn:
            self.learn(reward, done, valid, self.running)
        return (reward / self.moments.std().to(reward.dtype)).clamp(-self.clip, self.clip)

    @torch.no_grad()
    def learn(self, reward: Tensor, done: Tensor, valid: Tensor, running: Tensor) -> None:
        """Take in `reward` `[T, N]`; `running` `[N]` is the return so far of each column, carried on in place."""
        returns = self.recursions.discount(reward, done, valid, self.gamma, running)
        self.moments.update(returns[valid])

    def state_dict(self) -> dict[str, Any]:
        """Statistics and the running return of each environment."""
        return {"moments": dict(self.moments.state_dict()), "running": self.running}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.moments.load_state_dict(state["moments"])
        self.running = state["running"].to(self.running)
