"""MuJoCo simulations stepped by the kernels in a few threads; see kernels/mujoco.cpp."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from ctypes import Structure, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from proximo.core.engines.native.library import library

_FUNCTIONS = ("mj_step", "mj_rnePostConstraint", "mj_getState", "mj_setState")


class CallMujoco(Structure):
    """MuJoCo's functions; see `Mujoco` in kernels/mujoco.cpp."""

    _fields_ = [*((name, c_void_p) for name in ("step", "forces", "get", "set")), ("which", c_int64)]


@cache
def kernels() -> Any:
    """The library, its entry points for MuJoCo declared; None where it is not built or older than these."""
    loaded = library()
    if loaded is None or not hasattr(loaded, "proximo_fleet_open"):
        return None
    loaded.proximo_fleet_open.argtypes = [c_void_p, c_int64, c_int64, c_int64, c_int64, c_void_p, c_void_p]
    loaded.proximo_fleet_open.restype = c_void_p
    loaded.proximo_fleet_advance.argtypes = [c_void_p, c_void_p, c_int64]
    loaded.proximo_fleet_result.argtypes = [c_void_p, c_int64]
    loaded.proximo_fleet_close.argtypes = [c_void_p]
    loaded.proximo_fleet_result.restype = c_int64
    for name in ("advance", "close"):
        getattr(loaded, f"proximo_fleet_{name}").restype = None
    return loaded


def find_library(folder: Path) -> str | None:
    """MuJoCo's own shared library in the folder of its Python package, or None."""
    found = sorted((*folder.glob("libmujoco*.so*"), *folder.glob("libmujoco*.dylib")))
    return str(found[0]) if found else None


class Fleet:
    """N simulations of one task: the first N of `data` are shown, the others are `MjData` to step in.

    Everything of MuJoCo's is handed in, so that nothing here imports it. `models` may be one model many times.
    `which` selects all that a step depends on (`mjSTATE_INTEGRATION`); `size` is how many numbers that is.
    """

    def __init__(
        self, path: str, models: Sequence[Any], data: Sequence[Any], which: int, size: int, workers: int
    ) -> None:
        loaded = ctypes.CDLL(path)
        addresses = [ctypes.cast(getattr(loaded, name), c_void_p) for name in _FUNCTIONS]
        functions = CallMujoco(*addresses, which)
        count, controls = len(models), int(models[0].nu)
        states = np.empty((count, size))
        simulations = [[m._address, row.ctypes.data] for m, row in zip(models, states, strict=True)]
        pairs = [[d._address, d.ctrl.ctypes.data] for d in data]
        pointers = [np.array(rows, np.uint64) for rows in (simulations, pairs)]
        spares, places = len(data) - count, [rows.ctypes.data for rows in pointers]
        handle = kernels().proximo_fleet_open(
            ctypes.byref(functions), count, controls, spares, workers, *places
        )
        self._handle = c_void_p(handle)
        self._advance, self._result = kernels().proximo_fleet_advance, kernels().proximo_fleet_result
        self.data = list(data)
        self.count, self._shape = count, (count, controls)
        self.frames = 0
        """Of the step under way."""
        # What the threads may be writing to must live until they have stopped.
        kept = (states, list(models), self.data)
        self._close = weakref.finalize(self, _close, self._handle, kept)

    def advance(self, ctrl: npt.NDArray[Any], frames: int) -> None:
        """Begin a step of `frames` frames of every simulation with the controls `[N, nu]`."""
        rows = np.ascontiguousarray(ctrl, np.float64)
        assert rows.shape == self._shape
        self.frames = frames
        self._advance(self._handle, rows.ctypes.data, frames)

    def result(self, index: int) -> Any:
        """Wait for one simulation; the `MjData` that it shows from now on. The one before may be stepped in."""
        return self.data[self._result(self._handle, index)]

    def close(self) -> None:
        """Stop the threads."""
        self._close()


def _close(handle: c_void_p, kept: tuple[Any, ...]) -> None:
    kernels().proximo_fleet_close(handle)
