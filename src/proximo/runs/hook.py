"""What a hook is, and what it may use of the training that it is called with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch

from proximo.config.experiment import Experiment
from proximo.core.ppo import PPO
from proximo.core.timer import Timer
from proximo.core.types import Policy, VecEnv
from proximo.runs.evaluation import EvalResult
from proximo.runs.run import Run
from proximo.runs.trackers import Trackers


class HookedTraining(Protocol):
    """A training as its hooks see it."""

    experiment: Experiment
    run: Run
    device: torch.device
    ppo: PPO
    policy: Policy
    """The module that is trained."""
    env: VecEnv
    """The training environments."""
    timer: Timer
    trackers: Trackers
    interrupted: bool
    """A signal ended it; a resume will go on."""
    last_eval_step: int
    """−1 before the first evaluation."""
    last_result: EvalResult
    """Of the last evaluation, in the first of its modes; there is none before."""

    @property
    def step(self) -> int:
        """Valid environment steps so far."""

    @property
    def finishing(self) -> bool:
        """No further update will follow."""

    def say(self, text: str) -> None:
        """One line for the reader."""

    def stop(self, reason: str) -> None:
        """Finish after this update."""

    def configure(self, params: dict[str, Any]) -> None:
        """Change parameters of the training environments from their next resets on."""

    def evaluate(self) -> dict[str, float]:
        """Evaluate now; returns the `eval/…` metrics."""

    def record_video(self, name: Path) -> Path:
        """Record the agent as it is now; returns the file."""

    def save(self, *, best: bool = False, keep: int = 3) -> Path:
        """Write a checkpoint, point `last` (and `best`) at it, delete old ones."""


class Hook(Protocol):
    """Called at named moments; every method may be left out by a hook of the user's."""

    name: str

    def at_start(self, training: HookedTraining) -> None:
        """Before the first step of a fresh run; not called on resume."""

    def after_update(self, training: HookedTraining, metrics: dict[str, float]) -> None:
        """After learning, before the metrics are recorded; may add to them."""

    def after_record(self, training: HookedTraining, metrics: dict[str, float]) -> None:
        """After the metrics went to the trackers."""

    def after_save(self, training: HookedTraining, folder: Path, best: bool) -> None:
        """After a checkpoint was written to `folder`; `best`: of the best evaluation so far."""
