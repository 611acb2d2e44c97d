"""What a measured training of Proximo records of itself."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from proximo.envs.make import choose_backend


class Clock:
    """A hook that notes when the first update ended and what was chosen automatically."""

    name = "clock"
    seen: dict[str, Any] = {}
    """Of the last training in this process; a hook is built by name, so its maker never holds it."""

    def after_update(self, training: Any, metrics: dict[str, float]) -> None:
        """Notes the first call."""
        if "first_update_at" not in Clock.seen:
            Clock.seen["first_update_at"] = time.monotonic()
            Clock.seen["first_update_steps"] = training.step
            Clock.seen["engine"] = training.experiment.engine
            Clock.seen["backend"] = choose_backend(training.experiment.env)[0]
        Clock.seen["updates"] = int(metrics["update"])


def peak_memory_mib() -> float:
    """Most resident memory that this process ever held, in MiB (Linux; elsewhere what `resource` tells)."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10
