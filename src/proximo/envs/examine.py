"""What `check_env` looks at in a single environment: its spaces and every value of some random play."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.spaces import Space

from proximo.config.experiment import EnvConfig
from proximo.envs.replay import GymEnv, describe
from proximo.envs.spaces import Leaf, check_action_space, find_mask, mask_size, observation_leaves
from proximo.errors import UserError

PATIENCE = 10.0
"""Seconds after which no further episode is begun."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    level: str
    """ok, note, warning (training goes on, worse) or error (training breaks)."""
    topic: str
    text: str


@dataclass
class Seen:
    """What random play showed."""

    leaves: tuple[Leaf, ...]
    findings: list[Finding] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    returns: list[float] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    numbers: set[str] = field(default_factory=set)
    terminations: int = 0
    truncations: int = 0
    steps: int = 0
    speed: float = 0.0
    """Steps per second of one copy."""

    def once(self, level: str, topic: str, text: str) -> None:
        """Record a finding, the first one of each topic and level only."""
        if not any((f.level, f.topic) == (level, topic) for f in self.findings):
            self.findings.append(Finding(level, topic, text))


def examine_spaces(env: GymEnv, config: EnvConfig) -> list[Finding]:
    """Are the spaces supported, bounded, of usual types; is there a mask of the right size."""
    found: list[Finding] = []
    try:
        leaves = observation_leaves(env.observation_space, config.id)
        check_action_space(env.action_space, config.id)
        mask = find_mask(leaves, config.mask_key, env.action_space, config.id)
    except UserError as error:
        return [Finding("error", "spaces", str(error))]
    for leaf in leaves:
        found += _observation(leaf, env.observation_space)
    action = env.action_space
    found.append(Finding("ok", "action", str(action).replace("\n", " ")))
    if isinstance(action, spaces.Box):
        if not action.is_bounded("both"):
            found.append(Finding("warning", "action", "unbounded: nothing limits what the policy tries"))
        elif not (np.all(action.low == -1) and np.all(action.high == 1)):
            text = (
                "bounds are not -1 and 1: policy.head squashed_gaussian rescales to them, gaussian only clips"
            )
            found.append(Finding("note", "action", text))
    if mask is not None:
        found.append(Finding("ok", "mask", f"observation {mask!r} masks {mask_size(action)} actions"))
    return found


def _observation(leaf: Leaf, whole: Space[Any]) -> list[Finding]:
    declared: Any = whole
    for step in leaf.path:
        declared = declared[step]
    topic = f"observation {leaf.key}"
    boxed = isinstance(declared, spaces.Box)
    text = f"Box {leaf.shape} {declared.dtype}" if boxed else str(declared)
    found = [Finding("ok", topic, text)]
    if isinstance(declared, spaces.Box):
        if declared.dtype == np.float64:
            found.append(Finding("note", topic, "float64 is kept as float32"))
        if np.issubdtype(declared.dtype, np.floating) and not declared.is_bounded("both"):
            text = "unbounded: policy.normalize_obs (on by default) scales it by running statistics"
            found.append(Finding("note", topic, text))
        image = len(leaf.shape) == 3 and declared.dtype == np.uint8
        if image and (declared.low.min() != 0 or declared.high.max() != 255):
            found.append(Finding("warning", topic, "looks like an image but its bounds are not 0 and 255"))
    return found


def examine_play(env: GymEnv, config: EnvConfig, steps: int, episodes: int, seed: int) -> Seen:
    """Random play of at least `steps` steps and `episodes` episodes (ten times `steps` at most)."""
    seen, begun = Seen(observation_leaves(env.observation_space, config.id)), time.perf_counter()
    env.action_space.seed(seed)
    try:
        while seen.steps < steps or (len(seen.returns) < episodes and seen.steps < 10 * steps):
            going = _episode(env, config, seen, seed + len(seen.returns), 10 * steps)
            if not going or time.perf_counter() - begun > PATIENCE:
                break
        if not any(finding.level == "error" for finding in seen.findings):
            seen.speed = measure_speed(env, config, seed)
    except Exception as error:
        # Whatever the environment raises is what the doctor is asked about.
        seen.once("error", "exception", f"step {seen.steps} raised {describe(error)}")
        if isinstance(error, MemoryError):
            raise
    return seen


