"""A rollout that cannot fit is refused at once, instead of filling the memory until the system kills the process."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gymnasium.spaces import Space

from proximo.errors import RunError

ROW_BYTES = 40
"""Least that is kept per step beside the observation: action, noise, log-probability, reward, value, flags."""
_LIMIT = Path("/sys/fs/cgroup/memory.max")


def check_rollout(num_steps: int, num_envs: int, obs: Mapping[str, Space[Any]] | None = None) -> None:
    """Raise RunError where `num_steps` × `num_envs` rows are certainly larger than this machine's memory."""
    row = ROW_BYTES + sum(_bytes(space) for space in (obs or {}).values())
    wanted, there = num_steps * num_envs * row, memory()
    if wanted > there:
        raise RunError(
            f"out of memory: a rollout of ppo.num_steps={num_steps} × env.num_envs={num_envs} needs at least "
            f"{wanted / 2**30:,.0f} GiB, this machine has {there / 2**30:,.0f}: lower one of them"
        )


def memory() -> int:
    """Bytes of memory that this process may use at most: the machine's, or its container's."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    text = _LIMIT.read_text(encoding="ascii").strip() if _LIMIT.is_file() else ""
    return min(machine, int(text)) if text.isdigit() else machine


def _bytes(space: Space[Any]) -> int:
    return math.prod(space.shape or ()) * (space.dtype.itemsize if space.dtype is not None else 0)
