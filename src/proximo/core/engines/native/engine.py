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

from proximo.core.batching import Batching, RowBatches, Units
from proximo.core.engines.eager import Plan
from proximo.core.engines.layers import LayerGraph, Unsupported
from proximo.core.engines.native.library import (
    INSTALL,
    MAX_ACTIONS,
    MAX_STREAMS,
    CallMetrics,
    CallRows,
    CallSettings,
    library,
)
from proximo.core.engines.native.model import Model
from proximo.core.engines.native.policy import NativePolicy, mask_bytes
from proximo.core.engines.native.recursions import NativeRecursions
from proximo.core.engines.native.ways import stepping_for
from proximo.core.losses import EntropyLoss, PolicyLoss, ValueLoss
from proximo.core.optim import ADAPTIVE_RANGE, Optimizer
from proximo.core.returns import Recursions
from proximo.core.stepping import Stepping
from proximo.core.types import LossTerm, Policy, Source, VecEnv

BUILT_IN = (PolicyLoss, ValueLoss, EntropyLoss)


class Native:
    """Kernels for dense actor-critics with categorical or Gaussian heads and the built-in losses, on a CPU."""

    name = "native"

    def __init__(self, policy: Any, dtype: torch.dtype = torch.float32) -> None:
        self.graph: LayerGraph = policy.graph()
        self.model = Model(self.graph, dtype)
        self._learn = getattr(library(), "proximo_learn64" if self.model.wide else "proximo_learn32")
        self.gradient: Tensor | None = None
        """Where tests want the last minibatch's gradient, laid out as theta."""
        self.model.bind()
        self.recursions: Recursions = NativeRecursions()
        self.optimizer: Optimizer | None = None
        self.count = torch.zeros(())
        """Steps that Adam has made, float32 as `torch.optim` counts them."""
        self._moments: list[tuple[Tensor, int]] = []

    @staticmethod
    def refuses(
        policy: Any,
        losses: Sequence[LossTerm],
        sources: Sequence[Source],
        batching: Batching,
        warm_start: bool = False,
    ) -> str | None:
        """What this engine cannot do here, in words; None where it can do all."""
        if warm_start:
            return "a critic that is trained alone at first"
        if library() is None:
            return f"its kernels are not built: {INSTALL}"
        if next(policy.parameters()).device.type != "cpu":
            return "it runs on the CPU only"
        foreign = [term.name for term in losses if type(term) not in BUILT_IN]
        if foreign or len(losses) != len(BUILT_IN):
            return f"loss {', '.join(foreign) or 'terms other than the built-in three'}"
        if len(sources) > 1 or not sources[0].fresh:
            return "sources besides the environments"
        if not isinstance(batching, RowBatches):
            return "minibatches of sequences"
        try:
            graph = policy.graph()
        except Unsupported as part:
            return str(part)
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
        (units,) = parts
        fields = units.fields
        streams = self.graph.streams
        rows, keep = self._rows(policy, fields, units.count, streams)
        order = batching.orders(units.count, plan.epochs)
        minibatch = min(batching.size, units.count)
        settings = self._settings(optimizer, losses, minibatch, plan)
        metrics = CallMetrics()
        model = self.model
        self._learn(
            byref(model.program),
            byref(rows),
            byref(settings),
            order.data_ptr(),
            model.theta.data_ptr(),
            model.first.data_ptr(),
            model.second.data_ptr(),
            model.learn_memory(minibatch).data_ptr(),
            byref(metrics),
            None if self.gradient is None else self.gradient.data_ptr(),
        )
        del keep
        # Permutations of epochs that a KL stop left out are not used up, as in the eager engine.
        batching.drawn -= plan.epochs - int(metrics.epochs + metrics.stopped)
        self._finish(optimizer, metrics)
        return _report(metrics, streams, settings)

    def _rows(
        self, policy: Any, fields: dict[str, Tensor], count: int, streams: Sequence[str]
    ) -> tuple[CallRows, list[Tensor]]:
        obs = {name.removeprefix("obs/"): entry for name, entry in fields.items() if name.startswith("obs/")}
        dtype = self.model.dtype
        columns = {
            "obs": policy.vector(obs).to(dtype).contiguous(),
            "action": fields["action"].contiguous(),
            "logp_old": fields["logp_old"].to(dtype).contiguous(),
            "advantage": fields["advantage"].to(dtype).contiguous(),
        }
        for name in ("value", "target"):
            entries = [fields[f"{name}/{stream}"].to(dtype) for stream in streams]
            stacked = entries[0].contiguous() if len(entries) == 1 else torch.stack(entries)
            columns["value_old" if name == "value" else "target"] = stacked
        if self.graph.mask_key is not None:
            columns["mask"] = mask_bytes(policy, obs)
        call = CallRows(count=count, **{name: column.data_ptr() for name, column in columns.items()})
        return call, list(columns.values())

    def _settings(
        self, optimizer: Optimizer, losses: Sequence[LossTerm], minibatch: int, plan: Plan
    ) -> CallSettings:
        adam = optimizer.adam
        by_type = {type(term): term for term in losses}
        policy, value, entropy = (by_type[kind] for kind in BUILT_IN)
        assert isinstance(policy, PolicyLoss)
        assert isinstance(value, ValueLoss)
        low, high = ADAPTIVE_RANGE
        return CallSettings(
            learning_rate=optimizer.learning_rate,
            beta1=adam.betas[0],
            beta2=adam.betas[1],
            eps=adam.eps,
            weight_decay=adam.weight_decay,
            max_grad_norm=optimizer.max_grad_norm,
            clip=policy.clip,
            value_clip=-1.0 if value.clip is None else value.clip,
            value_coef=value.weight,
            entropy_coef=entropy.weight,
            target_kl=-1.0 if plan.target_kl is None else plan.target_kl,
            desired_kl=optimizer.desired_kl if plan.adaptive else -1.0,
            low_rate=low,
            high_rate=high,
            minibatch=minibatch,
            epochs=plan.epochs,
            normalize_advantage=int(policy.normalize),
            adam_step=int(self.count),
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


def _report(metrics: CallMetrics, streams: Sequence[str], settings: CallSettings) -> dict[str, float]:
    result = {"epochs": metrics.epochs, "kl_stop": metrics.stopped}
    if metrics.weight == 0.0:
        return result
    names = ("policy_loss", "value_loss", "entropy", "kl", "clip_fraction", "loss", "grad_norm")
    result |= {name: getattr(metrics, name) / metrics.weight for name in names}
    result["entropy_loss"] = -result["entropy"]
    if len(streams) > 1:
        for index, stream in enumerate(streams):
            result[f"value_loss/{stream}"] = metrics.stream_loss[index] / metrics.weight
    return result
