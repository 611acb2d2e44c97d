"""THE loop: collect, reward, evaluate, learn, observe. Proximal policy optimisation (Schulman et al. 2017).

Everything that varies (environments, demonstrations, curiosity, memory, engines) sits in the parts; none of them
changes this file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from proximo.core.batching import Batching
from proximo.core.engines.choose import Engine
from proximo.core.engines.eager import Plan
from proximo.core.evaluate import Evaluated, evaluate, explained_variance
from proximo.core.losses import FARTHEST
from proximo.core.optim import Optimizer
from proximo.core.streams import Stream
from proximo.core.timer import Timer
from proximo.core.types import Episode, LossTerm, Policy, RewardTerm, Rollout, Source


@dataclass
class Parts:
    """What the loop turns: one object per slot."""

    policy: Policy
    sources: Sequence[Source]
    terms: Sequence[RewardTerm]
    streams: Sequence[Stream]
    losses: Sequence[LossTerm]
    optimizer: Optimizer
    batching: Batching
    engine: Engine
    plan: Plan
    schedules: Sequence[Callable[[float], None]]
    """Called with the progress in [0, 1] before learning."""
    advantages: Sequence[Callable[[Sequence[Evaluated]], None]]
    """Transformations of the advantages over the whole rollout."""
    timer: Timer


class PPO:
    """One iteration turns rollouts of all sources into one policy update."""

    def __init__(self, parts: Parts, total_steps: int) -> None:
        self.parts = parts
        self.total_steps = total_steps
        self.step = 0
        """Valid environment steps so far; rows of data where no environment is in the loop."""
        self.update = 0
        self.episodes: list[Episode] = []
        """Those that the last iteration finished."""

    def iterate(self) -> dict[str, float]:
        """Collect, estimate, learn; returns the update's metrics."""
        parts = self.parts
        rollouts = [source.collect(parts.policy) for source in parts.sources]
        with parts.timer.phase("estimate"):
            for rollout in rollouts:
                rollout.rewards = {term.name: term(rollout) for term in parts.terms}
            data = [
                evaluate(parts.policy, rollout, source, parts.streams, parts.terms, parts.engine.recursions)
                for rollout, source in zip(rollouts, parts.sources, strict=True)
            ]
            for transform in parts.advantages:
                transform(data)
            metrics = describe(data, parts.streams) | describe_recorded(data)
        with parts.timer.phase("learn"):
            for schedule in parts.schedules:
                schedule(min(1.0, self.step / self.total_steps))
            metrics |= {f"{name}/share": share for name, share in parts.batching.shares.items()}
            units = [parts.batching.units(entry) for entry in data]
            metrics |= parts.engine.learn(
                parts.policy, parts.optimizer, parts.losses, parts.batching, units, parts.plan
            )
            for rollout in rollouts:
                parts.policy.observe(rollout)
                for term in parts.terms:
                    term.update(rollout)
            self._count(rollouts)
            # Freeing a rollout takes time that belongs to the update.
            del rollout, rollouts, data, units
        return metrics

    def _count(self, rollouts: list[Rollout]) -> None:
        fresh = [rollout for rollout in rollouts if rollout.fresh]
        self.step += sum(int(rollout.valid.sum()) for rollout in fresh or rollouts)
        self.update += 1
        self.episodes = [episode for rollout in fresh for episode in rollout.episodes]

    def state_dict(self) -> dict[str, Any]:
        """The counters."""
        return {"step": self.step, "update": self.update}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.step, self.update = int(state["step"]), int(state["update"])


def normalize_rollout_advantages(data: Sequence[Evaluated]) -> None:
    """Standardise advantages over the whole rollout: centre fresh rows, scale all by the fresh deviation.

    Beside recorded rows all are clamped, as in a minibatch (core/losses.py, standardize). One row alone, which has no
    deviation, stays as it is.
    """
    fresh = [entry.advantage[entry.rollout.valid] for entry in data if entry.rollout.fresh]
    rows = torch.cat(fresh or [entry.advantage[entry.rollout.valid] for entry in data])
    if rows.shape[0] < 2:
        return
    centre, deviation = rows.mean(), rows.std() + 1e-8
    for entry in data:
        shift = centre if entry.rollout.fresh else 0.0
        entry.advantage = (entry.advantage - shift) / deviation
        if len(fresh) < len(data):
            entry.advantage = entry.advantage.clamp(-FARTHEST, FARTHEST)


def describe(data: Sequence[Evaluated], streams: Sequence[Stream]) -> dict[str, float]:
    """Metrics of the fresh rows before learning: explained variance, value and reward per stream."""
    entry = next((entry for entry in data if entry.rollout.fresh), data[0])
    valid = entry.rollout.valid
    # Picking rows costs more than the sums.
    rows = slice(None) if bool(valid.all()) else valid
    metrics = {}
    for stream in streams:
        prefix = "" if stream is streams[0] else f"{stream.name}/"
        value, target = entry.value[stream.name], entry.target[stream.name]
        metrics[f"{prefix}explained_variance"] = explained_variance(value[rows], target[rows])
        metrics[f"{prefix}value_mean"] = value[rows].mean()
        metrics[f"{prefix}reward_mean"] = entry.reward[stream.name][rows].mean()
    names = list(metrics)
    return dict(zip(names, torch.stack([metrics[name] for name in names]).tolist(), strict=True))


def describe_recorded(data: Sequence[Evaluated]) -> dict[str, float]:
    """Means over the rows of each source that is not fresh: V-trace's ρ and c, the surrogate's weight, outliers."""
    metrics = {}
    for entry in data:
        if entry.rollout.fresh:
            continue
        correction, valid = entry.correction, entry.rollout.valid
        columns = {"rho_mean": correction.rho, "c_mean": correction.c, "weight_mean": entry.surrogate_weight}
        if correction.inlier is not None:
            columns["outlier_fraction"] = (correction.inlier < 1.0).to(entry.advantage.dtype)
        for name, column in columns.items():
            if column is not None:
                metrics[f"{entry.rollout.source}/{name}"] = float(column[valid].mean())
    return metrics
