"""The optimiser of a policy: Adam, gradient clipping, and the learning rate's schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from proximo.core.adam import Adam
from proximo.core.flat import FlatAdam

ADAPTIVE_RANGE = (1e-5, 1e-2)
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: 0.5 * (1.0 + math.cos(math.pi * progress)),
}
"""Factor of the learning rate by progress in [0, 1]; `adaptive` has none."""


class Optimizer:
    """AdamW with decoupled decay 0 by default (then plain Adam), clipped by the global gradient norm."""

    def __init__(
        self,
        policy: nn.Module,
        learning_rate: float,
        schedule: str,
        desired_kl: float,
        max_grad_norm: float,
        eps: float,
        weight_decay: float,
    ) -> None:
        self.parameters = [p for p in policy.parameters() if p.requires_grad]
        self.base_rate = learning_rate
        self.schedule = schedule
        self.desired_kl = desired_kl
        self.max_grad_norm = max_grad_norm
        self.steered = schedule == "adaptive"
        """A minibatch's KL moves the rate; not while the actor is frozen, whose KL is nothing but rounding."""
        self.adam = Adam(self.parameters, learning_rate, eps, weight_decay)
        self._flat: FlatAdam | None = None

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return self.adam.learning_rate

    def at(self, progress: float) -> None:
        """Set the scheduled rate for `progress` in [0, 1] of the training; adaptive keeps its own."""
        factor = SCHEDULES.get(self.schedule)
        if factor is not None:
            self.set_rate(self.base_rate * factor(min(max(progress, 0.0), 1.0)))

    def adapt(self, kl: float) -> None:
        """Adaptive schedule (as in rsl_rl): steer the rate so that a minibatch's KL stays near `desired_kl`."""
        low, high = ADAPTIVE_RANGE
        if not self.steered:
            return
        if kl > 2.0 * self.desired_kl:
            self.set_rate(max(low, self.learning_rate / 1.5))
        elif 0.0 < kl < 0.5 * self.desired_kl:
            self.set_rate(min(high, self.learning_rate * 1.5))

    def begin(self) -> None:
        """Before the steps of an update: take up what loading, freezing or moving changed since the last one."""
        trained = [parameter for parameter in self.parameters if parameter.requires_grad]
        if self._flat is not None and not self._flat.holds(trained):
            self._flat.release()
            self._flat = None
        if self._flat is None and FlatAdam.fits(self.adam, trained):
            self._flat = FlatAdam(self.adam, trained)

    def step(self, loss: Tensor) -> Tensor:
        """One step down `loss`; returns the gradient's norm before clipping."""
        if self._flat is not None:
            return self._flat.step(loss, self.max_grad_norm)
        self.adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        # All tensors in one call where PyTorch can: it cannot on MPS.
        together = self.parameters[0].device.type != "mps"
        norm = nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm, foreach=together)
        self.adam.step()
        return norm.detach()

    def forget(self) -> None:
        """Begin anew with Adam's moments, as if no step had been made; in place, so that views of them stay."""
        for entry in self.adam.state.values():
            for moment in entry.values():
                moment.zero_()

    def set_rate(self, rate: float) -> None:
        """Use this rate from the next step on."""
        self.adam.learning_rate = rate

    def state_dict(self) -> dict[str, Any]:
        """Moments per parameter, in order, and the current rate."""
        return {"rate": self.learning_rate, "moments": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.adam.load_state_dict(state["moments"])
        self.set_rate(state["rate"])
