"""The memory that the learner and its worker processes share, and how a worker describes its environments.

It has no name anywhere, so nothing can be left behind: it is gone with the last process that has it open.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from gymnasium import spaces

from proximo.envs.spaces import Array, Leaf

_ALIGN = 64


@dataclass(frozen=True)
class About:
    """What a worker's environments look like."""

    leaves: tuple[Leaf, ...]
    action_space: spaces.Space[Any]
    mask_key: str | None
    columns: tuple[str, ...]
    """Names of the numbers from `info`."""
    metadata: dict[str, Any]
    native: bool
    """Whether they save themselves."""

    def to_wire(self) -> dict[str, Any]:
        """Plain values and arrays."""
        leaves = [
            [leaf.key, list(leaf.path), _describe(leaf.space), list(leaf.shape), leaf.dtype.str]
            for leaf in self.leaves
        ]
        rest = {"mask_key": self.mask_key, "columns": list(self.columns), "metadata": self.metadata}
        return {"leaves": leaves, "action": _describe(self.action_space), "native": self.native, **rest}

    @classmethod
    def from_wire(cls, value: dict[str, Any]) -> About:
        """What `to_wire` described."""
        leaves = [
            Leaf(key, tuple(path), _space(space), tuple(shape), np.dtype(dtype))
            for key, path, space, shape, dtype in value["leaves"]
        ]
        columns = tuple(value["columns"])
        action = _space(value["action"])
        return cls(tuple(leaves), action, value["mask_key"], columns, value["metadata"], value["native"])


def stored(space: spaces.Space[Any]) -> np.dtype[Any]:
    """The type of a space's numbers."""
    return np.dtype(space.dtype)


def _describe(space: spaces.Space[Any]) -> list[Any]:
    if isinstance(space, spaces.Box):
        return ["box", space.low, space.high, stored(space).str]
    if isinstance(space, spaces.Discrete):
        return ["discrete", int(space.n), int(space.start)]
    if isinstance(space, spaces.MultiDiscrete):
        return ["multi", space.nvec, space.start, stored(space).str]
    assert isinstance(space, spaces.MultiBinary)
    return ["binary", list(space.shape) if len(space.shape) > 1 else space.shape[0]]


def _space(value: list[Any]) -> spaces.Space[Any]:
    kind, *rest = value
    if kind == "box":
        low, high, dtype = rest
        return spaces.Box(low, high, low.shape, np.dtype(dtype).type)
    if kind == "discrete":
        return spaces.Discrete(rest[0], start=rest[1])
    if kind == "multi":
        nvec, start, dtype = rest
        return spaces.MultiDiscrete(nvec, np.dtype(dtype).type, start=start)
    return spaces.MultiBinary(rest[0])


def create() -> int:
    """An empty nameless file in memory; workers inherit its descriptor, and it gets its size with `Board`."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("proximo")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


@dataclass(frozen=True)
class View:
    """Arrays in shared memory of some copies, `[N, ...]` unless said."""

    action: Array
    reward: Array
    terminated: Array
    truncated: Array
    info: Array
    """`[columns, N]` float32, NaN where there is none."""
    obs: dict[str, Array]
    final: dict[str, Array]
    """True last observations, only in the rows of copies whose episode has just ended."""


class Board:
    """All of the shared memory."""

    def __init__(
        self, descriptor: int, about: About, count: int, workers: int, *, grow: bool = False
    ) -> None:
        space = about.action_space
        kind = np.int64 if isinstance(space, spaces.Discrete) else stored(space)
        plan: list[tuple[Any, tuple[int, ...]]] = [
            (kind, (count, *(space.shape or ()))),
            (np.float32, (count,)),
            (np.bool_, (count,)),
            (np.bool_, (count,)),
            (np.float32, (len(about.columns), count)),
            (np.int64, (workers, 3)),
            *((leaf.dtype, (count, *leaf.shape)) for leaf in (*about.leaves, *about.leaves)),
        ]
        size = sum(_padded(dtype, shape) for dtype, shape in plan)
        if grow:
            os.ftruncate(descriptor, size)
        arrays = _carve(mmap.mmap(descriptor, size), plan)
        self.mark = arrays[5]
        """`[workers, 3]`: what each worker is busy with: group (-1: idle), copy in the group, 1 in a reset."""
        keys = [leaf.key for leaf in about.leaves]
        action, reward, terminated, truncated, info = arrays[:5]
        obs, final = (dict(zip(keys, arrays[n:], strict=False)) for n in (6, 6 + len(keys)))
        self.all = View(action, reward, terminated, truncated, info, obs, final)

    def rows(self, part: slice) -> View:
        """The arrays of some copies."""
        whole = self.all
        return View(
            whole.action[part],
            whole.reward[part],
            whole.terminated[part],
            whole.truncated[part],
            whole.info[:, part],
            {key: array[part] for key, array in whole.obs.items()},
            {key: array[part] for key, array in whole.final.items()},
        )


def _padded(dtype: Any, shape: tuple[int, ...]) -> int:
    size: int = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    return max(_ALIGN, -(-size // _ALIGN) * _ALIGN)


def _carve(memory: mmap.mmap, plan: Sequence[tuple[Any, tuple[int, ...]]]) -> list[Array]:
    arrays, position = [], 0
    for dtype, shape in plan:
        count = int(np.prod(shape, dtype=np.int64))
        arrays.append(np.frombuffer(memory, dtype, count, position).reshape(shape))
        position += _padded(dtype, shape)
    return arrays


def split(count: int, parts: int) -> list[slice]:
    """`count` rows in `parts` neighbouring pieces whose sizes differ by at most one."""
    bounds = [count * part // parts for part in range(parts + 1)]
    return [slice(first, last) for first, last in pairwise(bounds)]


def shares(bounds: Sequence[slice], count: int) -> list[list[slice]]:
    """For each of `count` workers its rows of every group."""
    pieces = [split(rows.stop - rows.start, count) for rows in bounds]
    return [
        [
            slice(rows.start + share[number].start, rows.start + share[number].stop)
            for rows, share in zip(bounds, pieces, strict=True)
        ]
        for number in range(count)
    ]
