"""Numbers of a flat table of settings, where a YAML file or the command line wrote them: checked, and in their type."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

POSITIVE = 1e-12
"""As the lower end of a range: any number above zero."""


def number_problem(said: str, value: Any, whole: bool, limits: Mapping[str, Any]) -> str:
    """What is wrong with a number that was written as `said`, or nothing; `limits` has `low` and `high`.

    Whole numbers may be written as 5e5.
    """
    low, high = limits["low"], limits["high"]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return f"{said}: must be a {'whole ' if whole else ''}number"
    if whole and not float(value).is_integer():
        return f"{said}: must be a whole number"
    if low is not None and value < low:
        return f"{said}: must be {'positive' if low == POSITIVE else f'at least {low:g}'}"
    if high is not None and value > high:
        return f"{said}: must be at most {high:g}"
    return ""


def tidied(hint: Any, value: Any) -> Any:
    """500000.0 for a whole number as 500000, 1 for a number as 1.0, one name for a list of names as a list."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int and number and float(value).is_integer():
        return int(value)
    if hint in (float, float | None) and number:
        return float(value)
    return [value] if hint == list[str] and isinstance(value, str) else value
