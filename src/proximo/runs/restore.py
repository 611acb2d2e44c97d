"""States of a training's parts, into a checkpoint and back, with every misfit told in one line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from proximo.errors import ProximoError, UserError, out_of_memory, user_code
from proximo.runs import checkpoint

_CURE = "go on with the settings and checkpoints of this run, or begin a new one"


def states(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Every part's state. Raises: RunError naming the part (it may be the user's) that cannot tell its state."""
    found: dict[str, Any] = {}
    for name, part in parts.items():
        with user_code(f"{name}: its state_dict()"):
            found[name] = part.state_dict()
    return found


def restore(folder: Path, parts: Mapping[str, Any], env_id: str) -> None:
    """Load every part's state from a checkpoint of a training on `env_id`.

    Raises: UserError where another experiment wrote it, RunError where an environment does not come back.
    """
    check_environment(folder, env_id)
    saved = checkpoint.load(folder)
    for name, part in parts.items():
        if name not in saved:
            raise UserError(f"checkpoint {folder} has no state for {name}: {_CURE}")
        try:
            part.load_state_dict(saved[name])
        except ProximoError:
            raise
        except Exception as error:
            if out_of_memory(error):
                raise
            raise UserError(f"checkpoint {folder} does not fit ({name}: {detail(error)}): {_CURE}") from error


def check_environment(folder: Path, env_id: str) -> None:
    """UserError where the checkpoint says that it was trained on another environment."""
    trained_on = checkpoint.header(folder)["meta"].get("env", env_id)
    if trained_on != env_id:
        raise UserError(f"checkpoint {folder} was trained on {trained_on}, not on {env_id}: {_CURE}")


def detail(error: Exception) -> str:
    """The first line that says something: PyTorch heads its list of misfits with one that does not."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[min(1, len(lines) - 1)] if lines else type(error).__name__
