"""What environments must not do: raise, return something else, leave their spaces. Each is told in one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete, MultiDiscrete

from proximo.envs import spaces
from proximo.envs.replay import GymEnv, describe
from proximo.envs.spaces import Array, Leaf, first_non_finite
from proximo.errors import RunError


def reset(env: GymEnv, seed: int, where: Callable[[], str]) -> tuple[Any, dict[str, Any]]:
    """Reset one copy; RunError beginning with `where()` if it raises or returns no (observation, info)."""
    try:
        result = env.reset(seed=seed)
    # SystemExit would end the program as if all were well.
    except (Exception, SystemExit) as error:
        raise RunError(f"{where()} raised {describe(error)}") from error
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)):
        raise RunError(f"{where()} must return (observation, info), info being a dict")
    return result


def fault(error: BaseException, reader: str) -> str:
    """What went wrong in a step: inside it, or (raised in the file `reader`) in reading what it returned."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or trace.tb_frame.f_code.co_filename not in (reader, spaces.__file__):
        return f"raised {describe(error)}"
    what = "(observation, reward, terminated, truncated, info) as its spaces say"
    return f"must return {what}: {describe(error)}"


def close(envs: Sequence[GymEnv], env_id: str) -> None:
    """Close all, also after one that raised; RunError with the last one's reason."""
    failed: BaseException | None = None
    for env in envs:
        try:
            env.close()  # type: ignore[no-untyped-call]
        # SystemExit would end the program as if all were well.
        except (Exception, SystemExit) as error:  # noqa: BLE001  (the others must be closed; told below)
            failed = error
    if failed is not None:
        raise RunError(f"{env_id}: close() raised {describe(failed)}") from failed


def find_bad(leaves: Sequence[Leaf], obs: Mapping[str, Array]) -> tuple[int, str] | None:
    """Row and description of the first value in `[rows, ...]` arrays that is not finite or not in its space."""
    bad = first_non_finite(obs)
    if bad is not None:
        return bad[1], f"NaN or infinity in the observation {bad[0]!r}; observations must be finite"
    for leaf in leaves:
        if isinstance(leaf.space, (Discrete, MultiDiscrete)):
            row = _outside(leaf.space, obs[leaf.key])
            if row is not None:
                value = obs[leaf.key][row].tolist()
                return row, f"the observation {leaf.key!r} {value}; it must lie in its space {leaf.space}"
    return None


def _outside(space: Discrete | MultiDiscrete, values: Array) -> int | None:
    shifted = values - space.start
    wrong = (shifted < 0) | (shifted >= (space.n if isinstance(space, Discrete) else space.nvec))
    return int(np.flatnonzero(wrong.reshape(len(wrong), -1).any(axis=1))[0]) if wrong.any() else None
