"""A source of the user's own: what it gives is looked at before the engines, which trust their memory, read it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor

from proximo.core.types import Comparison, Correction, EnvSpec, Policy, Rollout, Source
from proximo.errors import RunError, user_code


class OwnSource:
    """Calls the user's source; whatever it raises, or gives in another type than rollouts have, is told by its name."""

    def __init__(self, name: str, source: Source, spec: EnvSpec) -> None:
        self.name = name
        self.source = source
        self.spec = spec
        self.fresh, self.off_policy = source.fresh, source.off_policy
        if callable(getattr(source, "state_dict", None)):
            self.state_dict = source.state_dict  # type: ignore[attr-defined]
            self.load_state_dict = source.load_state_dict  # type: ignore[attr-defined]

    def collect(self, policy: Policy) -> Rollout:
        """Its rollout. Raises: RunError where that is no rollout of these environments."""
        with user_code(f"sources.{self.name}.collect"):
            rollout = self.source.collect(policy)
        rollout.source = self.name
        for column in ("reward", "logp_behavior"):
            self._check(column, getattr(rollout, column), torch.float32)
        space = self.spec.action_space
        self._check("action", rollout.action, torch.float32 if isinstance(space, spaces.Box) else torch.int64)
        if isinstance(space, spaces.Discrete):
            outside = (rollout.action < 0) | (rollout.action >= int(space.n))
            if bool(outside.any()):
                wrong = int(rollout.action[outside][0])
                raise RunError(f"sources.{self.name}: the action {wrong} is none of 0 to {int(space.n) - 1}")
        return rollout

    def correct(self, comparison: Comparison) -> Correction:
        """What its rows count for. Raises: RunError where that is not told in float32."""
        with user_code(f"sources.{self.name}.correct"):
            correction = self.source.correct(comparison)
        for entry in fields(correction):
            column = getattr(correction, entry.name)
            if isinstance(column, Tensor):
                self._check(entry.name, column, torch.float32)
        return correction

    def _check(self, column: str, given: Any, wanted: torch.dtype) -> None:
        got = given.dtype if isinstance(given, Tensor) else type(given).__name__
        if got is not wanted:
            shown = str(wanted).removeprefix("torch.")
            raise RunError(
                f"sources.{self.name}: {column} is {str(got).removeprefix('torch.')}, must be {shown}"
            )
