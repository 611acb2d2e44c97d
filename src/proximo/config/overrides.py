"""Dotted settings (`ppo.learning_rate=1e-4`) on the plain mapping that a YAML file gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from proximo.config import text
from proximo.config.experiment import Node
from proximo.errors import UserError


def leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`(dotted path, value)` of all that is no mapping (a list is one value), and of empty mappings."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def apply(data: dict[str, Any], item: str) -> tuple[str, str]:
    """Write `path=value` (the value in YAML) into `data`; gives back the path and the value as typed.

    Missing mappings on the way are made; a list is entered by position. Raises `UserError` for what is no
    setting, and where the path leads through a plain value.
    """
    path, equals, typed = item.partition("=")
    if not equals or not all(path.split(".")) or any(c.isspace() for c in path):
        raise UserError(f"{item}: a setting is written as key=value, such as ppo.learning_rate=1e-4")
    put(data, path, text.parse(typed, item, lines=False))
    return path, typed.strip()


def put(data: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at a dotted path; raises `UserError` where the path leads through a plain value."""
    here: Any = data
    keys = path.split(".")
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        above = ".".join(keys[:depth])
        if isinstance(here, list):
            if not key.isdecimal() or int(key) >= len(here):
                raise UserError(
                    f"{path}: {above} is a list of {len(here)}; {key} is no position in it (0 is first)"
                )
            slot: Any = int(key)
        elif isinstance(here, dict):
            slot = key
            if not last and here.get(key) is None:
                here[key] = {}
        else:
            raise UserError(f"{path}: {above} is {text.scalar(here)}, which has no keys")
        if last:
            here[slot] = value
        else:
            here = here[slot]


def get(data: Any, path: str) -> Any:
    """The value at a dotted path of a mapping or a built tree; None where there is nothing."""
    for key in path.split("."):
        if isinstance(data, Node):
            data = getattr(data, key, None)
        elif isinstance(data, (list, tuple)):
            data = data[int(key)]
        else:
            data = data.get(key) if isinstance(data, dict) else None
    return data


def forget(origins: dict[str, Any], path: str) -> None:
    """Drop what was known of `path`, of all below it, and of an empty mapping above it."""
    for known in list(origins):
        inside_list = path.startswith(f"{known}.") and path[len(known) + 1 :].partition(".")[0].isdecimal()
        if (
            known == path
            or known.startswith(f"{path}.")
            or (path.startswith(f"{known}.") and not inside_list)
        ):
            del origins[known]
