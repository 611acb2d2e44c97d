"""Numbers as people read them: thousands separators, few digits, units."""

from __future__ import annotations

import math

NOTHING = "–"
MINUS = "−"


def number(value: float | None, digits: int = 4) -> str:
    """About `digits` significant digits, whole from there on, with separators: 12,345 or 0.01106 or 3e-05."""
    if value is None or not math.isfinite(value):
        return NOTHING
    size = abs(value)
    if size == 0.0:
        return "0"
    if size < 1e-3 or size >= 1e12:
        return _minus(f"{value:.{digits - 2}e}".replace("e-0", "e-").replace("e+", "e"))
    decimals = max(0, digits - 1 - math.floor(math.log10(size)))
    text = f"{value:,.{decimals}f}"
    return _minus(text.rstrip("0").rstrip(".") if "." in text else text)


def fixed(value: float, decimals: int) -> str:
    """A fixed number of decimals, with separators."""
    text = f"{value:,.{decimals}f}"
    # "-0.0" is no number that a reader expects on an axis.
    return _minus(text if float(text.replace(",", "")) else text.lstrip("-"))


def interval(low: float, high: float) -> str:
    """Both ends with the same decimals, about four significant digits of the larger one."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return NOTHING
    largest = max(abs(low), abs(high))
    if largest < 1e-3:
        return f"{number(low)} to {number(high)}"
    decimals = max(0, 3 - math.floor(math.log10(largest)))
    if round(low, decimals) == round(low) and round(high, decimals) == round(high):
        decimals = 0
    return f"{fixed(low, decimals)} to {fixed(high, decimals)}"


def percent(value: float | None) -> str:
    """A share as a percentage."""
    return NOTHING if value is None or not math.isfinite(value) else f"{fixed(100 * value, 1)}\u00a0%"


def whole(value: float) -> str:
    """A count with separators."""
    return f"{round(value):,}"


def short(value: float) -> str:
    """A count for an axis: 500, 20k, 1.5M."""
    for unit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return _minus(f"{value / unit:.6g}{suffix}")
    return _minus(f"{value:.6g}")


def duration(seconds: float | None) -> str:
    """Wall time: 8.4 s, 3 min 20 s, 2 h 05 min."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    total = round(seconds)
    if total < 3600:
        return f"{total // 60} min {total % 60:02d} s"
    return f"{total // 3600:,} h {total % 3600 // 60:02d} min"


def size(count: int) -> str:
    """Bytes as kB or MB."""
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"


def plural(count: int, noun: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _minus(text: str) -> str:
    mantissa, e, exponent = text.partition("e")
    return mantissa.replace("-", MINUS) + e + exponent
