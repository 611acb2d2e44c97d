"""The base of the tree's nodes and the types of their fields."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Widths = tuple[Count, ...]


class Node(BaseModel):
    """Base of every part of the tree: frozen, no unknown keys, docstrings as descriptions."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False, validate_default=True
    )


class Custom(Node):
    """A class of your own, named as `module:Class` or `file.py:Class`."""

    type: Annotated[str, Field(pattern=r"^[^:]+:[A-Za-z_][A-Za-z0-9_.]*$")]
    """`module:Class` (importable) or `path/to/file.py:Class` (relative to the working directory)."""
    kwargs: dict[str, Any] = {}
    """Keyword arguments for its constructor, checked against its signature."""


def tag_of(value: Any) -> str:
    name = value.get("type", "") if isinstance(value, dict) else getattr(value, "type", "")
    return "custom" if ":" in str(name) else str(name)
