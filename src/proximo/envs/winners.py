"""Which backend was fastest on this machine: a small cache in the user's folder, written by `proximo bench env`."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from proximo.config.experiment import EnvConfig
from proximo.errors import RunError

PACKAGES = ("proximo", "torch", "numpy", "gymnasium", "mujoco", "envpool", "ale-py", "box2d")
"""Distributions whose version can move the speed of an environment."""


def cached_winner(config: EnvConfig) -> str | None:
    """The backend that was fastest here for this environment and number of copies; None if never measured.

    Only what was measured on this machine with these versions counts; `config.backend` does not matter.
    """
    try:
        found = json.loads(_file(config).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # A cache: what cannot be read is as good as never measured.
        return None
    name = found.get("backend") if isinstance(found, dict) else None
    return name if isinstance(name, str) else None


def remember(config: EnvConfig, backend: str) -> Path:
    """Keep the winner for `cached_winner`; returns the file. Raises: RunError where it cannot be written."""
    path = _file(config)
    text = json.dumps({**_key(config), "backend": backend}, indent=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            file.write(text)
        Path(file.name).replace(path)
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror}); set XDG_CACHE_HOME") from error
    return path


def _file(config: EnvConfig) -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    text = json.dumps(_key(config), sort_keys=True)
    return Path(home) / "proximo" / "backends" / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"


def _key(config: EnvConfig) -> dict[str, Any]:
    return {
        "env": config.model_dump(mode="json", exclude={"backend"}),
        "machine": [platform.system(), platform.machine(), _processor(), os.cpu_count()],
        "versions": {"python": platform.python_version(), **_versions()},
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "")
