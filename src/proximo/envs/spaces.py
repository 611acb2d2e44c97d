"""Spaces: from whatever a Gymnasium environment declares to flat dictionaries of arrays.

Observation spaces become one leaf per key: a plain space lies under `"obs"`, nested Dict spaces are joined
with dots (`"a.b"`), Tuple entries are numbered (`"0"`). Floats become float32, images stay uint8.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.spaces import Space

from proximo.core.seeds import PLAIN_KEY
from proximo.errors import RunError, UserError

Array = npt.NDArray[Any]

_FLOAT32 = np.dtype(np.float32)
"""Compared with in every step; the scalar type would first become this."""
_SMALL_INTS = (np.bool_, np.uint8, np.int8, np.int16, np.int32)


@dataclass(frozen=True)
class Leaf:
    """One flat observation: where it lies in the environment's own structure and how it is stored."""

    key: str
    path: tuple[str | int, ...]
    """Keys and indices that lead from the environment's observation to this leaf; empty for a plain space."""
    space: Space[Any]
    """As the policy sees it (floats are float32)."""
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def get(self, obs: Any) -> Any:
        """The leaf's value in an observation of the environment."""
        for step in self.path:
            obs = obs[step]
        return obs


def observation_leaves(space: Space[Any], env_id: str) -> tuple[Leaf, ...]:
    """Flatten an observation space; `UserError` for what no network reads (Text, Graph, Sequence, OneOf)."""
    leaves: list[Leaf] = []
    _collect(space, (), env_id, leaves)
    if not leaves:
        raise UserError(f"{env_id}: its observation space {space} is empty; give it at least one key")
    keys = [leaf.key for leaf in leaves]
    for key in keys:
        if keys.count(key) > 1:
            raise UserError(f"{env_id}: two observations are both called {key!r} once flattened; rename one")
    return tuple(leaves)


def _collect(space: Space[Any], path: tuple[str | int, ...], env_id: str, into: list[Leaf]) -> None:
    if isinstance(space, spaces.Dict):
        for name, child in space.spaces.items():
            _collect(child, (*path, name), env_id, into)
    elif isinstance(space, spaces.Tuple):
        for index, child in enumerate(space.spaces):
            _collect(child, (*path, index), env_id, into)
    else:
        into.append(_leaf(space, path, env_id))


def _leaf(space: Space[Any], path: tuple[str | int, ...], env_id: str) -> Leaf:
    key = ".".join(str(step) for step in path) or PLAIN_KEY
    if isinstance(space, (spaces.Discrete, spaces.MultiDiscrete)):
        return Leaf(key, path, space, tuple(space.shape or ()), np.dtype(np.int64))
    if isinstance(space, spaces.MultiBinary):
        return Leaf(key, path, space, space.shape, np.dtype(np.int8))
    if isinstance(space, spaces.Box):
        dtype = stored_dtype(space.dtype)
        return Leaf(key, path, _cast_box(space, dtype), space.shape, dtype)
    raise UserError(
        f"{env_id}: observation {key!r} is a {type(space).__name__} space; supported are Box, Discrete, "
        "MultiDiscrete, MultiBinary and Dict or Tuple of these: convert it with a wrapper"
    )


def stored_dtype(dtype: Any) -> np.dtype[Any]:
    """The type observations are kept in: floats float32, small integers as they are, larger ones int64."""
    given: np.dtype[Any] = np.dtype(dtype)
    if np.issubdtype(given, np.floating):
        return np.dtype(np.float32)
    if given.type in _SMALL_INTS:
        return given
    return np.dtype(np.int32) if given.type is np.uint16 else np.dtype(np.int64)


def _cast_box(space: spaces.Box, dtype: np.dtype[Any]) -> spaces.Box:
    if space.dtype == dtype or not np.issubdtype(dtype, np.floating):
        return space
    with np.errstate(over="ignore"):
        # Bounds beyond float32 (such as the float64 maximum) mean "unbounded".
        return spaces.Box(space.low.astype(dtype), space.high.astype(dtype), space.shape, np.float32)


