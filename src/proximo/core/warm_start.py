"""Value warm start: the critic fits a policy that was not learnt here (a clone, say) before that policy moves.

Until then its values are those of random weights, and the first updates would spoil what the policy can do.
"""

from __future__ import annotations

from typing import Any

from proximo.core.optim import Optimizer
from proximo.core.types import Policy


class WarmStart:
    """Freezes everything that decides actions for the first `updates`, observation statistics too."""

    def __init__(self, updates: int, policy: Policy, optimizer: Optimizer) -> None:
        self.updates = updates
        self.done = 0
        self.policy = policy
        self.actor = [parameter for parameter in policy.actor_parameters() if parameter.requires_grad]
        self.optimizer = optimizer
        self._freeze()

    @property
    def active(self) -> bool:
        """The critic is still being trained alone."""
        return self.done < self.updates

    def count(self) -> None:
        """An update was made; after the last one the actor learns, and Adam begins anew for all."""
        if not self.active:
            return
        self.done += 1
        if not self.active:
            # Adam's moments of the frozen parts do not exist or are 0, and its step count must fit both.
            self.optimizer.forget()
            self._freeze()

    def _freeze(self) -> None:
        self.policy.statistics_held = self.active
        self.optimizer.steered = self.optimizer.schedule == "adaptive" and not self.active
        for parameter in self.actor:
            parameter.requires_grad_(not self.active)

    def state_dict(self) -> dict[str, Any]:
        """Updates made."""
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.done = int(state["done"])
        self._freeze()
