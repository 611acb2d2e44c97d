"""The hooks that an experiment adds by name: built-in ones, and the adapter for a user's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from proximo.config.experiment import CurriculumHook, Experiment, HookConfig
from proximo.config.registry import build, resolve
from proximo.errors import RunError, user_code
from proximo.runs.curriculum import Curriculum
from proximo.runs.hook import HookedTraining


class UserHook:
    """A hook of the user's: calls the methods it has; whatever goes wrong in them is told under its name."""

    def __init__(self, name: str, hook: Any) -> None:
        self.name = name
        self.hook = hook
        if callable(getattr(hook, "state_dict", None)):
            self.state_dict = hook.state_dict
            self.load_state_dict = hook.load_state_dict

    def at_start(self, training: HookedTraining) -> None:
        """Raises: RunError where it raises."""
        self._call("at_start", training)

    def after_update(self, training: HookedTraining, metrics: dict[str, float]) -> None:
        """Raises: RunError where it raises, or leaves something else than numbers in the metrics."""
        self._call("after_update", training, metrics)
        for key, value in metrics.items():
            if not isinstance(value, (int, float, np.number)):
                raise RunError(
                    f"hooks.{self.name}: it made the metric {key!r} {value!r}; it must be a number"
                )

    def after_record(self, training: HookedTraining, metrics: dict[str, float]) -> None:
        """Raises: RunError where it raises."""
        self._call("after_record", training, metrics)

    def after_save(self, training: HookedTraining, folder: Path, best: bool) -> None:
        """Raises: RunError where it raises."""
        self._call("after_save", training, folder, best)

    def _call(self, moment: str, training: HookedTraining, *given: Any) -> None:
        method = getattr(self.hook, moment, None)
        if method is not None:
            with user_code(f"hooks.{self.name}.{moment}"):
                method(training, *given)


def own(experiment: Experiment) -> list[Curriculum | UserHook]:
    """The hooks that the experiment adds; UserError where one cannot be made."""
    return [_hook(name, node) for name, node in experiment.hooks.items()]


def _hook(name: str, node: HookConfig) -> Curriculum | UserHook:
    if isinstance(node, CurriculumHook):
        return Curriculum(name, node)
    return UserHook(name, build(resolve(node.type), node.kwargs, where=f"hooks.{name}"))
