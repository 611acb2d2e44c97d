"""Changing parameters of a running environment (curricula): its own `configure`, or its attributes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from proximo.envs.replay import GymEnv
from proximo.errors import UserError


def check_params(env: GymEnv, params: Mapping[str, Any], env_id: str) -> None:
    """`UserError` naming the first parameter that the environment does not have, and what it has."""
    target = env.unwrapped
    method = getattr(target, "configure", None)
    if callable(method):
        try:
            inspect.signature(method).bind(**params)
        except TypeError as error:
            raise UserError(f"{env_id}: configure{inspect.signature(method)}: {error}") from error
        # An environment may look at the values too, before the next reset applies them.
        check = getattr(target, "check_configure", None)
        if callable(check):
            check(params)
        return
    for name in params:
        if name.startswith("_") or not hasattr(target, name):
            known = sorted(key for key in vars(target) if not key.startswith("_"))
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UserError(f"{env_id} has no parameter {name!r}; {hint}it has: {', '.join(known)}")


def apply_params(env: GymEnv, params: Mapping[str, Any]) -> None:
    """Hand checked parameters to the environment."""
    target = env.unwrapped
    method = getattr(target, "configure", None)
    if callable(method):
        method(**params)
        return
    for name, value in params.items():
        setattr(target, name, value)
