"""Which way through a rollout is the fastest for an environment."""

from __future__ import annotations

from typing import Any

from proximo.core.engines.native.in_place import IN_PLACE_STEPPING
from proximo.core.engines.native.stepping import NATIVE_STEPPING, FusedStepping
from proximo.core.halves import HALVES_STEPPING
from proximo.core.stepping import Stepping


def stepping_for(env: Any) -> Stepping:
    """The fastest way through a rollout of `env`."""
    if getattr(env, "halves", None) is not None:
        return HALVES_STEPPING
    if getattr(env, "native", None) is not None:
        # These tasks never put anything into `info`, so nothing of it is missed.
        return FusedStepping(env)
    return IN_PLACE_STEPPING if hasattr(env, "step_into") else NATIVE_STEPPING
