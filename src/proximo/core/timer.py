"""The phase timer: where the wall time of a run goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

PHASES = ("act", "env", "estimate", "learn", "eval", "log")


class Timer:
    """Seconds per phase since the last `take`, and over the whole run. Always on: two clock reads a phase."""

    def __init__(self) -> None:
        self.current = dict.fromkeys(PHASES, 0.0)
        self.total = dict.fromkeys(PHASES, 0.0)
        self._inside = [0.0]
        """Seconds that phases inside the running one have counted, per level of nesting."""

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the block's wall time under `name`, without what phases inside it count."""
        begun = time.perf_counter()
        self._inside.append(0.0)
        try:
            yield
        finally:
            spent = time.perf_counter() - begun
            self.add(name, spent - self._inside.pop())
            self._inside[-1] += spent

    def add(self, name: str, seconds: float) -> None:
        """Count `seconds` under `name`."""
        self.current[name] += seconds
        self.total[name] += seconds

    def take(self) -> dict[str, float]:
        """Seconds per phase since the last call."""
        taken, self.current = self.current, dict.fromkeys(PHASES, 0.0)
        return taken
