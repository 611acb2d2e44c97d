"""The loss terms of PPO. Shapes: leading shape `L` is `[B]` rows or `[L, B]` sequences; losses are scalars.

Conventions that libraries leave open: every mean is over the valid rows of the minibatch; the value loss is the
mean squared error without ½; advantages are normalised over the fresh rows of the minibatch (or the rollout).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from proximo.core.anneal import Line
from proximo.core.types import Batch, Output
from proximo.errors import RunError, user_code

Metrics = dict[str, Tensor]
FARTHEST = 5.0
"""Beside recorded rows no advantage counts for more deviations than this."""


def is_number(weight: float | Tensor, number: float) -> bool:
    """Whether a weight is just this; False for a tensor, by which compiled functions know a moving one."""
    return not isinstance(weight, Tensor) and weight == number


def mean(x: Tensor, weight: Tensor | None) -> Tensor:
    """Mean over the rows that count."""
    return x.mean() if weight is None else (x * weight).sum() / weight.sum().clamp_min(1.0)


def standardize(advantage: Tensor, weight: Tensor | None, fresh: Tensor | None) -> Tensor:
    """Centre fresh rows by their own mean, scale all rows by the fresh deviation.

    A z-score over fresh and demonstration rows together holds learning back (docs/design.md, centring); with
    fewer than two fresh rows the deviation of all rows scales them and nothing is centred.
    """
    if weight is None and fresh is None:
        deviation, centre = torch.std_mean(advantage)
        return (advantage - centre) / (deviation + 1e-8)
    counts = torch.ones_like(advantage) if weight is None else weight
    inside = counts if fresh is None else counts * fresh
    some = inside.sum() > 1
    inside = torch.where(some, inside, counts)
    n = inside.sum().clamp_min(2.0)
    centre = (advantage * inside).sum() / n
    deviation = (((advantage - centre) ** 2 * inside).sum() / (n - 1)).sqrt() + 1e-8
    shift = centre * some if fresh is None else centre * some * fresh
    scaled = (advantage - shift) / deviation
    return scaled if fresh is None else scaled.clamp(-FARTHEST, FARTHEST)


class PolicyLoss:
    """The clipped surrogate (Schulman et al. 2017, eq. 7)."""

    name = "policy"
    weight = 1.0

    def __init__(self, clip: float, normalize: bool) -> None:
        self.base_clip = self.clip = clip
        self.normalize = normalize

    def shrink(self, progress: float) -> None:
        """Linear schedule: the clip range falls to (nearly) 0 at progress 1."""
        self.clip = self.base_clip * max(1e-3, 1.0 - progress)

    def __call__(self, output: Output, batch: Batch) -> tuple[Tensor, Metrics]:
        """Minus the surrogate; reports `kl` (the k3 estimator of Schulman 2020) and `clip_fraction`."""
        advantage = batch.advantage
        if self.normalize and advantage.numel() > 1:
            advantage = standardize(advantage, batch.weight, batch.fresh)
        if batch.surrogate_weight is not None:
            advantage = advantage * batch.surrogate_weight
        log_ratio = output.dist.log_prob(batch.action) - batch.logp_old
        ratio = log_ratio.exp()
        clipped = ratio.clamp(1.0 - self.clip, 1.0 + self.clip)
        loss = -mean(torch.min(ratio * advantage, clipped * advantage), batch.weight)
        with torch.no_grad():
            rows = batch.weight
            if batch.fresh is not None:
                # Without any fresh row, the recorded ones tell how far the policy has moved.
                told = (batch.fresh | ~batch.fresh.any()).to(ratio.dtype)
                rows = told if rows is None else rows * told
            change = ratio - 1.0
            outside = change.abs() > self.clip
            metrics = {
                "kl": mean(change - log_ratio, rows),
                "clip_fraction": mean(outside.to(ratio.dtype), rows),
            }
        return loss, metrics


class ValueLoss:
    """Mean squared error of every stream's value head, summed over streams; optionally clipped."""

    name = "value"

    def __init__(self, weight: float, clip: float | None) -> None:
        self.weight = weight
        self.clip = clip

    def __call__(self, output: Output, batch: Batch) -> tuple[Tensor, Metrics]:
        """With `clip`, the larger of the plain and the clipped error counts (as in the original PPO code)."""
        losses: Metrics = {}
        for stream, target in batch.target.items():
            value = output.values[stream]
            if self.clip is None and batch.weight is None:
                losses[stream] = functional.mse_loss(value, target)
                continue
            error = (value - target) ** 2
            if self.clip is not None:
                old = batch.value_old[stream]
                moved = old + (value - old).clamp(-self.clip, self.clip)
                error = torch.max(error, (moved - target) ** 2)
            losses[stream] = mean(error, batch.weight)
        if len(losses) == 1:
            return next(iter(losses.values())), {}
        total = torch.stack(tuple(losses.values())).sum()
        return total, {f"value_loss/{stream}": loss.detach() for stream, loss in losses.items()}


class EntropyLoss:
    """Minus the policy's entropy: its weight is the entropy bonus."""

    name = "entropy"

    def __init__(self, weight: float) -> None:
        self.base_weight = self.weight = weight

    def shrink(self, progress: float) -> None:
        """Linear schedule: the bonus falls to (nearly) 0 at progress 1."""
        self.weight = self.base_weight * max(1e-3, 1.0 - progress)

    def __call__(self, output: Output, batch: Batch) -> tuple[Tensor, Metrics]:
        """Reports `entropy` in nats even where its weight is 0."""
        if is_number(self.weight, 0.0):
            with torch.no_grad():
                entropy = mean(output.dist.entropy(), batch.weight)
            return -entropy, {"entropy": entropy}
        entropy = mean(output.dist.entropy(), batch.weight)
        return -entropy, {"entropy": entropy.detach()}


class CloningLoss:
    """Behaviour cloning: minus the mean log-probability of the demonstrations' actions."""

    def __init__(self, name: str, weight: Line) -> None:
        self.name = name
        self.line = weight
        self.weight = weight(0.0)

    def anneal(self, progress: float) -> None:
        """The weight at `progress` in [0, 1] of the training."""
        self.weight = self.line(progress)

    def __call__(self, output: Output, batch: Batch) -> tuple[Tensor, Metrics]:
        """Zero where the minibatch has no demonstration row."""
        logp = output.dist.log_prob(batch.action)
        if batch.fresh is None:
            return logp.sum() * 0.0, {}
        demo = (~batch.fresh).to(logp.dtype)
        return -mean(logp, demo if batch.weight is None else demo * batch.weight), {}


class CustomLoss:
    """A user's callable of `(output, batch)` as a loss term, with an optional `state_dict`."""

    def __init__(self, name: str, weight: float, function: Callable[[Output, Batch], Tensor]) -> None:
        self.name = name
        self.weight = weight
        self.function = function
        own: Any = function
        if callable(getattr(own, "state_dict", None)):
            self.state_dict, self.load_state_dict = own.state_dict, own.load_state_dict

    def __call__(self, output: Output, batch: Batch) -> tuple[Tensor, Metrics]:
        """The callable's scalar. Raises: RunError where it raises, or returns something else."""
        with user_code(f"losses.{self.name}"):
            loss = self.function(output, batch)
        if not isinstance(loss, Tensor) or loss.dim():
            got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise RunError(f"losses.{self.name} returned {got}; it must be a scalar tensor, such as x.mean()")
        return loss, {}
