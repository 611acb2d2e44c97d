"""The compiled engine: one optimiser step (forward, losses, gradient, clipping, Adam) as one compiled function.

For any torch module that `torch.compile` takes whole. Compiling costs seconds to minutes before the first update, so
it is meant for GPUs, where CUDA graphs then launch the whole step at once, and for long runs. What an update decides
on the way (stop by KL, adaptive rate) stays on the device: it is read once per epoch.
"""

from __future__ import annotations

import copy
import os
import shutil
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from proximo.core.batching import Batching, RowBatches, Units
from proximo.core.engines.compiled_state import StepState
from proximo.core.engines.eager import Eager, Plan, weighted_sum
from proximo.core.losses import CloningLoss, EntropyLoss, PolicyLoss
from proximo.core.optim import ADAPTIVE_RANGE, Optimizer
from proximo.core.types import Batch, LossTerm, Output, State
from proximo.errors import UserError, in_one_line

CURE = "use engine: eager"
Say = Callable[[str], None]


class Compiled(Eager):
    """Acts as the eager engine does; learns through one compiled function."""

    name = "compiled"

    def __init__(self, say: Say = print, backend: str = "inductor") -> None:
        """`backend` is `torch.compile`'s: tests take one that needs no C++ compiler."""
        self.say = say
        self.backend = backend
        self._function: Callable[..., None] | None = None
        self._compiled: Callable[..., None] | None = None
        self._made_for: tuple[Any, ...] = ()
        self._moving: list[tuple[Tensor, LossTerm, str]] = []
        """Numbers that schedules move: in the compiled function, in which term of the trainer, under which name."""

    @staticmethod
    def refuses(
        policy: Any, losses: Sequence[LossTerm], batching: Batching, warm_start: bool = False
    ) -> str | None:
        """What this engine cannot do here, in words; None where it can try."""
        if warm_start:
            return "a critic that is trained alone at first"
        moving = [term.name for term in losses if isinstance(term, CloningLoss) and term.line.moves]
        if moving:
            return f"a weight that moves (loss {', '.join(moving)})"
        device = next(policy.parameters()).device.type
        if device not in ("cpu", "cuda"):
            return f"it runs on cpu and cuda, not {device}"
        if not isinstance(batching, RowBatches):
            return "minibatches of sequences"
        compiler = os.environ.get("CXX", "g++")
        if shutil.which(compiler) is None:
            return f"it needs the C++ compiler {compiler} (Debian: apt install g++, or set CXX)"
        return None

    def learn(
        self,
        policy: Any,
        optimizer: Optimizer,
        losses: Sequence[LossTerm],
        batching: Batching,
        parts: Sequence[Units],
        plan: Plan,
    ) -> dict[str, float]:
        """One update; the same metrics as the eager engine's."""
        state: StepState | None = None
        with torch.no_grad():
            for epoch in range(plan.epochs):
                for batch in batching.epoch(parts):
                    if state is None:
                        state = self._prepare(policy, optimizer, losses, batch, plan)
                    self._run(state, batch)
                if state is not None and plan.target_kl is not None and bool(state.stopped):
                    state.finish(optimizer)
                    return state.report(epochs=epoch, stopped=1.0)
        if state is None:
            return {"epochs": float(plan.epochs), "kl_stop": 0.0}
        state.finish(optimizer)
        return state.report(epochs=plan.epochs, stopped=0.0)

    def _prepare(
        self, policy: Any, optimizer: Optimizer, losses: Sequence[LossTerm], batch: Batch, plan: Plan
    ) -> StepState:
        made_for = (policy, optimizer, *losses, plan)
        if self._function is None or any(a is not b for a, b in zip(made_for, self._made_for, strict=True)):
            self._made_for = made_for
            self.terms = [copy.copy(term) for term in losses]
            self.module = _Computed(policy)
            self._function = _optimiser_step(self.module, self.terms, optimizer, plan)
            self._compiled = None
            # A number that a schedule moves would be compiled in, and again after every update.
            self._moving = []
            for term, given in zip(self.terms, losses, strict=True):
                for name in _moved(given):
                    number = torch.zeros((), device=batch.action.device)
                    vars(term)[name] = number
                    self._moving.append((number, given, name))
        for number, given, name in self._moving:
            number.fill_(getattr(given, name))
        output = policy.compute(batch.obs, batch.state, batch.start)
        names = list(weighted_sum(self.terms, output, batch)[1])
        return StepState(self.module, optimizer, [*names, "grad_norm"])

    def _run(self, state: StepState, batch: Batch) -> None:
        assert self._function is not None
        if batch.scale != 1.0:
            # The short last minibatch: not worth a program of its own, and padding would count its rows twice.
            self._function(state, batch)
        elif self._compiled is not None:
            self._compiled(state, batch)
        else:
            self._compile(state, batch)

    def _compile(self, state: StepState, batch: Batch) -> None:
        begun = time.monotonic()
        on_gpu = batch.action.device.type == "cuda" and self.backend == "inductor"
        mode = "reduce-overhead" if on_gpu else None
        if on_gpu:
            state.mark_static()
        assert self._function is not None
        function: Callable[..., None] = torch.compile(
            self._function, fullgraph=True, dynamic=False, backend=self.backend, mode=mode
        )
        try:
            # Whatever stops the compiler, the cure is the same.
            function(state, batch)
        except Exception as error:
            raise UserError(
                f"engine: compiled cannot compile this policy and its losses: {in_one_line(error)}; {CURE}"
            ) from error
        self._compiled = function
        self.say(f"engine: the optimiser step was compiled in {time.monotonic() - begun:.1f} s")


