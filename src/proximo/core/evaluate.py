"""One no-grad pass over a rollout: values, true successors' values, corrections, advantages, targets.

Shapes: `[T, N]` unless said; `K` ended episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from proximo.core.returns import TORCH, Recursions, estimate, of_the_action
from proximo.core.streams import Stream
from proximo.core.types import Comparison, Correction, Obs, Policy, RewardTerm, Rollout, Source, State

CHUNK_ROWS = 4096
"""Feed-forward policies are evaluated in pieces of this many rows, to bound memory."""


@dataclass
class Evaluated:
    """A rollout with everything learning needs beside it."""

    rollout: Rollout
    obs: Obs
    """Normalised with the rollout's own snapshot."""
    logp_old: Tensor
    value: dict[str, Tensor]
    target: dict[str, Tensor]
    advantage: Tensor
    """Weighted sum over streams."""
    reward: dict[str, Tensor]
    """Scaled reward per stream."""
    correction: Correction
    surrogate_weight: Tensor | None = None
    """`[T, N]`; None: 1 everywhere."""


@torch.no_grad()
def evaluate(
    policy: Policy,
    rollout: Rollout,
    source: Source,
    streams: Sequence[Stream],
    terms: Sequence[RewardTerm],
    recursions: Recursions = TORCH,
) -> Evaluated:
    """Evaluate a rollout whose reward terms are filled in; no carried state is changed."""
    obs = policy.normalize(rollout.obs, rollout.stats)
    final_obs = policy.normalize(rollout.final_obs, rollout.stats)
    last_obs = policy.normalize(rollout.last_obs, rollout.stats)
    value, row_value = _values(policy, rollout, obs, final_obs, last_obs)
    logp_old, distance = rollout.logp_behavior, None
    if source.off_policy:
        logp_old, distance = judge(policy, rollout, obs)
    correction = source.correct(Comparison(logp_old, rollout.logp_behavior, distance))
    rewards, targets = {}, {}
    advantage = torch.zeros_like(rollout.reward)
    valid = None if bool(rollout.valid.all()) else rollout.valid
    never = torch.zeros_like(rollout.terminated)
    for stream in streams:
        rewards[stream.name] = reward = stream.reward(rollout, terms)
        part_value = value[stream.name]
        successor = next_values(rollout, part_value, row_value[stream.name], stream.episodic)
        ends = (rollout.terminated, rollout.done) if stream.episodic else (never, never)
        given = (reward, part_value, successor, *ends)
        settings: Any = {"gamma": stream.gamma, "lam": stream.lam, "valid": valid, "recursions": recursions}
        part, targets[stream.name] = estimate(*given, correction.rho, correction.c, **settings)
        if correction.surrogate_weight is not None:
            part = of_the_action(part, *given, **settings)
        advantage = advantage + stream.weight * part
    weight = surrogate_weight(correction, advantage)
    return Evaluated(rollout, obs, logp_old, value, targets, advantage, rewards, correction, weight)


def surrogate_weight(correction: Correction, advantage: Tensor) -> Tensor | None:
    """What each row's surrogate is multiplied by, `[T, N]`; None: 1 everywhere."""
    weight, inlier = correction.surrogate_weight, correction.inlier
    if inlier is None:
        return weight
    # Pushing away from an action that the policy would hardly take moves it far, and in no known direction.
    inlier = torch.where((inlier < 1.0) & (advantage < 0.0), 0.0, inlier)
    return inlier if weight is None else weight * inlier


def sequences(entry: Tensor, length: int) -> Tensor:
    """`[T, N, ...]` as `[L, S·N, ...]`: `S` sequences of `length` steps, those of the first steps first."""
    return entry.reshape(-1, length, *entry.shape[1:]).transpose(0, 1).flatten(1, 2)


