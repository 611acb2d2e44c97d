"""The phase timer: where the wall time of a run goes."""

from __future__ import annotations

import time

PHASES = ("act", "env", "estimate", "learn", "eval", "log")


class Timer:
    """Seconds per phase since the last `take`, and over the whole run. Always on: two clock reads a phase."""

    def __init__(self) -> None:
        self.current = dict.fromkeys(PHASES, 0.0)
        self.total = dict.fromkeys(PHASES, 0.0)
        self.inside = [0.0]
        """Seconds that phases inside the running one have counted, per level of nesting."""

    def phase(self, name: str) -> Phase:
        """Count the block's wall time under `name`, without what phases inside it count."""
        return Phase(self, name)

    def add(self, name: str, seconds: float) -> None:
        """Count `seconds` under `name`."""
        self.current[name] += seconds
        self.total[name] += seconds

    def take(self) -> dict[str, float]:
        """Seconds per phase since the last call."""
        taken, self.current = self.current, dict.fromkeys(PHASES, 0.0)
        return taken


class Phase:
    """One block of `Timer.phase`; a class, because a generator costs several times as much around every update."""

    __slots__ = ("_begun", "_name", "_timer")

    def __init__(self, timer: Timer, name: str) -> None:
        self._timer, self._name = timer, name

    def __enter__(self) -> None:
        self._begun = time.perf_counter()
        self._timer.inside.append(0.0)

    def __exit__(self, *error: object) -> None:
        spent = time.perf_counter() - self._begun
        inside = self._timer.inside
        self._timer.add(self._name, spent - inside.pop())
        inside[-1] += spent
