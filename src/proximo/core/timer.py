"""The phase timer: where the wall time of a run goes."""

from __future__ import annotations

import time

PHASES = ("act", "env", "estimate", "learn", "eval", "log")


class Timer:
    """Seconds per phase since the last `take`. Always on: one clock read where a phase begins or ends.

    Every moment between two clock reads belongs to the innermost open phase, so that nothing lies between two of them.
    """

    def __init__(self) -> None:
        self.open: str | None = None
        """The innermost open phase; time outside of all is not counted."""
        self._spent = dict.fromkeys(PHASES, 0.0)
        self._mark = 0.0

    def phase(self, name: str) -> Phase:
        """Count the block's wall time under `name`, without what phases inside it count."""
        return Phase(self, name)

    def switch(self, name: str | None) -> None:
        """Count what has passed under the open phase, and open another (or none) in its place."""
        now = time.perf_counter()
        if self.open is not None:
            self._spent[self.open] += now - self._mark
        self._mark, self.open = now, name

    def split(self, name: str, seconds: float) -> None:
        """Of the open phase's time, `seconds` were spent on `name`."""
        self._spent[name] += seconds
        if self.open is not None:
            self._spent[self.open] -= seconds

    def add(self, spent: dict[str, float]) -> None:
        """Count what another timer took beside this one."""
        for name, seconds in spent.items():
            self._spent[name] += seconds

    def take(self) -> dict[str, float]:
        """Seconds per phase since the last call."""
        self.switch(self.open)
        taken, self._spent = self._spent, dict.fromkeys(PHASES, 0.0)
        return taken


class Phase:
    """One block of `Timer.phase`; a class, because a generator costs several times as much around every update."""

    __slots__ = ("_name", "_outer", "_timer")

    def __init__(self, timer: Timer, name: str) -> None:
        self._timer, self._name = timer, name

    def __enter__(self) -> None:
        self._outer = self._timer.open
        self._timer.switch(self._name)

    def __exit__(self, *error: object) -> None:
        self._timer.switch(self._outer)
