"""Numbers that move in a straight line during the training."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """From `start` to `end`, which is reached at `until`, a part of the training in (0, 1]; then it stays."""

    start: float
    end: float | None = None
    """None: as `start`."""
    until: float = 1.0

    @property
    def moves(self) -> bool:
        """False for a constant."""
        return self.end not in (None, self.start)

    def __call__(self, progress: float) -> float:
        """The number at `progress` in [0, 1]."""
        if self.end is None:
            return self.start
        part = min(progress / self.until, 1.0)
        return self.end if part == 1.0 else self.start + (self.end - self.start) * part
