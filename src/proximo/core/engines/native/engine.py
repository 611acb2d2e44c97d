"""The native engine: acts, values and learns through the kernels, on the torch policy's own parameters.

It computes what the eager engine does (tests hold its gradients to autograd's); draws no random numbers; keeps
nothing that a checkpoint would need.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from ctypes import byref
from typing import Any

import torch
from torch import Tensor

from proximo.core.batching import Batching, Minibatches, RowBatches, Units, entry_of
from proximo.core.engines.eager import Plan
from proximo.core.engines.layers import LayerGraph, Unsupported
from proximo.core.engines.native.library import (
    MAX_ACTIONS,
    MAX_STREAMS,
    CallMetrics,
    CallPlan,
    CallRows,
    CallSettings,
    library,
    missing,
)
from proximo.core.engines.native.model import Model
from proximo.core.engines.native.policy import NativePolicy, mask_bytes
from proximo.core.engines.native.recursions import NativeRecursions
from proximo.core.engines.native.ways import stepping_for
from proximo.core.losses import CloningLoss, EntropyLoss, PolicyLoss, ValueLoss
from proximo.core.optim import ADAPTIVE_RANGE, Optimizer
from proximo.core.returns import Recursions
from proximo.core.stepping import Stepping
from proximo.core.types import LossTerm, Policy, VecEnv

BUILT_IN = (PolicyLoss, ValueLoss, EntropyLoss)


class Native:
    """Kernels for dense actor-critics with categorical or Gaussian heads, built-in and cloning losses, on a CPU."""

    name = "native"

    def __init__(self, policy: Any, dtype: torch.dtype = torch.float32) -> None:
        self.graph: LayerGraph = policy.graph()
        self.model = Model(self.graph, dtype)
        self._learn = getattr(library(), "proximo_learn64" if self.model.wide else "proximo_learn32")
        self.gradient: Tensor | None = None
        """Where tests want the last minibatch's gradient, laid out as theta."""
        self.model.bind()
        self._actor = policy.actor_parameters()[0]
        """Takes no gradient while the critic is trained alone; finding it takes as long as the rest of a call."""
        self.recursions: Recursions = NativeRecursions()
        self.optimizer: Optimizer | None = None
        self.count = torch.zeros(())
        """Steps that Adam has made, float32 as `torch.optim` counts them."""
        self._moments: list[tuple[Tensor, int]] = []

    @staticmethod
    def refuses(
        policy: Any,
        losses: Sequence[LossTerm],
        batching: Batching,
        optimizer: Optimizer,
        warm_start: bool = False,
    ) -> str | None:
        """What this engine cannot do here, in words; None where it can do all."""
        if library() is None:
            return f"its kernels are {missing()}"
        if next(policy.parameters()).device.type != "cpu":
            return "it runs on the CPU only"
        foreign = [term.name for term in losses if type(term) not in (*BUILT_IN, CloningLoss)]
        if foreign:
            return f"loss {', '.join(foreign)}"
        if not isinstance(batching, RowBatches):
            return "minibatches of sequences"
        try:
            graph = policy.graph()
        except Unsupported as part:
            return str(part)
        if warm_start and optimizer.adam.weight_decay:
            return "a critic that is trained alone at first, with ppo.weight_decay"
        if graph.actions > MAX_ACTIONS or len(graph.streams) > MAX_STREAMS:
            return f"more than {MAX_ACTIONS} actions or {MAX_STREAMS} streams"
        return None

    def policy(self, policy: Any) -> Policy:
        """The same policy, acting and valuing through the kernels."""
        return NativePolicy(policy, self.model)

    def actor(self, policy: Any) -> Policy:
        """A policy with parameters of its own that acts through the kernels."""
        copied = copy.deepcopy(policy.module)
        model = Model(copied.graph(), self.model.dtype)
        model.bind()
        return NativePolicy(copied, model)

    def stepping(self, env: VecEnv) -> Stepping:
        """Steps that read and write the rollout's memory without PyTorch between."""
        return stepping_for(env)

    def learn(
        self,
        policy: Any,
        optimizer: Optimizer,
        losses: Sequence[LossTerm],
        batching: Batching,
        parts: Sequence[Units],
        plan: Plan,
    ) -> dict[str, float]:
        """All epochs and minibatches in one call; the same metrics as the eager engine's."""
        assert isinstance(batching, RowBatches)
        self._bind(optimizer)
        fields, count = _joined(parts), sum(part.count for part in parts)
        if count == 0:
            return {"epochs": float(plan.epochs), "kl_stop": 0.0}
        streams = self.graph.streams
        rows, keep = self._rows(policy, fields, count, streams)
        batches = batching.plan(parts, plan.epochs)
        settings = self._settings(optimizer, losses, batches.cut.largest, plan)
        metrics = CallMetrics()
        model = self.model
        self._learn(
            byref(model.program),
            byref(rows),
            byref(settings),
            byref(_call_plan(batches)),
            model.theta.data_ptr(),
            model.first.data_ptr(),
            model.second.data_ptr(),
            model.learn_memory(settings.minibatch).data_ptr(),
            byref(metrics),
            None if self.gradient is None else self.gradient.data_ptr(),
        )
        del keep
        if metrics.stopped:
            # Permutations that a KL stop left out are not used up, as in the eager engine.
            batching.drawn = batches.drawn[int(metrics.adam_step) - settings.adam_step]
        self._finish(optimizer, metrics)
        return _report(metrics, streams, settings, losses)

    def _rows(
        self, policy: Any, fields: dict[str, Tensor], count: int, streams: Sequence[str]
    ) -> tuple[CallRows, list[Tensor]]:
        obs = {name.removeprefix("obs/"): entry for name, entry in fields.items() if name.startswith("obs/")}
        dtype = self.model.dtype
        columns = {
            "obs": policy.vector(obs).to(dtype).contiguous(),
            "action": fields["action"].contiguous(),
        }
        for name in ("logp_old", "advantage", "surrogate_weight"):
            if name in fields:
                columns[name] = fields[name].to(dtype).contiguous()
        for name in ("value", "target"):
            entries = [fields[f"{name}/{stream}"].to(dtype) for stream in streams]
            stacked = entries[0].contiguous() if len(entries) == 1 else torch.stack(entries)
            columns["value_old" if name == "value" else "target"] = stacked
        if self.graph.mask_key is not None:
            columns["mask"] = mask_bytes(policy, obs)
        if "fresh" in fields:
            columns["fresh"] = fields["fresh"].contiguous().view(torch.uint8)
        call = CallRows(count=count, **{name: column.data_ptr() for name, column in columns.items()})
        return call, list(columns.values())

    def _settings(
        self, optimizer: Optimizer, losses: Sequence[LossTerm], minibatch: int, plan: Plan
    ) -> CallSettings:
        adam = optimizer.adam
        by_type = {type(term): term for term in losses}
        surrogate, value, entropy = (by_type.get(kind) for kind in BUILT_IN)
        cloning = sum(term.weight for term in losses if isinstance(term, CloningLoss))
        low, high = ADAPTIVE_RANGE
        return CallSettings(
            learning_rate=optimizer.learning_rate,
            beta1=adam.betas[0],
            beta2=adam.betas[1],
            eps=adam.eps,
            weight_decay=adam.weight_decay,
            max_grad_norm=optimizer.max_grad_norm,
            clip=surrogate.clip if isinstance(surrogate, PolicyLoss) else 0.0,
            value_clip=value.clip if isinstance(value, ValueLoss) and value.clip is not None else -1.0,
            value_coef=value.weight if value is not None else 0.0,
            entropy_coef=entropy.weight if entropy is not None else 0.0,
            target_kl=-1.0 if plan.target_kl is None else plan.target_kl,
            desired_kl=optimizer.desired_kl if plan.adaptive and optimizer.steered else -1.0,
            low_rate=low,
            high_rate=high,
            cloning_coef=cloning,
            minibatch=minibatch,
            epochs=plan.epochs,
            normalize_advantage=int(isinstance(surrogate, PolicyLoss) and surrogate.normalize),
            adam_step=int(self.count),
            surrogate=int(surrogate is not None),
            critic_only=int(not self._actor.requires_grad),
        )

    def _bind(self, optimizer: Optimizer) -> None:
        # Parameters and moments are views of the kernels' vectors until something replaces them (loading does).
        if not self.model.is_bound():
            self.model.bind()
            self.optimizer = None
        state = optimizer.adam.state
        if self.optimizer is optimizer and all(
            state[parameter]["exp_avg"].data_ptr() == address for parameter, address in self._moments
        ):
            return
        pairs = zip(self.model.views(self.model.first), self.model.views(self.model.second), strict=True)
        self._moments = []
        counts = [entry["step"] for entry in state.values() if "step" in entry]
        # All parameters make the same steps: one count serves them all.
        self.count = count = counts[0].clone() if counts else torch.zeros(())
        for (parameter, first), (_, second) in pairs:
            entry = state[parameter]
            for name, view in (("exp_avg", first), ("exp_avg_sq", second)):
                view.copy_(entry[name]) if name in entry else view.zero_()
                entry[name] = view
            entry["step"] = count
            self._moments.append((parameter, first.data_ptr()))
        self.optimizer = optimizer

    def _finish(self, optimizer: Optimizer, metrics: CallMetrics) -> None:
        self.count.fill_(metrics.adam_step)
        if optimizer.schedule == "adaptive":
            optimizer.set_rate(metrics.learning_rate)


