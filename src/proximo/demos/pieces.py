"""One episode as Minari keeps it, checked and cut into the columns of a `Dataset`.

Shapes: `L` steps of an episode; its observations and `infos` have L + 1 rows; `K` ends in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from proximo.config.experiment import EnvConfig
from proximo.demos.dataset import Form
from proximo.demos.mapped import Array
from proximo.envs.spaces import Leaf, mask_size
from proximo.errors import UserError

LOGP = "logp_behavior"
"""Key in Minari's `infos`: log-probability of the step that led here; NaN in the first row."""
POLICY_ACTION = "policy_action"
"""Key in Minari's `infos`: the action before it was clipped or rescaled, in the form of `LOGP`."""
TOLERANCE = 1e-4
"""How far beyond its bounds, relative to them, an action may be rounded."""


@dataclass(frozen=True)
class Part:
    """One data set on disk."""

    name: str
    path: Path
    """Its folder `data`."""
    obs_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    storage: Any
    """Minari's reader."""
    total_episodes: int
    env: EnvConfig | None
    form: Form
    leaves: tuple[Leaf, ...] = field(default=())


@dataclass(frozen=True)
class Episode:
    """Rows of one episode by column, and the key of the action mask among its `infos`."""

    columns: dict[str, Array]
    mask: str | None


def pieces(raw: dict[str, Any], part: Part, form: Form, mask_key: str, where: str) -> Episode:
    """The columns of one episode, actions in `form`; UserError where something is missing or out of bounds."""
    reward = _rows(raw["rewards"], None, (), f"{where}: rewards").astype(np.float32)
    length = len(reward)
    if length == 0:
        raise UserError(f"{where} has no steps: record or download it again")
    terminated = _rows(raw["terminations"], length, (), f"{where}: terminations").astype(np.bool_)
    truncated = _rows(raw["truncations"], length, (), f"{where}: truncations").astype(np.bool_)
    truncated &= ~terminated
    if not (terminated[-1] or truncated[-1]):
        # A recording that was stopped in the middle of an episode.
        truncated[-1] = True
    infos = raw.get("infos") or {}
    columns = {"reward": reward, "terminated": terminated, "truncated": truncated}
    columns["action"], columns["logp"] = _actions(raw["actions"], infos, length, part, form, where)
    obs = {
        leaf.key: _rows(
            leaf.get(raw["observations"]), length + 1, leaf.shape, f"{where}: observation {leaf.key}"
        ).astype(leaf.dtype)
        for leaf in part.leaves
    }
    mask = _mask(infos, mask_key, part, obs, length, where)
    # Where an episode ends, its successor is the next row: the one that no action was taken in, at the very end.
    after = np.flatnonzero(terminated | truncated) + 1
    for key, rows in obs.items():
        _check_finite(rows, f"{where}: observation {key}")
        columns[f"obs:{key}"], columns[f"final:{key}"] = rows[:-1], rows[after]
    _check_finite(reward, f"{where}: reward")
    return Episode(columns, mask)


def _rows(value: Any, length: int | None, shape: tuple[int, ...], where: str) -> Array:
    rows = np.asarray(value)
    if rows.dtype == object or (length is not None and len(rows) != length) or rows.shape[1:] != shape:
        wanted = ("L" if length is None else length, *shape)
        raise UserError(f"{where} have shape {rows.shape} instead of {wanted}: record or download it again")
    return rows


def _check_finite(rows: Array, where: str) -> None:
    if np.issubdtype(rows.dtype, np.floating):
        bad = ~np.isfinite(rows).reshape(len(rows), -1).all(axis=1)
        if bad.any():
            raise UserError(f"{where} of step {int(bad.argmax())} is not finite: remove the episode")


def _actions(
    given: Any, infos: dict[str, Any], length: int, part: Part, form: Form, where: str
) -> tuple[Array, Array]:
    """Actions in `form` and their log-probabilities, NaN where unknown."""
    space = part.action_space
    action = _rows(given, length, space.shape or (), f"{where}: actions")
    _check_bounds(action, space, where)
    box = isinstance(space, spaces.Box)
    action = action.astype(np.float32 if box else np.int64)
    logp = np.full(length, np.nan, np.float32)
    if LOGP in infos:
        logp = _rows(infos[LOGP], length + 1, (), f"{where}: {LOGP}")[1:].astype(np.float32)
        if np.isinf(logp).any():
            raise UserError(f"{where}: {LOGP} is infinite: the recording policy could not have acted so")
    if form != "environment":
        width = int(np.prod(space.shape or ()))
        return _rows(infos.get(POLICY_ACTION), length + 1, (width,), f"{where}: {POLICY_ACTION}")[1:].astype(
            np.float32
        ), logp
    if part.form == "squashed" and isinstance(space, spaces.Box):
        logp = logp - np.float32(np.log((space.high - space.low) / 2).sum())
    elif part.form == "unclipped":
        # A clipped action has no density of its own.
        logp = np.full(length, np.nan, np.float32)
    return action, logp


def _check_bounds(action: Array, space: spaces.Space[Any], where: str) -> None:
    low: Any
    high: Any
    if isinstance(space, spaces.Box):
        _check_finite(action, f"{where}: action")
        slack = TOLERANCE * np.maximum(
            1.0, np.nan_to_num(np.maximum(np.abs(space.low), np.abs(space.high)), posinf=1)
        )
        low, high = space.low - slack, space.high + slack
    elif isinstance(space, spaces.Discrete):
        low, high = space.start, space.start + space.n - 1
    elif isinstance(space, spaces.MultiDiscrete):
        low, high = space.start, space.start + space.nvec - 1
    else:
        low, high = 0, 1
    outside = ((action < low) | (action > high)).reshape(len(action), -1).any(axis=1)
    if outside.any():
        step = int(outside.argmax())
        raise UserError(
            f"{where}: the action {np.array2string(action[step], precision=4)} of step {step} lies outside "
            f"{space}: record actions as the environment takes them"
        )


def _mask(
    infos: dict[str, Any], key: str, part: Part, obs: dict[str, Array], length: int, where: str
) -> str | None:
    """Add the action mask that came in `info` to the observations; its key, or None."""
    size = mask_size(part.action_space)
    if key not in infos or key in obs or size is None:
        return None
    rows = np.asarray(infos[key])
    if rows.shape[:1] != (length + 1,) or rows.size != (length + 1) * size:
        # Another meaning of the same word, as `envs.spaces.find_mask` treats it for a live environment.
        raise UserError(f"{where}: the mask {key} has shape {rows.shape} instead of {(length + 1, size)}")
    obs[key] = rows.reshape(length + 1, size).astype(np.int8)
    return key
