"""Tells what a value warm start did, and ends it."""

from __future__ import annotations

from typing import Any

from proximo.core.warm_start import WarmStart
from proximo.runs.hook import HookedTraining


class TellWarmStart:
    """Counts the updates of a warm start and prints the explained variance before and after it."""

    name = "warm_start"

    def __init__(self, warm_start: WarmStart) -> None:
        self.warm_start = warm_start
        self.before: float | None = None
        self.told = False

    def at_start(self, training: HookedTraining) -> None:
        """Says how many steps it takes."""
        config = training.experiment
        wanted, rollout = config.warm_start_steps, config.ppo.num_steps * training.env.spec.num_envs
        taken = self.warm_start.updates * rollout
        rounded = f", {wanted:,} rounded up to whole rollouts" if taken != wanted else ""
        training.say(f"value warm start: {taken:,} steps{rounded}; the actor and its deviation are frozen")

    def after_update(self, training: HookedTraining, metrics: dict[str, float]) -> None:
        """Explained variance is measured before learning: the first update's is before, the one after it after."""
        measured = metrics["explained_variance"]
        if self.before is None:
            self.before = measured
        elif not self.warm_start.active and not self.told:
            self.told = True
            training.say(
                f"value warm start: explained variance {self.before:.3f} before, {measured:.3f} after"
            )
            training.run.event("warm_start", training.step, {"before": self.before, "after": measured})
        self.warm_start.count()

    def state_dict(self) -> dict[str, Any]:
        """How far it is."""
        return {"before": self.before, "told": self.told, **self.warm_start.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.before, self.told = state["before"], bool(state["told"])
        self.warm_start.load_state_dict(state)
