"""The classic-control tasks in the kernels' memory; see `Classic` in interface.h and classic.h."""

from __future__ import annotations

from ctypes import POINTER, Structure, c_double, c_int32, c_int64, c_uint64, c_void_p, cast
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from proximo.core.engines.native.library import library

STATE, PARAMETERS = 4, 16
"""Numbers per environment, padded alike for all tasks."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Classic(Structure):
    """N environments of one task, in arrays that Python owns."""

    _fields_ = [
        ("kind", c_int32),
        ("num_envs", c_int32),
        ("state", POINTER(c_double)),
        ("episode", POINTER(c_int64)),
        ("elapsed", POINTER(c_int64)),
        ("max_steps", c_int64),
        ("key", c_uint64),
        ("first_env", c_int64),
        ("parameters", POINTER(c_double)),
        ("pending", POINTER(c_double)),
    ]


@cache
def kernels() -> Any:
    """The library, its classic-control entry points declared; None where it is not built or older than these."""
    loaded = library()
    if loaded is None or not hasattr(loaded, "proximo_classic_step"):
        return None
    loaded.proximo_classic_reset.argtypes, loaded.proximo_classic_reset.restype = [c_void_p] * 2, None
    loaded.proximo_classic_step.argtypes, loaded.proximo_classic_step.restype = [c_void_p] * 9, c_int64
    return loaded


def bind(
    kind: int,
    state: Floats,
    episode: Ints,
    elapsed: Ints,
    max_steps: int,
    first_env: int,
    parameters: Floats,
    pending: Floats,
) -> Classic:
    """The struct over these arrays (`[N, STATE]`, `[N]`, `[N]`, `[N, PARAMETERS]`, `[PARAMETERS]`), not copied.

    The caller keeps the arrays alive and sets `key` before the first reset.
    """
    return Classic(
        kind=kind,
        num_envs=len(state),
        state=_pointer(state, c_double),
        episode=_pointer(episode, c_int64),
        elapsed=_pointer(elapsed, c_int64),
        max_steps=max_steps,
        key=0,
        first_env=first_env,
        parameters=_pointer(parameters, c_double),
        pending=_pointer(pending, c_double),
    )


def _pointer(array: npt.NDArray[Any], of: Any) -> Any:
    assert array.flags.c_contiguous
    return cast(array.ctypes.data, POINTER(of))
