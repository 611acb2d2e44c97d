"""HTML that is safe by construction: whatever is not marked as `Html` is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping

VOID = frozenset({"br", "hr", "img", "meta", "line", "path", "rect"})


class Html(str):
    """Text that is markup already."""


def h(name: str, attributes: Mapping[str, str | None], *children: str) -> Html:
    """An element; children that are plain text are escaped, attributes that are None are left out."""
    written = "".join(
        f' {key}="{html.escape(value)}"' for key, value in attributes.items() if value is not None
    )
    if name in VOID and not children:
        return Html(f"<{name}{written}/>")
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def join(parts: Iterable[str], between: str = "") -> Html:
    """The parts one after another, plain text escaped."""
    return Html(_safe(between).join(_safe(part) for part in parts))


def _safe(text: str) -> str:
    return text if isinstance(text, Html) else html.escape(text)