@torch.no_grad()
def judge(policy: Policy, rollout: Rollout, obs: Obs) -> tuple[Tensor, Tensor | None]:
    """Log-probability and Mahalanobis distance (None for choices) of a rollout's actions, `[T, N]`.

    As learning will see them: with memory, every sequence begins from the state recorded at its start.
    """
    if not rollout.state:
        dist = policy.compute(obs, {}, rollout.start).dist
        return dist.log_prob(rollout.action), dist.distance(rollout.action)
    length, (steps, envs) = rollout.sequence_length, rollout.shape
    cut = {key: sequences(entry, length) for key, entry in obs.items()}
    state = {key: entry.flatten(0, 1) for key, entry in rollout.state.items()}
    dist = policy.compute(cut, state, sequences(rollout.start, length)).dist
    action = sequences(rollout.action, length)

    def joined(entry: Tensor) -> Tensor:
        return entry.reshape(length, -1, envs).transpose(0, 1).reshape(steps, envs)

    distance = dist.distance(action)
    return joined(dist.log_prob(action)), None if distance is None else joined(distance)


def next_values(rollout: Rollout, value: Tensor, row_value: Tensor, episodic: bool) -> Tensor:
    """Value of each row's true successor, `[T, N]`.

    `row_value` `[K + N]` holds the values of the ended episodes' last observations, then of the observations after
    the rollout. A non-episodic stream bootstraps across ends, from the reset observation.
    """
    ended = rollout.final_t.shape[0]
    value = value if episodic else _fill_invalid(value, row_value[ended:], rollout.valid)
    following = torch.cat([value[1:], row_value[None, ended:]])
    if episodic:
        following[rollout.final_t, rollout.final_n] = row_value[:ended]
    return following


def _fill_invalid(value: Tensor, last: Tensor, valid: Tensor) -> Tensor:
    # A row that only resets shows the old episode's last observation; what follows it is the reset observation.
    if bool(valid.all()):
        return value
    filled = value.clone()
    after = last
    for t in range(value.shape[0] - 1, -1, -1):
        filled[t] = torch.where(valid[t], filled[t], after)
        after = filled[t]
    return filled


def _values(
    policy: Policy, rollout: Rollout, obs: Obs, final_obs: Obs, last_obs: Obs
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    steps, envs = rollout.shape
    device = rollout.reward.device
    t = torch.cat([rollout.final_t, torch.full((envs,), steps - 1, device=device)])
    n = torch.cat([rollout.final_n, torch.arange(envs, device=device)])
    row_obs = {key: torch.cat([final_obs[key], last_obs[key]]) for key in last_obs}
    row_start = torch.cat([torch.zeros_like(rollout.final_t, dtype=torch.bool), rollout.last_start])
    state: State = {key: entry[0] for key, entry in rollout.state.items()}
    stride = max(1, CHUNK_ROWS // envs)
    if policy.recurrent or steps <= stride:
        values, row_values, _ = policy.values(obs, state, rollout.start, (t, n), row_obs, row_start)
        return values, row_values
    pieces = []
    nothing = {key: entry[:0] for key, entry in row_obs.items()}
    for first in range(0, steps, stride):
        piece = {key: entry[first : first + stride] for key, entry in obs.items()}
        rows = (t[:0], n[:0])
        start = rollout.start[first : first + stride]
        pieces.append(policy.values(piece, {}, start, rows, nothing, row_start[:0])[0])
    row_pieces = []
    for first in range(0, t.shape[0], CHUNK_ROWS):
        piece = {key: entry[None, first : first + CHUNK_ROWS] for key, entry in row_obs.items()}
        start = row_start[None, first : first + CHUNK_ROWS]
        row_pieces.append(policy.values(piece, {}, start, (t[:0], n[:0]), nothing, row_start[:0])[0])
    values = {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}
    return values, {name: torch.cat([piece[name][0] for piece in row_pieces]) for name in values}


def explained_variance(value: Tensor, target: Tensor) -> Tensor:
    """1 − Var(target − value) / Var(target); 0 where the target is constant."""
    variance = target.var(correction=0)
    unexplained = (target - value).var(correction=0)
    return torch.where(
        variance > 0, 1.0 - unexplained / variance.clamp_min(1e-12), torch.zeros_like(variance)
    )
