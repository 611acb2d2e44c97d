"""The experiment tree as data: every field with its place, meaning, bounds and default; the JSON Schema."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from proximo.config.experiment import Custom, Experiment, Node

NAME = "<name>"
"""Stands for a key of the user's choice in a path (`rewards.<name>.weight`)."""
INDEX = "<n>"
"""Stands for a position in a list (`env.wrappers.<n>.name`)."""


@dataclass(frozen=True)
class FieldDoc:
    """One field of the tree."""

    path: str
    doc: str
    allowed: str
    """What may stand there, in words."""
    default: Any
    """`REQUIRED` where there is none."""
    variant: str
    """The `type` of the union member it belongs to, or an empty string."""


REQUIRED: Any = PydanticUndefined


def json_schema() -> dict[str, Any]:
    """JSON Schema of the whole tree, for editors and forms."""
    schema = Experiment.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return schema


def strip(annotation: Any) -> Any:
    """The annotation without `Annotated`."""
    return strip(get_args(annotation)[0]) if get_origin(annotation) is typing.Annotated else annotation


def members(annotation: Any) -> list[Any]:
    """The alternatives of a union, or the annotation itself."""
    bare = strip(annotation)
    if get_origin(bare) in (Union, types.UnionType):
        return [m for arg in get_args(bare) for m in members(arg)]
    return [bare]


def nodes(annotation: Any) -> list[type[Node]]:
    """The `Node` classes that may stand directly under this annotation."""
    return [m for m in members(annotation) if isinstance(m, type) and issubclass(m, Node)]


def element(annotation: Any) -> tuple[str, Any] | None:
    """`(placeholder, annotation of an element)` of a list or mapping annotation."""
    for member in members(annotation):
        origin, args = get_origin(member), get_args(member)
        if origin is dict:
            return NAME, args[1]
        if origin in (tuple, list):
            return INDEX, args[0]
    return None


def tag(node: type[Node]) -> str:
    """The `type` that selects this class in a union (`custom` for classes of the user's own)."""
    if issubclass(node, Custom):
        return "custom"
    field = node.model_fields.get("type")
    return str(field.default) if field is not None else ""


def walk(node: type[Node] = Experiment, prefix: str = "", variant: str = "") -> Iterator[FieldDoc]:
    """Every field of the tree in its order, with all members of the unions."""
    for name, field in node.model_fields.items():
        path = f"{prefix}{name}"
        yield FieldDoc(path, _meaning(field), allowed(field), field.get_default(), variant)
        yield from _below(field.annotation, path)


def _meaning(field: FieldInfo) -> str:
    if field.description:
        return field.description
    below = nodes(field.annotation)
    return " ".join((below[0].__doc__ or "").split()) if len(below) == 1 else ""


def _below(annotation: Any, path: str) -> Iterator[FieldDoc]:
    variants = nodes(annotation)
    for child in variants:
        yield from walk(child, f"{path}.", tag(child) if len(variants) > 1 else "")
    inner = element(annotation)
    if inner is not None and inner[1] is not Any:
        yield from _below(inner[1], f"{path}.{inner[0]}")


def allowed(field: FieldInfo) -> str:
    """What the field accepts, in words: `a whole number ≥ 1`, `auto | cpu | cuda | mps`."""
    return _words(field.annotation, field.metadata)


_PLAIN = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_SIGNS = (
    (annotated_types.Ge, "ge", "≥"),
    (annotated_types.Gt, "gt", ">"),
    (annotated_types.Le, "le", "≤"),
    (annotated_types.Lt, "lt", "<"),
)


def _words(annotation: Any, metadata: list[Any]) -> str:
    if get_origin(annotation) is typing.Annotated:
        base, *more = get_args(annotation)
        return _words(base, [*metadata, *more])
    choices = members(annotation)
    tags = [tag(node) for node in nodes(annotation)]
    if tags:
        shown = ["module:Class" if t == "custom" else t for t in tags if t]
        return f"a mapping; type: {' | '.join(shown)}" if len(tags) > 1 else "a mapping"
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [_words(arg, metadata) for arg in get_args(annotation) if arg is not type(None)]
        return " | ".join([*parts, "null"] if type(None) in choices else parts)
    if get_origin(annotation) is Literal:
        return " | ".join(str(value) for value in get_args(annotation))
    inner = element(annotation)
    if inner is not None:
        what = "anything" if inner[1] is Any else _words(inner[1], [])
        return f"a list of: {what}" if inner[0] == INDEX else f"a mapping from names to: {what}"
    return f"{_PLAIN.get(annotation, 'anything')}{_bounds(metadata)}"


def _bounds(metadata: list[Any]) -> str:
    flat: list[Any] = []
    for item in metadata:
        flat.extend(item.metadata if isinstance(item, FieldInfo) else [item])
    found = [
        f" {sign} {number(getattr(m, key))}"
        for kind, key, sign in _SIGNS
        for m in flat
        if isinstance(m, kind)
    ]
    return " and".join(found)


def number(value: float) -> str:
    """A bound as a person writes it."""
    return str(value) if isinstance(value, int) else f"{value:g}"


def values(value: Any, path: str = "", doc: str = "") -> Iterator[tuple[str, Any, str]]:
    """`(path, value, docstring)` of every leaf of a built tree, in its order."""
    if isinstance(value, Node):
        for name, field in type(value).model_fields.items():
            below = f"{path}.{name}" if path else name
            yield from values(getattr(value, name), below, field.description or "")
    elif isinstance(value, dict) and value and any(isinstance(v, Node) for v in value.values()):
        for key, item in value.items():
            yield from values(item, f"{path}.{key}", doc)
    elif isinstance(value, tuple) and value and any(isinstance(v, Node) for v in value):
        for index, item in enumerate(value):
            yield from values(item, f"{path}.{index}", doc)
    else:
        yield path, list(value) if isinstance(value, tuple) else value, doc
