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

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the block's wall time under `name`."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - begun)

    def add(self, name: str, seconds: float) -> None:
        """Count `seconds` under `name`."""
        self.current[name] += seconds
        self.total[name] += seconds

    def take(self) -> dict[str, float]:
        """Seconds per phase since the last call."""
        taken, self.current = self.current, dict.fromkeys(PHASES, 0.0)
        return taken
