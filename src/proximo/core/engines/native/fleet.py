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
    loaded.proximo_fleet_open.argtypes = [c_void_p, c_int64, c_int64, c_int64, c_void_p]
    loaded.proximo_fleet_open.restype = c_void_p
    loaded.proximo_fleet_advance.argtypes = [c_void_p, c_void_p, c_int64]
    loaded.proximo_fleet_result.argtypes = [c_void_p, c_int64]
    loaded.proximo_fleet_close.argtypes = [c_void_p]
    for name in ("advance", "result", "close"):
        getattr(loaded, f"proximo_fleet_{name}").restype = None
    return loaded


def find_library(folder: Path) -> str | None:
    """MuJoCo's own shared library in the folder of its Python package, or None."""
    found = sorted((*folder.glob("libmujoco*.so*"), *folder.glob("libmujoco*.dylib")))
    return str(found[0]) if found else None


class Fleet:
    """N simulations of one task: `data` is what is shown, `spare` as many more `MjData` to step in.

    Everything of MuJoCo's is handed in, so that nothing here imports it. `which` selects all that a step depends
    on (`mjSTATE_INTEGRATION`); `size` is how many numbers that is.
    """

    def __init__(
        self,
        path: str,
        models: Sequence[Any],
        data: Sequence[Any],
        spare: Sequence[Any],
        which: int,
        size: int,
        workers: int,
    ) -> None:
        loaded = ctypes.CDLL(path)
        addresses = [ctypes.cast(getattr(loaded, name), c_void_p) for name in _FUNCTIONS]
        states = np.empty((len(models), size))
        pointers = np.array(
            [
                [m._address, d._address, s._address, d.ctrl.ctypes.data, s.ctrl.ctypes.data, row.ctypes.data]
                for m, d, s, row in zip(models, data, spare, states, strict=True)
            ],
            np.uint64,
        )
        functions = CallMujoco(*addresses, which)
        count, controls = len(models), int(models[0].nu)
        handle = kernels().proximo_fleet_open(
            ctypes.byref(functions), count, controls, workers, pointers.ctypes.data
        )
        self._handle = c_void_p(handle)
        self._advance, self._result = kernels().proximo_fleet_advance, kernels().proximo_fleet_result
        self.count, self._shape = count, (count, controls)
        self.frames = 0
        """Of the step under way."""
        # What the threads may be writing to must live until they have stopped.
        kept = (states, list(models), list(data), list(spare))
        self._close = weakref.finalize(self, _close, self._handle, kept)

    def advance(self, ctrl: npt.NDArray[Any], frames: int) -> None:
        """Begin a step of `frames` frames of every simulation with the controls `[N, nu]`."""
        rows = np.ascontiguousarray(ctrl, np.float64)
        assert rows.shape == self._shape
        self.frames = frames
        self._advance(self._handle, rows.ctypes.data, frames)

    def result(self, index: int) -> None:
        """Wait for one simulation; from now on its other `MjData` is the one shown."""
        self._result(self._handle, index)

    def close(self) -> None:
        """Stop the threads."""
        self._close()


def _close(handle: c_void_p, kept: tuple[Any, ...]) -> None:
    kernels().proximo_fleet_close(handle)
