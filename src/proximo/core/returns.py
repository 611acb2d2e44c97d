"""GAE and V-trace as one backward recursion.

    δ_t = r_t + γ (1 − terminated_t) V(s'_t) − V(s_t)
    A_t = ρ_t δ_t + γ λ c_t (1 − done_t) A_{t+1},      target_t = V(s_t) + A_t

With ρ = c = 1 this is GAE (Schulman et al. 2016, eq. 16); with clipped importance ratios it is V-trace (Espeholt
et al. 2018, eq. 1) with a λ. `V(s'_t)` is always the value of the true successor: at a truncation the value of the
observation that the cut episode ended with, at the horizon that of the next observation.

Shapes: every tensor `[T, N]`.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Recursions(Protocol):
    """The two loops over time, which an engine may compute its own way."""

    def advantage(
        self,
        reward: Tensor,
        value: Tensor,
        next_value: Tensor,
        terminated: Tensor,
        done: Tensor,
        rho: Tensor | None,
        c: Tensor | None,
        gamma: float,
        lam: float,
        valid: Tensor | None,
    ) -> Tensor:
        """As `estimate`, without the target."""

    def discount(self, reward: Tensor, done: Tensor, valid: Tensor, gamma: float, running: Tensor) -> Tensor:
        """Running discounted returns `[T, N]`, as precise as `running` `[N]`, which is carried on in place."""


class TorchRecursions:
    """The reference: one step of time after the other in PyTorch, on any device and in any precision."""

    @torch.no_grad()
    def advantage(
        self,
        reward: Tensor,
        value: Tensor,
        next_value: Tensor,
        terminated: Tensor,
        done: Tensor,
        rho: Tensor | None,
        c: Tensor | None,
        gamma: float,
        lam: float,
        valid: Tensor | None,
    ) -> Tensor:
        """The recursion at the head of this file."""
        delta = reward + gamma * next_value * ~terminated - value
        decay = gamma * lam * (~done).to(value.dtype)
        if rho is not None:
            delta = rho * delta
        if c is not None:
            decay = decay * c
        if valid is not None:
            delta = torch.where(valid, delta, 0.0)
            decay = torch.where(valid | done, decay, 1.0)
        advantage = torch.empty_like(value)
        carry = torch.zeros_like(value[0])
        for t in range(value.shape[0] - 1, -1, -1):
            carry = torch.addcmul(delta[t], decay[t], carry, out=advantage[t])
        return advantage

    @torch.no_grad()
    def discount(self, reward: Tensor, done: Tensor, valid: Tensor, gamma: float, running: Tensor) -> Tensor:
        """R_t = γ R_{t−1} + r_t inside an episode; rows that only reset change nothing."""
        returns = torch.empty_like(reward, dtype=running.dtype)
        carried = running.clone()
        for t in range(reward.shape[0]):
            carried = torch.where(valid[t], carried * gamma + reward[t], carried)
            returns[t] = carried
            carried = carried * ~done[t]
        running.copy_(carried)
        return returns


TORCH = TorchRecursions()


def estimate(
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    terminated: Tensor,
    done: Tensor,
    rho: Tensor | None,
    c: Tensor | None,
    *,
    gamma: float,
    lam: float,
    valid: Tensor | None = None,
    recursions: Recursions = TORCH,
) -> tuple[Tensor, Tensor]:
    """Advantage and value target `[T, N]`.

    `rho`, `c`: None stands for exactly 1. `valid`: rows that only reset an environment carry the recursion
    through unchanged (their own advantage is never used); one that is also done ends the episode before it, which
    then bootstraps from the observation of that row.
    """
    advantage = recursions.advantage(reward, value, next_value, terminated, done, rho, c, gamma, lam, valid)
    return advantage, value + advantage


def of_the_action(
    advantage: Tensor,
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    terminated: Tensor,
    done: Tensor,
    *,
    gamma: float,
    lam: float,
    valid: Tensor | None = None,
    recursions: Recursions = TORCH,
) -> Tensor:
    """δ_t + γ λ (1 − done_t) A_{t+1}, `[T, N]`: what taking the action brings, for `advantage` A from `estimate`.

    A_t itself also weighs the action by its ratio, for the value of the state. Where the surrogate is weighted by
    that ratio, it would count twice (docs/design.md, ratios); Espeholt et al. 2018, section 4.2, leave it out too.
    """
    zero = torch.zeros_like(advantage)
    following = torch.cat([advantage[1:], zero[:1]])
    yes = torch.ones_like(done)

    # Two steps of the same recursion, the second of which only gives `following`: bitwise GAE where all ratios are 1.
    def beside(first: Tensor, second: Tensor) -> Tensor:
        return torch.stack([first.flatten(), second.flatten()])

    found = recursions.advantage(
        beside(reward, following),
        beside(value, zero),
        beside(next_value, zero),
        beside(terminated, yes),
        beside(done, yes),
        None,
        None,
        gamma,
        lam,
        None if valid is None else beside(valid, yes),
    )
    return found[0].reshape(advantage.shape)
