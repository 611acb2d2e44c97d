"""A curriculum: a parameter of the training environments moves from easy to hard as success allows."""

from __future__ import annotations

from typing import Any

from proximo.config.experiment import CurriculumHook
from proximo.config.registry import nearest
from proximo.errors import RunError
from proximo.runs.hook import HookedTraining

PREFIX = "curriculum/"
"""The parameter's present value is the metric `curriculum/<parameter>`."""


class Curriculum:
    """Where the metric is high enough, the parameter takes a step; evaluations keep the configured value.

    Environments take a new value at their next reset, so `episodes` must end before the next judgement: by then
    the metric's window holds hardly any episode of the old value.
    """

    def __init__(self, name: str, config: CurriculumHook) -> None:
        self.name = name
        self.config = config
        self.moves = 0
        self.waited = 0
        """Training episodes that ended since the last move."""

    @property
    def value(self) -> float:
        """The parameter's present value; whole where start, end and step are."""
        config = self.config
        start, end, way = config.start, config.end, config.step * self.moves
        # Rounded, because 0.5 + 2 × 0.1 is meant to be 0.7.
        value = max(round(start - way, 10), end) if end < start else min(round(start + way, 10), end)
        whole = isinstance(start, int) and isinstance(end, int) and config.step.is_integer()
        return int(value) if whole else float(value)

    def at_start(self, training: HookedTraining) -> None:
        """Raises: UserError where the environment has no such parameter."""
        training.configure({self.config.parameter: self.value})
        training.say(f"hooks.{self.name}: {self.config.parameter} begins at {self.value:g}")

    def after_update(self, training: HookedTraining, metrics: dict[str, float]) -> None:
        """Adds the value that this update was collected with; moves on where due.

        Raises: RunError where the metric does not exist.
        """
        metrics[PREFIX + self.config.parameter] = self.value
        self.waited += len(training.ppo.episodes)
        if self.value == self.config.end or self.waited < self.config.episodes:
            return
        if self._reached(metrics):
            self.moves, self.waited = self.moves + 1, 0
            training.configure({self.config.parameter: self.value})
            text = f"{self.config.parameter} {self.value:g} from step {training.step}"
            training.say(f"hooks.{self.name}: {text}")
            training.run.event("curriculum", training.step, {self.config.parameter: self.value})

    def _reached(self, metrics: dict[str, float]) -> bool:
        name = self.config.metric
        if name not in metrics and not name.startswith("eval/"):
            raise RunError(
                f"hooks.{self.name}.metric: this training has no metric {name!r}{nearest(name, list(metrics))}"
            )
        # An evaluation's metrics exist only in the updates that evaluate.
        return name in metrics and metrics[name] >= self.config.above

    def state_dict(self) -> dict[str, Any]:
        """How far it is; the environments keep the parameter itself."""
        return {"moves": self.moves, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.moves, self.waited = int(state["moves"]), int(state["waited"])
