"""Which keys mean which actions: a table for known environments, the emulator's own, or the user's."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from proximo.config import text
from proximo.envs.replay import GymEnv
from proximo.errors import UserError

NONE = "none"
"""Stands for no key: with an action for it, time goes on by itself; without one, every step waits for a key."""
RESERVED = ("escape", "backspace")
"""End the recording; begin the episode again."""
_SIDEWAYS = {"left": 0, NONE: 1, "right": 2}
KNOWN: dict[str, dict[str, Any]] = {
    "CartPole": {"left": 0, "right": 1},
    "MountainCar": _SIDEWAYS,
    "Acrobot": _SIDEWAYS,
    "MountainCarContinuous": {"left": [-1.0], NONE: [0.0], "right": [1.0]},
    "Pendulum": {"left": [2.0], NONE: [0.0], "right": [-2.0]},
    "LunarLander": {NONE: 0, "left": 1, "up": 2, "right": 3},
    "LunarLanderContinuous": {NONE: [0.0, 0.0], "up": [1.0, 0.0], "left": [0.0, -1.0], "right": [0.0, 1.0]},
    "CarRacing": {
        NONE: [0, 0, 0],
        "left": [-1, 0, 0],
        "right": [1, 0, 0],
        "up": [0, 1, 0],
        "down": [0, 0, 0.8],
    },
    "FrozenLake": {"left": 0, "down": 1, "right": 2, "up": 3},
    "CliffWalking": {"up": 0, "right": 1, "down": 2, "left": 3},
    "Taxi": {"down": 0, "up": 1, "right": 2, "left": 3, "p": 4, "d": 5},
}
"""By the environment's name without version."""
_ARROWS = {273: "up", 274: "down", 275: "right", 276: "left"}
"""Numbers of pygame 1, which Gymnasium's environments still give."""
_LINES = string.digits + string.ascii_lowercase


@dataclass(frozen=True)
class Controls:
    """Keys and what they mean. Box actions of several keys add up; else the largest known set of keys counts."""

    actions: Mapping[frozenset[str], Any]
    space: spaces.Space[Any]

    @property
    def keys(self) -> set[str]:
        """All keys that mean something."""
        return {key for keys in self.actions for key in keys}

    @property
    def waits(self) -> bool:
        """Whether every step needs a key."""
        return frozenset() not in self.actions

    def action(self, held: Set[str]) -> Any:
        """What the keys that are held mean; None where they mean nothing."""
        known = [keys for keys in self.actions if keys <= held]
        if isinstance(self.space, spaces.Box):
            pressed = [keys for keys in known if keys] or [keys for keys in known if not keys]
            if not pressed:
                return None
            total = np.sum([np.asarray(self.actions[keys], np.float64) for keys in pressed], axis=0)
            return np.clip(total, self.space.low, self.space.high).astype(self.space.dtype)
        return self.actions[max(known, key=len)] if known else None

    def help(self) -> str:
        """One line: the keys and their actions."""
        shown = [f"{'+'.join(sorted(keys)) or 'no key'} = {action}" for keys, action in self.actions.items()]
        return f"{', '.join(shown)}; escape: stop, backspace: begin the episode again"


def controls(env: GymEnv, env_id: str, given: str | None) -> Controls:
    """Those that `given` (`{left: 0, right: 1}`) says, else the known ones, else a key for each number of Discrete.

    Raises: UserError where nothing is known, or an action is none of the space.
    """
    space = env.action_space
    table = _found(env, env_id) if given is None else _parsed(given)
    for keys, action in table.items():
        value = np.asarray(action, dtype=space.dtype)
        if not space.contains(value[()] if value.ndim == 0 else value):
            raise UserError(f"--keys: {'+'.join(sorted(keys)) or NONE}: {action} is no action of {space}")
        if keys & set(RESERVED):
            raise UserError(f"--keys: {', '.join(RESERVED)} have a meaning already")
    return Controls(table, space)


def _parsed(given: str) -> dict[frozenset[str], Any]:
    table = text.parse(given, "--keys")
    if not isinstance(table, dict) or not table:
        raise UserError("--keys: write keys and actions as '{left: 0, right: 1, none: 2}'")
    return {_keys(str(key)): action for key, action in table.items()}


def _keys(word: str) -> frozenset[str]:
    return frozenset() if word == NONE else frozenset(word.split("+"))


def _found(env: GymEnv, env_id: str) -> dict[frozenset[str], Any]:
    own = getattr(env.unwrapped, "get_keys_to_action", None)
    if own is not None:
        table = {frozenset(_own_key(key) for key in keys if key is not None): a for keys, a in own().items()}
        # ALE has a key for doing nothing; no key at all means the same.
        return {frozenset(): table[frozenset("e")], **table} if frozenset("e") in table else table
    codes = getattr(env.unwrapped, "actions", None)
    if codes is not None and isinstance(env.action_space, spaces.Discrete):
        # NetHack's actions are the characters that its players type.
        typed = {i: _typed(code) for i, code in enumerate(codes) if isinstance(code, int)}
        if typed:
            return {frozenset({key}): i for i, key in typed.items() if key not in (*RESERVED, "")}
    name = re.sub(r"-v\d+$", "", env_id.rpartition(":")[2].rpartition("/")[2])
    space = env.action_space
    for known in (name + "Continuous" * isinstance(space, spaces.Box), name):
        # An environment of the same name may have other actions.
        if known in KNOWN and _fits(KNOWN[known], space):
            return {_keys(key): action for key, action in KNOWN[known].items()}
    if isinstance(space, spaces.Discrete) and space.n <= len(_LINES):
        return {frozenset(_LINES[i]): int(space.start) + i for i in range(int(space.n))}
    raise UserError(
        f"{env_id}: no keys are known for {space}; say them: --keys '{{left: …, right: …, none: …}}'"
    )


def _fits(table: dict[str, Any], space: spaces.Space[Any]) -> bool:
    values = [np.asarray(action, dtype=space.dtype) for action in table.values()]
    return all(space.contains(value[()] if value.ndim == 0 else value) for value in values)


def _typed(code: int) -> str:
    if code > 126:
        return ""
    return {13: "return", 27: "escape", 32: "space"}.get(code, chr(code))


def _own_key(key: Any) -> str:
    if key in _ARROWS:
        return _ARROWS[key]
    character = chr(key) if isinstance(key, int) else str(key)
    return "space" if character == " " else character
