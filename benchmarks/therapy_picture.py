"""Differences between therapists with their intervals, as an SVG: a band per kind of clients, a line per result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

Interval = Sequence[float]
"""Mean, low, high."""
COLOURS = ("#1d62a8", "#d66818", "#1a8a58", "#8c46a0")
LEFT, PLOT, MARGIN = 400, 440, 20
LETTER = 5.6
"""Width of a letter of a band's name, about."""


PAIRED = "success minus complement’s, points (same 1,000 clients, 95 %)"


def write(
    path: Path,
    lines: Sequence[tuple[str, str, Interval]],
    legend: Mapping[str, str],
    caption: str = PAIRED,
) -> None:
    """`lines`: band, key in `legend`, difference; in the order they are drawn in."""
    low = min(-0.02, *(line[2][1] for line in lines))
    high = max(0.02, *(line[2][2] for line in lines))

    left = max(LEFT, round(MARGIN + LETTER * max(len(line[0]) for line in lines)))

    def x(value: float) -> float:
        return left + PLOT * (value - low) / (high - low)

    colours = dict(zip(legend, COLOURS, strict=False))
    parts: list[str] = []
    y, before = 46, ""
    for band, key, (mean, one, other) in lines:
        if band != before:
            y, before = y + 10, band
            parts.append(f'<text x="10" y="{y + 4}">{band}</text>')
        parts.append(f'<path d="M{x(one):.1f} {y}H{x(other):.1f}" stroke="{colours[key]}" stroke-width="2"/>')
        parts.append(f'<circle cx="{x(mean):.1f}" cy="{y}" r="3.5" fill="{colours[key]}"/>')
        y += 12
    for index, (key, text) in enumerate(legend.items()):
        parts.append(f'<circle cx="{16 + 200 * index}" cy="20" r="5" fill="{colours[key]}"/>')
        parts.append(f'<text x="{26 + 200 * index}" y="24">{text}</text>')
    span = 100 * (high - low)
    step = next(step for step in (1, 2, 5, 10, 20, 50) if span / step <= 12)
    for tick in range(-100, 101, step):
        if low <= tick / 100 <= high:
            parts.append(f'<text x="{x(tick / 100):.1f}" y="{y + 24}" text-anchor="middle">{tick:+d}</text>')
    parts.append(f'<path d="M{x(0):.1f} 40V{y + 8}" stroke="#282c34"/>')
    parts.append(f'<text x="{left}" y="{y + 42}">{caption}</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + PLOT + MARGIN}" height="{y + 54}" font-size="11" '
    body = f'font-family="sans-serif"><rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    path.write_text(head + body, encoding="utf-8")
