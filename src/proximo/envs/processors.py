"""How many processors there are for stepping environments and for large networks."""

from __future__ import annotations

import os

from proximo.errors import UserError

SHARE = "PROXIMO_CORES"
"""Environment variable: how many of them this process should use, where others run beside it."""


def cores() -> int:
    """Processors that this process may use, at most `PROXIMO_CORES`. Raises: UserError where that is no such number."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = os.environ.get(SHARE, "")
    if not share:
        return own
    if not share.isdecimal() or int(share) == 0:
        raise UserError(f"{SHARE}={share}: must be a whole number of at least 1")
    return min(own, int(share))