def _joined(parts: Sequence[Units]) -> dict[str, Tensor]:
    """The rows of all sources one after the other; with flags where some are recorded."""
    if len(parts) == 1 and parts[0].fresh:
        return parts[0].fields
    names = set().union(*(part.fields for part in parts))
    joined = {name: torch.cat([entry_of(part, name) for part in parts]) for name in names}
    joined["fresh"] = torch.cat([torch.full((part.count,), part.fresh) for part in parts])
    return joined


def _call_plan(batches: Minibatches) -> CallPlan:
    cut = batches.cut
    return CallPlan(
        order=batches.order.data_ptr(),
        size=cut.size.data_ptr(),
        scale=cut.scale.data_ptr(),
        batches=cut.size.shape[0],
        rows=cut.rows,
    )


def _report(
    metrics: CallMetrics, streams: Sequence[str], settings: CallSettings, losses: Sequence[LossTerm]
) -> dict[str, float]:
    result = {"epochs": metrics.epochs, "kl_stop": metrics.stopped}
    if metrics.weight == 0.0:
        return result
    kinds = {type(term) for term in losses}
    names = ["entropy", "loss", "grad_norm"]
    names += ["policy_loss", "kl", "clip_fraction"] if PolicyLoss in kinds else []
    names += ["value_loss"] if ValueLoss in kinds else []
    result |= {name: getattr(metrics, name) / metrics.weight for name in names}
    result["entropy_loss"] = -result["entropy"]
    cloning = metrics.cloning_loss / metrics.weight
    result |= {f"{term.name}_loss": cloning for term in losses if isinstance(term, CloningLoss)}
    if len(streams) > 1 and ValueLoss in kinds:
        for index, stream in enumerate(streams):
            result[f"value_loss/{stream}"] = metrics.stream_loss[index] / metrics.weight
    return result
