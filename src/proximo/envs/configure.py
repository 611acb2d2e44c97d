"""Changing parameters of a running environment (curricula): its own `configure`, or its attributes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from proximo.envs.replay import GymEnv, describe
from proximo.errors import RunError, UserError


def check_params(env: GymEnv, params: Mapping[str, Any], env_id: str) -> None:
    """`UserError` naming the first parameter that the environment does not have, and what it has."""
    if not params:
        return
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


def apply_params(env: GymEnv, params: Mapping[str, Any], where: Callable[[], str]) -> None:
    """Hand checked parameters to the environment; RunError beginning with `where()` if it raises."""
    if not params:
        # A `configure` without arguments would demand them, or set its own defaults.
        return
    target = env.unwrapped
    method = getattr(target, "configure", None)
    try:
        if callable(method):
            method(**params)
        else:
            for name, value in params.items():
                setattr(target, name, value)
    # SystemExit would end the program as if all were well.
    except (Exception, SystemExit) as error:
        given = ", ".join(f"{name}={value!r}" for name, value in params.items())
        raise RunError(f"{where()} given {given}, raised {describe(error)}") from error