def check_action_space(space: Space[Any], env_id: str) -> None:
    """Raise `UserError` for action spaces that are not one tensor (Dict, Tuple and exotic ones)."""
    if isinstance(space, spaces.Box) and not np.issubdtype(space.dtype, np.floating):
        raise UserError(
            f"{env_id}: its action space is an integer Box ({space}); declare it as Discrete or MultiDiscrete"
        )
    if not isinstance(space, (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)):
        raise UserError(
            f"{env_id}: {type(space).__name__} action spaces are not supported; supported are Box, Discrete, "
            "MultiDiscrete and MultiBinary: flatten it with a wrapper"
        )


def mask_size(action_space: Space[Any]) -> int | None:
    """How many entries an action mask has; None where an action space knows no masks."""
    if isinstance(action_space, spaces.Discrete):
        return int(action_space.n)
    if isinstance(action_space, spaces.MultiDiscrete):
        return int(action_space.nvec.sum())
    return None


def mask_leaf(key: str, mask: Any, action_space: Space[Any], env_id: str) -> Leaf:
    """The observation key for a mask that comes in `info`; `UserError` if its size is wrong."""
    size = mask_size(action_space)
    if size is None or np.size(mask) != size:
        raise UserError(
            f"{env_id}: info[{key!r}] has {np.size(mask)} entries but {action_space} needs {size}; "
            "set env.mask_key to another name if this is no action mask"
        )
    return Leaf(key, (), spaces.MultiBinary(size), (size,), np.dtype(np.int8))


def find_mask(leaves: tuple[Leaf, ...], mask_key: str, action_space: Space[Any], env_id: str) -> str | None:
    """The observation key that holds the action mask, or None; `UserError` where its size does not fit."""
    size = mask_size(action_space)
    for leaf in leaves:
        if leaf.key == mask_key and size is not None:
            if int(np.prod(leaf.shape)) != size:
                raise UserError(
                    f"{env_id}: the mask {mask_key!r} has shape {leaf.shape} but {action_space} needs {size} "
                    "entries; set env.mask_key to another name if this is no action mask"
                )
            return mask_key
    return None


def buffers(leaves: tuple[Leaf, ...], rows: int) -> dict[str, Array]:
    """Fresh uninitialised `[rows, ...]` arrays, one per key."""
    return {leaf.key: np.empty((rows, *leaf.shape), leaf.dtype) for leaf in leaves}


def check_shapes(leaves: tuple[Leaf, ...], obs: Any, where: str) -> None:
    """`RunError` where a key is missing or a shape is not the declared one (NumPy would broadcast)."""
    for leaf in leaves:
        try:
            value = leaf.get(obs)
        except (KeyError, IndexError, TypeError) as error:
            raise RunError(
                f"{where}: the observation lacks {leaf.key!r}, which its space declares"
            ) from error
        if np.shape(value) != leaf.shape:
            raise RunError(
                f"{where} gave the observation {leaf.key!r} in shape {np.shape(value)}, but its space says "
                f"{leaf.shape}"
            )


def fits(leaf: Leaf, value: Any) -> bool:
    """Whether a value has the declared shape, which NumPy's broadcasting would not tell; nothing else is checked."""
    return not leaf.shape or getattr(value, "shape", None) == leaf.shape or np.shape(value) == leaf.shape


def all_finite(array: Array) -> bool:
    """Whether a contiguous float array holds no NaN and no infinity."""
    # One pass of BLAS instead of two of NumPy, and without its warnings; a sum that overflowed is looked at again.
    return math.isfinite(np.vdot(array, array)) or bool(np.isfinite(array).all())


def first_non_finite(arrays: Mapping[str, Array]) -> tuple[str, int] | None:
    """Key and row of the first NaN or infinity in `[rows, ...]` float arrays, or None."""
    for key, array in arrays.items():
        if array.dtype == _FLOAT32 and not all_finite(array):
            rows = np.isfinite(array).reshape(len(array), -1).all(axis=1)
            return key, int(np.flatnonzero(~rows)[0])
    return None