def _episode(env: GymEnv, config: EnvConfig, seen: Seen, seed: int, limit: int) -> bool:
    """One episode; False if there is no use in going on."""
    obs, info = env.reset(seed=seed)
    _look(obs, info, seen)
    total, length, previous = 0.0, 0, obs
    while seen.steps < limit:
        action = sample(env.action_space, _mask(env, obs, info, config.mask_key, seen))
        obs, reward, terminated, truncated, info = env.step(action)
        seen.steps += 1
        _look(obs, info, seen)
        _reward(reward, seen)
        if isinstance(obs, np.ndarray) and obs is previous:
            seen.once("note", "observation", "the same array is returned in every step; Proximo copies it")
        for name, flag in (("terminated", terminated), ("truncated", truncated)):
            if not isinstance(flag, (bool, np.bool_)):
                seen.once("warning", "end flags", f"{name} is a {type(flag).__name__}, not a bool")
        if any(finding.level == "error" for finding in seen.findings):
            return False
        total, length, previous = total + float(reward), length + 1, obs
        if terminated or truncated:
            seen.returns.append(total)
            seen.lengths.append(length)
            seen.terminations += bool(terminated)
            seen.truncations += bool(truncated)
            return True
    return False


def _mask(env: GymEnv, obs: Any, info: dict[str, Any], key: str, seen: Seen) -> Any:
    size = mask_size(env.action_space)
    if size is None:
        return None
    mask = _given_mask(obs, info, key)
    if mask is not None and key in info:
        seen.once("ok", "mask", f"info[{key!r}] masks the actions")
    if mask is not None and not np.any(mask):
        seen.once("error", "mask", f"step {seen.steps}: allows no action at all")
        return None
    return mask


def _given_mask(obs: Any, info: dict[str, Any], key: str) -> Any:
    return obs[key] if isinstance(obs, dict) and key in obs else info.get(key)


def measure_speed(env: GymEnv, config: EnvConfig, seed: int, seconds: float = 0.5) -> float:
    """Steps per second of one copy under random actions (allowed ones), resets included."""
    obs, info = env.reset(seed=seed)
    masked = _given_mask(obs, info, config.mask_key) is not None
    begun, steps = time.perf_counter(), 0
    actions = [env.action_space.sample() for _ in range(64)]
    while time.perf_counter() - begun < seconds:
        for action in actions:
            if masked:
                # Not drawn in advance: what is allowed depends on the state.
                action = sample(env.action_space, _given_mask(obs, info, config.mask_key))
            obs, _, terminated, truncated, info = env.step(action)
            steps += 1
            if terminated or truncated:
                seed += 1
                obs, info = env.reset(seed=seed)
    return steps / (time.perf_counter() - begun)


def _look(obs: Any, info: Any, seen: Seen) -> None:
    if not isinstance(info, dict):
        seen.once("error", "info", f"is a {type(info).__name__}, not a dict")
        return
    for key, value in info.items():
        if isinstance(value, (bool, int, float, np.number, np.bool_)):
            seen.numbers.add(str(key))
    for leaf in seen.leaves:
        try:
            value = np.asarray(leaf.get(obs))
        except (KeyError, IndexError, TypeError):
            seen.once("error", f"observation {leaf.key}", "is missing from what the environment returns")
            continue
        _value(leaf, value, seen)


def _value(leaf: Leaf, value: Any, seen: Seen) -> None:
    topic = f"observation {leaf.key}"
    if value.shape != leaf.shape:
        seen.once("error", topic, f"has shape {value.shape}, its space says {leaf.shape}")
    elif value.dtype.kind == "f" and not np.isfinite(value).all():
        seen.once("error", topic, "contains NaN or infinity")
    elif isinstance(leaf.space, spaces.Box):
        low, high = leaf.space.low, leaf.space.high
        stored = value.astype(leaf.dtype)
        if (stored < low).any() or (stored > high).any():
            seen.once(
                "warning",
                topic,
                f"{stored.min():.4g} … {stored.max():.4g} leaves its bounds {low.min():.4g} … {high.max():.4g}",
            )
    elif not leaf.space.contains(value.astype(leaf.dtype) if leaf.shape else int(value)):
        seen.once("error", topic, f"{value.tolist()} is not in {leaf.space}")


def _reward(reward: Any, seen: Seen) -> None:
    if np.ndim(reward) != 0 or isinstance(reward, str) or reward is None:
        seen.once("error", "reward", f"is {reward!r}, not a number")
        return
    if not np.isfinite(float(reward)):
        seen.once("error", "reward", f"is {reward}; rewards must be finite")
    seen.rewards.append(float(reward))


def sample(space: Space[Any], mask: Any) -> Any:
    """A random action from the space's own generator; only allowed ones where there is a mask."""
    if mask is None or mask_size(space) is None:
        return space.sample()
    flat = np.asarray(mask).reshape(-1).astype(np.int8)
    if isinstance(space, spaces.MultiDiscrete):
        parts = np.split(flat, np.cumsum(space.nvec.reshape(-1))[:-1])
        return space.sample(mask=tuple(parts))
    if isinstance(space, spaces.MultiBinary):
        # Gymnasium's own mask would set every bit that is allowed.
        return space.sample() * flat.reshape(space.shape)
    return space.sample(mask=flat)
