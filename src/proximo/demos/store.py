"""The folder of data sets: names, paths, and what is there. Minari's own layout, so that its tools see the same."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from proximo.errors import UserError

_NAME = re.compile(r"(?:[-_\w]{2,}/(?:[-_\w]+/)*)?[-_\w]+-v\d+", re.ASCII)
METADATA = "metadata.json"
PARTIAL, REPLACED = ".partial-", ".replaced-"
"""Beginnings of folders that are being written, and of what gives way to them: hidden, so that nobody lists them."""


def require_minari() -> None:
    """Raise UserError where the extra `demos` is not installed."""
    for module in ("minari", "h5py", "pyarrow", "PIL"):
        if importlib.util.find_spec(module) is None:
            raise UserError(f"data sets of demonstrations need {module}: pip install 'proximo[demos]'")


def root() -> Path:
    """Where data sets are: `$MINARI_DATASETS_PATH`, else `~/.minari/datasets`."""
    given = os.environ.get("MINARI_DATASETS_PATH")
    return Path(given) if given else Path.home() / ".minari" / "datasets"


def check_name(name: str) -> str:
    """`name` itself; UserError where it is no name such as `mujoco/walker2d/medium-v0`."""
    if _NAME.fullmatch(name) is None:
        raise UserError(
            f"{name!r} is no name of a data set; write it as mujoco/walker2d/medium-v0 (letters, digits, - and _, "
            "folders of two letters or more, a version at the end)"
        )
    return name


def is_path(name: str) -> bool:
    """Whether a folder is named (`./mine`, `/data/mine`), not a data set."""
    return name.startswith((".", "/", "~"))


def folder(name: str) -> Path:
    """The folder of a data set, whether it is there or not."""
    if not is_path(name):
        return root() / check_name(name)
    path = Path(name).expanduser()
    return path.parent if (path / METADATA).is_file() else path


def present(name: str) -> bool:
    """Whether the data set is on this disk."""
    recover()
    return (folder(name) / "data" / METADATA).is_file()


def metadata(name: str) -> dict[str, Any]:
    """What a data set says of itself; UserError where that cannot be read."""
    path = folder(name) / "data" / METADATA
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"data set {name}: {path} cannot be read ({error}); record or download it again"
        ) from error
    if not isinstance(found, dict):
        raise UserError(f"data set {name}: {path} holds no mapping; record or download it again")
    return found


@dataclass(frozen=True)
class Listed:
    """A data set on this disk."""

    name: str
    episodes: int
    steps: int
    format: str
    env_id: str | None


def local() -> Iterator[Listed]:
    """All data sets on this disk, by name; UserError at the first one that cannot be read."""
    recover()
    for path in sorted(root().glob(f"**/data/{METADATA}")):
        name = path.parent.parent.relative_to(root()).as_posix()
        if any(part.startswith(".") for part in name.split("/")) or _NAME.fullmatch(name) is None:
            continue
        said = metadata(name)
        yield Listed(
            name,
            int(said.get("total_episodes", 0)),
            int(said.get("total_steps", 0)),
            str(said.get("data_format", "?")),
            env_id(said),
        )


def env_id(said: dict[str, Any]) -> str | None:
    """The environment that metadata name: as Proximo wrote it, else the id of Minari's specification."""
    own = said.get("proximo")
    if isinstance(own, dict) and isinstance(own.get("env"), dict):
        found = own["env"].get("id")
        return found if isinstance(found, str) else None
    try:
        spec = json.loads(said.get("env_spec", "null"))
    except (TypeError, ValueError):
        return None
    found = spec.get("id") if isinstance(spec, dict) else None
    return found if isinstance(found, str) else None


def cache() -> Path:
    """`$XDG_CACHE_HOME/proximo/demos`, else in `~/.cache`."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "proximo" / "demos"


def remember_own(name: str) -> None:
    """Note that this data set was recorded here, so that the code it names is trusted."""
    mark = _mark(name)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()


def is_own(name: str) -> bool:
    """Whether exactly this data set was recorded here, by this user."""
    return _mark(name).is_file()


def _mark(name: str) -> Path:
    said = (folder(name) / "data" / METADATA).read_bytes()
    return cache() / "own" / hashlib.sha256(said).hexdigest()


def begin_partial(name: str) -> Path:
    """A new hidden folder beside the data sets to build `name` in; those that dead processes left are removed."""
    check_name(name)
    root().mkdir(parents=True, exist_ok=True)
    recover()
    for left, _ in _left(PARTIAL):
        shutil.rmtree(left, ignore_errors=True)
    path = root() / f"{PARTIAL}{os.getpid()}-{name.replace('/', '_')}"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    return path


def alive(pid: str) -> bool:
    """Whether a process of this number runs; False for what is no number."""
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def remove(partial: Path) -> None:
    """Remove a hidden folder; nothing happens where it is gone."""
    shutil.rmtree(partial, ignore_errors=True)


def publish(partial: Path, name: str) -> Path:
    """Move a finished folder to its place, in one step; one that is there gives way. Returns the place.

    The folders above it become Minari's name spaces.
    """
    target = folder(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    for parent in list(target.relative_to(root()).parents)[:-1]:
        marker = root() / parent / "namespace_metadata.json"
        if not marker.exists():
            marker.write_text("{}", encoding="utf-8")
    if target.exists():
        old = root() / f"{REPLACED}{os.getpid()}-{quote(name, safe='')}"
        remove(old)
        target.rename(old)
        partial.rename(target)
        remove(old)
    else:
        partial.rename(target)
    return target


def recover() -> None:
    """Put back what a process moved out of the way before it died, unless its successor is in place."""
    for left, name in _left(REPLACED):
        target = folder(check_name(unquote(name)))
        if target.exists():
            remove(left)
        else:
            # Another process may be doing the same.
            with suppress(FileNotFoundError):
                left.rename(target)


def _left(beginning: str) -> Iterator[tuple[Path, str]]:
    """What dead processes left of this kind, and the name behind their number."""
    for path in list(root().glob(f"{beginning}*")):
        owner, _, name = path.name.removeprefix(beginning).partition("-")
        if not alive(owner):
            yield path, name
