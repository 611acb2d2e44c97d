"""The columns of `progress.csv`, and the statistics of finished episodes among them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

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
        # Columns: learning empties the processor's caches, and looking up a hundred episodes would take longer.
        self._returns, self._lengths, self._successes = _column(), _column(), _column()
        self._info = {name: _column() for name in info}
        self.count = 0
        self._metrics: dict[str, float] = {}
        """Of the window as it is; empty where it must be looked at again."""

    @property
    def return_mean(self) -> float | None:
        """Mean return of the window; None before the first episode ended."""
        return math.fsum(self._returns) / len(self._returns) if self._returns else None

    def take(self, episodes: Sequence[Episode]) -> dict[str, float]:
        """Take in what an update finished; returns the metrics, without those that do not exist yet."""
        for episode in episodes:
            self._returns.append(episode.return_)
            self._lengths.append(episode.length)
            self._successes.append(episode.success)
            for name, column in self._info.items():
                column.append(episode.info.get(name))
        if episodes or not self._metrics:
            self.count += len(episodes)
            self._metrics = self._means()
        return self._metrics

    def _means(self) -> dict[str, float]:
        metrics: dict[str, float] = {"episodes": self.count}
        count = len(self._returns)
        if count:
            # A window is too small for NumPy to pay.
            metrics["return_mean"] = mean = math.fsum(self._returns) / count
            metrics["return_std"] = math.dist(self._returns, (mean,) * count) / math.sqrt(count)
            metrics["length_mean"] = sum(self._lengths) / count
        told = count - self._successes.count(None)
        if told:
            metrics["success_rate"] = self._successes.count(True) / told
        for name, column in self._info.items():
            values = [value for value in column if value is not None]
            if values:
                metrics[f"info/{name}"] = math.fsum(values) / len(values)
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """The window's columns and the counter."""
        return {
            "returns": [*self._returns],
            "lengths": [*self._lengths],
            "successes": [*self._successes],
            "info": {name: [*column] for name, column in self._info.items()},
            "count": self.count,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self._returns, self._lengths = _column(state["returns"]), _column(state["lengths"])
        self._successes = _column(state["successes"])
        # A name that a resume adds begins empty.
        self._info = {name: _column(state["info"].get(name, ())) for name in self._info}
        self._metrics = {}
        self.count = int(state["count"])


def _column(values: Iterable[Any] = ()) -> deque[Any]:
    return deque(values, maxlen=WINDOW)


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
