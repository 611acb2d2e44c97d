"""The columns of `progress.csv`, and the statistics of finished episodes among them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from proximo.config.experiment import CurriculumHook, Experiment
from proximo.core.timer import PHASES
from proximo.core.types import Episode
from proximo.runs.curriculum import PREFIX

WINDOW = 100
"""`return_mean` is over this many latest episodes."""

COLUMNS = (
    *("step", "update", "return_mean", "return_std", "length_mean", "success_rate", "episodes"),
    *("steps_per_second", "policy_loss", "value_loss", "entropy_loss", "loss", "entropy", "entropy_fraction"),
    *("kl", "clip_fraction", "explained_variance", "value_mean", "reward_mean", "grad_norm", "learning_rate"),
    *("epochs", "kl_stop"),
)
RECORDED = ("share", "rho_mean", "c_mean", "weight_mean", "outlier_fraction")
"""Of each source besides the environments."""
EVAL_COLUMNS = ("return_mean", "return_low", "return_high", "length_mean", "success_rate")


class EpisodeWindow:
    """The latest finished training episodes, in raw reward."""

    def __init__(self, info: Sequence[str]) -> None:
        """`info`: names of the `info` values to average."""
        self.info = tuple(info)
        self.window: deque[Episode] = deque(maxlen=WINDOW)
        # The window's numbers side by side: looking up a hundred episodes after every update would take longer.
        self._returns: list[float] = []
        self._lengths: list[int] = []
        self._successes: list[bool | None] = []
        self._steps = 0
        """Sum of the window's lengths: of whole numbers a running sum is exact."""
        self.count = 0
        self._metrics: dict[str, float] = {}
        """Of the window as it is; empty where it must be looked at again."""

    @property
    def return_mean(self) -> float | None:
        """Mean return of the window; None before the first episode ended."""
        return float(np.mean([episode.return_ for episode in self.window])) if self.window else None

    def take(self, episodes: Sequence[Episode]) -> dict[str, float]:
        """Take in what an update finished; returns the metrics, without those that do not exist yet."""
        self._extend(episodes)
        self.count += len(episodes)
        if episodes or not self._metrics:
            self._metrics = self._means()
        return {"episodes": self.count, **self._metrics}

    def _extend(self, episodes: Sequence[Episode]) -> None:
        self.window.extend(episodes)
        for episode in episodes:
            self._returns.append(episode.return_)
            self._lengths.append(episode.length)
            self._successes.append(episode.success)
            self._steps += episode.length
        gone = len(self._lengths) - WINDOW
        if gone > 0:
            self._steps -= sum(self._lengths[:gone])
            del self._returns[:gone], self._lengths[:gone], self._successes[:gone]

    def _means(self) -> dict[str, float]:
        metrics: dict[str, float] = {}
        count = len(self._successes)
        if count:
            # A window is too small for NumPy to pay.
            mean = math.fsum(self._returns) / count
            metrics["return_mean"] = mean
            metrics["return_std"] = math.dist(self._returns, [mean] * count) / math.sqrt(count)
            metrics["length_mean"] = self._steps / count
        told = count - self._successes.count(None)
        if told:
            metrics["success_rate"] = self._successes.count(True) / told
        for name in self.info:
            values = [episode.info[name] for episode in self.window if name in episode.info]
            if values:
                metrics[f"info/{name}"] = float(np.mean(values))
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """The window and the counter."""
        return {"window": [asdict(episode) for episode in self.window], "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self._extend([Episode(**episode) for episode in state["window"]])
        self._metrics = {}
        self.count = int(state["count"])


def columns(experiment: Experiment) -> Sequence[str]:
    """The columns of `progress.csv`, known before the first row."""
    names = [*COLUMNS]
    for stream in experiment.streams:
        names += [f"{stream}/{name}" for name in ("explained_variance", "value_mean", "reward_mean")]
        names.append(f"value_loss/{stream}")
    if experiment.streams:
        names.append("value_loss/task")
    names += [f"{name}_loss" for name in experiment.losses]
    for source in experiment.shares:
        names += [f"{source}/{name}" for name in RECORDED]
    names += [f"info/{name}" for name in experiment.env.info]
    names += [
        PREFIX + hook.parameter for hook in experiment.hooks.values() if isinstance(hook, CurriculumHook)
    ]
    if experiment.eval.num_evals:
        prefixes = ["eval/", "eval/stochastic/"] if experiment.eval.mode == "both" else ["eval/"]
        for prefix in prefixes:
            names += [f"{prefix}{name}" for name in EVAL_COLUMNS]
    return [*names, *(f"time/{name}" for name in PHASES)]
