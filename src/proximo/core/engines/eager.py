"""The reference engine: plain PyTorch, for any torch module."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from proximo.core.batching import Batching, Units
from proximo.core.halves import torch_stepping
from proximo.core.losses import is_number
from proximo.core.optim import Optimizer
from proximo.core.returns import TORCH, Recursions
from proximo.core.stepping import Stepping
from proximo.core.types import Batch, LossTerm, Output, Policy, VecEnv


@dataclass(frozen=True)
class Plan:
    """How one update goes."""

    epochs: int
    target_kl: float | None = None
    adaptive: bool = False


class Eager:
    """Runs all epochs and minibatches of an update with autograd."""

    name = "eager"
    recursions: Recursions = TORCH

    def policy(self, policy: Policy) -> Policy:
        """PyTorch acts as it is."""
        return policy

    def actor(self, policy: Policy) -> Policy:
        """A policy with parameters of its own."""
        return copy.deepcopy(policy)

    def stepping(self, env: VecEnv) -> Stepping:
        """The reference's way through a rollout."""
        return torch_stepping(env)

    def learn(
        self,
        policy: Policy,
        optimizer: Optimizer,
        losses: Sequence[LossTerm],
        batching: Batching,
        parts: Sequence[Units],
        plan: Plan,
    ) -> dict[str, float]:
        """One update; metrics are means over its minibatches, weighted by their rows.

        Stops as soon as a minibatch's approximate KL exceeds 1.5 × `target_kl` (that minibatch makes no step).
        """
        record = Record()
        limit = None if plan.target_kl is None else 1.5 * plan.target_kl
        optimizer.begin()
        for epoch in range(plan.epochs):
            for batch in batching.epoch(parts):
                output = policy.compute(batch.obs, batch.state, batch.start)
                total, metrics = weighted_sum(losses, output, batch)
                if limit is not None and "kl" in metrics and metrics["kl"] > limit:
                    return record.mean(epochs=epoch, stopped=1.0)
                metrics["grad_norm"] = optimizer.step(total if batch.scale == 1.0 else total * batch.scale)
                record.add(metrics, batch.scale)
                if plan.adaptive:
                    optimizer.adapt(float(metrics["kl"]))
        return record.mean(epochs=plan.epochs, stopped=0.0)


def weighted_sum(
    losses: Sequence[LossTerm], output: Output, batch: Batch
) -> tuple[Tensor, dict[str, Tensor]]:
    """Σ weight · term, and everything the terms report."""
    metrics: dict[str, Tensor] = {}
    total: Tensor | None = None
    for term in losses:
        loss, extra = term(output, batch)
        metrics[f"{term.name}_loss"] = loss.detach()
        metrics |= extra
        # What changes nothing is left out: for small networks one operation costs as much as a layer.
        if not is_number(term.weight, 0.0) or loss.requires_grad:
            part = loss if is_number(term.weight, 1.0) else term.weight * loss
            total = part if total is None else total + part
    assert total is not None
    metrics["loss"] = total.detach()
    return total, metrics


class Record:
    """Keeps metrics on the device and reads them once."""

    def __init__(self) -> None:
        self.values: dict[str, list[Tensor]] = {}
        self.weights: list[float] = []

    def add(self, metrics: dict[str, Tensor], weight: float) -> None:
        for name, value in metrics.items():
            self.values.setdefault(name, []).append(value)
        self.weights.append(weight)

    def mean(self, epochs: int, stopped: float) -> dict[str, float]:
        result = {"epochs": float(epochs), "kl_stop": stopped}
        if self.weights:
            weight = torch.tensor(self.weights)
            rows = torch.stack([torch.stack(entries) for entries in self.values.values()]).cpu()
            means = (rows * weight).sum(1) / weight.sum()
            result |= dict(zip(self.values, means.tolist(), strict=True))
        return result
