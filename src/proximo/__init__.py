"""Proximo, the PPO workbench: train any Gymnasium environment from YAML, the command line or Python.

What is listed here is the public interface; imported when first used, so that `import proximo` costs nothing.
"""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from proximo.envs.registration import register_with_gymnasium

if TYPE_CHECKING:
    from proximo.agent import Agent, load
    from proximo.config.experiment import Experiment
    from proximo.config.load import dump_experiment, load_experiment
    from proximo.envs.make import make_env
    from proximo.errors import ProximoError, RunError, UserError
    from proximo.launch import Result, resume, train
    from proximo.policies.encoders import BaseFeaturesExtractor
    from proximo.runs.evaluation import evaluate
    from proximo.runs.run import Run

_HOMES = {
    "Agent": "proximo.agent",
    "BaseFeaturesExtractor": "proximo.policies.encoders",
    "Experiment": "proximo.config.experiment",
    "ProximoError": "proximo.errors",
    "Result": "proximo.launch",
    "Run": "proximo.runs.run",
    "RunError": "proximo.errors",
    "UserError": "proximo.errors",
    "dump_experiment": "proximo.config.load",
    "evaluate": "proximo.runs.evaluation",
    "load": "proximo.agent",
    "load_experiment": "proximo.config.load",
    "make_env": "proximo.envs.make",
    "resume": "proximo.launch",
    "train": "proximo.launch",
}

__all__ = [
    "Agent",
    "BaseFeaturesExtractor",
    "Experiment",
    "ProximoError",
    "Result",
    "Run",
    "RunError",
    "UserError",
    "__version__",
    "dump_experiment",
    "evaluate",
    "load",
    "load_experiment",
    "make_env",
    "resume",
    "train",
]


# `gymnasium.make("proximo/Therapy-v0")` works after `import proximo`.
register_with_gymnasium()


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("proximo")
    if name not in _HOMES:
        raise AttributeError(f"module 'proximo' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    setattr(sys.modules[__name__], name, value)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
