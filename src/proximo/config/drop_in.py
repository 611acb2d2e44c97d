"""A class by its bare name, from Python files in folders beside a YAML file; found without importing any."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from proximo.config.registry import nearest
from proximo.errors import UserError

_INSIDE = (".", "models/feature_extractors", "feature_extractors", "models")
FOLDERS = (
    *_INSIDE,
    *(f"rl_pipeline/{name}" for name in _INSIDE[1:]),
    *(f"../{name}" for name in _INSIDE[1:]),
    *(f"../rl_pipeline/{name}" for name in _INSIDE[1:]),
)
"""Where a drop-in class may lie, seen from the folder of the YAML file; in the order of looking."""


def find_class(name: str, folder: Path, built_in: Sequence[str] = ()) -> str:
    """`path/file.py:Class` for the class `name`; `module:Class` passes, `file.py:Class` is looked for in `folder`.

    The path is absolute, so that the run can be resumed from anywhere. Raises `UserError` where no file, or
    more than one, defines the class.
    """
    if ":" in name:
        return _located(name, folder)
    classes, broken = _classes(folder)
    found = classes.get(name, [])
    if len(found) == 1:
        return f"{found[0]}:{name}"
    if found:
        raise UserError(f"{name} is defined in {' and '.join(map(os.path.relpath, found))}; keep one of them")
    looked = f"; files that are not valid Python: {', '.join(broken)}" if broken else ""
    where = f"looked for it beside the YAML file and in {', '.join(FOLDERS[1:4])} there"
    raise UserError(
        f"no class {name}: neither built in ({', '.join(built_in)}) nor defined in a Python file "
        f"({where}){looked}{nearest(name, [*classes, *built_in])}"
    )


def files_with(name: str, folder: Path) -> list[Path]:
    """The drop-in files that define the class `name`."""
    return _classes(folder)[0].get(name, [])


def _classes(folder: Path) -> tuple[dict[str, list[Path]], list[str]]:
    """The files of each class, and the files that cannot be read as Python."""
    classes: dict[str, list[Path]] = {}
    broken: list[str] = []
    for file in _files(folder):
        try:
            tree = ast.parse(file.read_bytes(), str(file))
        except (SyntaxError, ValueError, OSError):
            broken.append(os.path.relpath(file))
            continue
        for statement in tree.body:
            if isinstance(statement, ast.ClassDef):
                classes.setdefault(statement.name, []).append(file)
    return classes, broken


def _located(name: str, folder: Path) -> str:
    file, _, cls = name.rpartition(":")
    beside = folder / file
    return f"{beside.resolve()}:{cls}" if file.endswith(".py") and beside.is_file() else name


def _files(folder: Path) -> Iterator[Path]:
    seen: set[Path] = set()
    for name in FOLDERS:
        for file in sorted((folder / name).glob("*.py")):
            path = file.resolve()
            if path not in seen:
                seen.add(path)
                yield path