class _Computed(nn.Module):
    """A policy whose `forward` is `compute`, which is what `functional_call` calls."""

    def __init__(self, policy: Any) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, obs: dict[str, Tensor], state: State, start: Tensor) -> Output:
        """See `Policy.compute`."""
        result: Output = self.policy.compute(obs, state, start)
        return result


def _moved(term: LossTerm) -> tuple[str, ...]:
    """Which numbers of a loss term a schedule may move."""
    if isinstance(term, PolicyLoss):
        return ("clip",)
    # Without a bonus nothing moves, and its gradient is left out.
    return ("weight",) if isinstance(term, EntropyLoss) and term.weight != 0.0 else ()


def _optimiser_step(
    module: nn.Module, terms: Sequence[LossTerm], optimizer: Optimizer, plan: Plan
) -> Callable[[StepState, Batch], None]:
    """The function of a minibatch that moves everything in `StepState` in place."""
    adam = optimizer.adam
    (beta1, beta2), eps, decay = adam.betas, adam.eps, adam.weight_decay
    max_norm, desired, (low, high) = optimizer.max_grad_norm, optimizer.desired_kl, ADAPTIVE_RANGE
    limit = None if plan.target_kl is None else 1.5 * plan.target_kl

    def loss_of(parameters: dict[str, Tensor], batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        arguments = (batch.obs, batch.state, batch.start)
        output = torch.func.functional_call(module, parameters, arguments)
        total, metrics = weighted_sum(terms, output, batch)
        return total if batch.scale == 1.0 else total * batch.scale, metrics

    def step(state: StepState, batch: Batch) -> None:
        differentiate = torch.func.grad_and_value(loss_of, has_aux=True)
        gradients, (_, metrics) = differentiate(state.parameters, batch)
        norm = torch.stack([(gradient * gradient).sum() for gradient in gradients.values()]).sum().sqrt()
        active = ~state.stopped[0]
        if limit is not None and "kl" in metrics:
            active = active & ~(metrics["kl"] > limit)
        factor = (max_norm / (norm + 1e-6)).clamp_max(1.0)
        count, rate = state.count[0] + 1.0, state.rate[0]
        size = (rate / (1.0 - beta1**count)).to(norm.dtype)
        root = (1.0 - beta2**count).sqrt().to(norm.dtype)
        keep = (1.0 - rate * decay).to(norm.dtype)
        for name, parameter in state.parameters.items():
            gradient = gradients[name] * factor
            first = torch.lerp(state.first[name], gradient, 1.0 - beta1)
            second = state.second[name] * beta2 + gradient * gradient * (1.0 - beta2)
            moved = parameter * keep - size * first / (second.sqrt() / root + eps)
            parameter.copy_(torch.where(active, moved, parameter))
            state.first[name].copy_(torch.where(active, first, state.first[name]))
            state.second[name].copy_(torch.where(active, second, state.second[name]))
        found = torch.stack([*metrics.values(), norm]).to(state.sums.dtype) * batch.scale
        state.sums.add_(torch.where(active, found, torch.zeros_like(found)))
        state.weight.add_(active * batch.scale)
        if plan.adaptive:
            kl = metrics["kl"]
            slower, faster = (rate / 1.5).clamp_min(low), (rate * 1.5).clamp_max(high)
            calm = (kl > 0.0) & (kl < 0.5 * desired)
            wanted = torch.where(kl > 2.0 * desired, slower, torch.where(calm, faster, rate))
            state.rate.copy_(torch.where(active, wanted, rate))
        state.count.copy_(torch.where(active, count, state.count))
        state.stopped.copy_(~active)

    return step
