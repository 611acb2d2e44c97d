"""The flat settings of the therapy client's trainings: names as in its first users' YAML files and command line.

Nothing heavy is imported here: the command line reads names and help texts from `TrainingConfig`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints

from proximo.errors import UserError
from proximo.recipes.flat import POSITIVE, number_problem, tidied

PATTERNS = ("cold_stuck", "dominant_stuck", "submissive_stuck", "mixed_random", "cold_warm")
_MANY = 2**31 - 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+@-]{0,99}")
"""What an experiment may be called, being a part of folders' names."""


def _set(default: Any, meaning: str, low: float | None = None, high: float | None = None) -> Any:
    """A field with its explanation and, for numbers, the range that it must lie in."""
    return field(default=default, metadata={"help": meaning, "low": low, "high": high})


@dataclass
class TrainingConfig:
    """All settings of a training with their defaults; raises UserError, one line per mistake.

    What a client is made of is checked by the simulation itself, and the whole once more as an `Experiment`.
    """

    experiment_name: str = _set("therapy", "name of this experiment")
    patterns: list[str] = field(
        default_factory=lambda: list(PATTERNS),
        metadata={"help": "what clients remember at first; one pattern is drawn per episode"},
    )
    mechanism: str = _set("frequency_amplifier", "how a client's memory shapes what it expects")
    threshold: float = _set(0.9, "satisfaction that is a success, in (0, 1]")
    max_sessions: int = _set(100, "sessions after which an episode is cut")
    entropy: float = _set(0.5, "temperature of the client's choice")
    history_weight: float = _set(1.0, "how strongly the memory amplifies utilities")
    bond_alpha: float | None = _set(None, "half the steepness of the bond (default 5)")
    bond_offset: float = _set(0.7, "satisfaction at which the bond is one half")
    enable_perception: bool = _set(True, "clients may perceive what they are used to")
    baseline_accuracy: float = _set(0.5, "probability of perceiving truly")
    use_omniscient_wrapper: bool = _set(False, "show the agent what is hidden")
    observation: str = _set(
        "history", "what the agent sees: the history, or a summary of it in numbers, learnt from much faster"
    )
    total_timesteps: int = _set(500_000, "sessions of the whole training", 1, 10**12)
    n_envs: int = _set(8, "clients treated side by side", 1, 1_000_000)
    steps_per_update: int = _set(512, "sessions of all clients together per update", 1, _MANY)
    learning_rate: float = _set(3e-4, "step size of Adam", POSITIVE, 1e3)
    batch_size: int = _set(64, "sessions per optimiser step", 1, _MANY)
    n_epochs: int = _set(10, "passes over an update's sessions", 1, 10_000)
    gamma: float = _set(0.99, "discount", 0.0, 1.0)
    gae_lambda: float = _set(0.95, "lambda of the advantage estimate", 0.0, 1.0)
    clip_range: float = _set(0.2, "clip range of the probability ratio", POSITIVE, 1e6)
    ent_coef: float = _set(0.01, "weight of the entropy bonus", 0.0, 1e6)
    vf_coef: float = _set(0.5, "weight of the value loss", 0.0, 1e6)
    max_grad_norm: float | None = _set(0.5, "clip the gradient's norm to this (null: never)", POSITIVE, 1e12)
    value_clip: bool = _set(True, "clip the value function's change, to the same range")
    normalize_reward: bool = _set(True, "scale rewards by the deviation of their returns")
    normalize_advantage: bool = _set(True, "centre and scale advantages per batch")
    hidden_size: int = _set(256, "width of the hidden layers", 1, 65_536)
    share_encoder: bool = _set(False, "one trunk for actor and critic instead of two")
    memory: str = _set("none", "recurrent memory: none, gru or lstm")
    lstm_hidden_size: int = _set(128, "width of that memory", 1, 65_536)
    curriculum_start: float | None = _set(
        None, "begin with this threshold and raise it to --threshold as success allows (default: do not)"
    )
    curriculum_step: float = _set(0.02, "how far the curriculum raises it at a time", POSITIVE, 1.0)
    curriculum_success: float = _set(
        0.5, "success rate at which it does (complement has 65 % at 0.7: a higher one stalls there)", 0.0, 1.0
    )
    curriculum_episodes: int = _set(200, "training episodes between two steps of the curriculum", 1, 10**9)
    perception_start: float | None = _set(
        None, "begin with this probability of perceiving truly, and lower it to --baseline-accuracy", 0.0, 1.0
    )
    perception_episodes: int = _set(1_000, "training episodes between two such steps, of 0.05", 1, 10**9)
    shaping: float = _set(0.0, "weight of the potential-based shaping on satisfaction (0: none)", 0.0, 1e6)
    output_dir: str | None = _set(None, "folder for the models (default: models/EXPERIMENT_NAME)")
    log_dir: str = _set("logs", "folder for the logs")
    runs_dir: str = _set("runs", "folder that receives the run's folder")
    save_freq: int = _set(10_000, "sessions between checkpoints", 1, 10**12)
    eval_freq: int = _set(5_000, "sessions between evaluations", 1, 10**12)
    eval_episodes: int = _set(100, "clients per evaluation, always the same ones", 1, 1_000_000)
    seed: int = _set(42, "every random number follows from it", 0, _MANY)
    settings: list[str] = field(
        default_factory=list,
        metadata={"help": "further settings of the experiment, such as ppo.lr_schedule=linear"},
    )

    def __post_init__(self) -> None:
        problems = check(vars(self))
        if problems:
            raise UserError("\n".join(problems))

    @property
    def models(self) -> str:
        """The folder for the models."""
        return self.output_dir or f"models/{self.experiment_name}"

    @property
    def progress_file(self) -> str:
        """The table of the evaluations."""
        return f"{self.log_dir}/{self.experiment_name}/{self.experiment_name}_progress.csv"


FIELDS = {entry.name: entry for entry in fields(TrainingConfig)}
HINTS = get_type_hints(TrainingConfig)
FLAGS = {name: f"--{name.replace('_', '-')}" for name in FIELDS if name != "settings"}
"""The option of the command line for each field."""
CHOICES = {"memory": ("none", "gru", "lstm"), "observation": ("history", "summary")}


def check(given: Mapping[str, Any]) -> list[str]:
    """What is wrong with these values, one line each; whole numbers written as 5e5 count as whole."""
    return [line for name, value in given.items() if (line := _problem(name, value))]


def tidy(given: Mapping[str, Any]) -> dict[str, Any]:
    """The same with 500000.0 for a whole number as 500000, 1 for a number as 1.0, one name as a list."""
    return {name: tidied(HINTS[name], value) for name, value in given.items()}


def _problem(name: str, value: Any) -> str:
    hint, said = HINTS[name], f"{name}={value!r}"
    if value is None and hint in (float | None, str | None):
        return ""
    if hint is bool:
        return "" if isinstance(value, bool) else f"{said}: must be true or false"
    if hint == list[str]:
        good = isinstance(value, list) and all(isinstance(item, str) for item in value)
        return "" if good else f"{said}: must be a list of names"
    if hint in (str, str | None):
        if not isinstance(value, str) or not value.strip():
            return f"{said}: must be a name"
        if name == "experiment_name" and not _NAME.fullmatch(value):
            return f"{said}: must begin with a letter or digit and hold only these, spaces and . _ + @ -"
        allowed = CHOICES.get(name, (value,))
        return "" if value in allowed else f"{said}: must be one of {', '.join(allowed)}"
    return number_problem(said, value, hint is int, FIELDS[name].metadata)
