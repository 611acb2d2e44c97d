"""What every peer's script shares: the workload it is called with, the clock, the line it ends with.

A script is called with one JSON object (a workload of `src/proximo/bench/workloads.py`), trains, and prints one
JSON line. It needs nothing of Proximo.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def workload() -> SimpleNamespace:
    """The command's workload, its settings as attributes."""
    return SimpleNamespace(**json.loads(sys.argv[1]))


def threads(count: int) -> None:
    """So many PyTorch threads; 0: all cores."""
    import torch

    if count:
        torch.set_num_threads(count)


class Clock:
    """Reads the time around the training call and at the end of the first update."""

    def __init__(self) -> None:
        self.called_at = 0.0
        self.first: tuple[float, int] | None = None

    def start(self) -> None:
        """The training call begins."""
        self.called_at = time.monotonic()

    def updated(self, steps: int) -> None:
        """An update ended, after so many environment steps in all; only the first call counts."""
        if self.first is None:
            self.first = (time.monotonic(), steps)

    def finish(self, steps: int, differs: str = "") -> None:
        """The training call ended; prints the line. `differs`: what this peer cannot do as the others do."""
        ended = time.monotonic()
        assert self.first is not None, "no update was seen"
        row: dict[str, Any] = {
            "steps": steps,
            "called_at": self.called_at,
            "first_update_at": self.first[0],
            "first_update_steps": self.first[1],
            "ended_at": ended,
            "memory_mib": peak_memory_mib(),
            "differs": differs,
        }
        print(f"\n{json.dumps(row)}", flush=True)


def peak_memory_mib() -> float:
    """Most resident memory that this process ever held, in MiB (Linux; elsewhere what `resource` tells)."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10
