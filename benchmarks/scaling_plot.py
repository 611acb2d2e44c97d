"""The picture of `scaling.py`: small panels with two logarithmic axes, written as SVG without a plotting library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT, LEFT, TOP, PLOT_W, PLOT_H = 1000, 660, 70, 50, 390, 220
STYLE = (
    "text{font:12px sans-serif;fill:#333}.title{font-weight:bold}.axis{stroke:#999}.grid{stroke:#e4e4e4}"
    ".measured{stroke:#0b6bcb;fill:none;stroke-width:2}.floor{stroke:#777;fill:none;stroke-width:1.5;"
    "stroke-dasharray:5 4}circle{fill:#0b6bcb}"
)


def draw(panels: dict[str, Sequence[dict[str, float]]]) -> str:
    """Panels by name; each point has `value`, `speed` and `floor_speed`."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>Steps per second, measured and floor</title><style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        '<path class="measured" d="M70 20h30"/><text x="106" y="24">measured (steps per second)</text>',
        '<path class="floor" d="M300 20h30"/><text x="336" y="24">environment alone + arithmetic at peak</text>',
    ]
    for index, (name, points) in enumerate(panels.items()):
        x, y = LEFT + index % 2 * (PLOT_W + 100), TOP + index // 2 * (PLOT_H + 90)
        parts.append(f'<g transform="translate({x} {y})">{_panel(name, points)}</g>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(name: str, points: Sequence[dict[str, float]]) -> str:
    values = [point["value"] for point in points]
    speeds = [point[key] for point in points for key in ("speed", "floor_speed")]
    low, high = math.floor(math.log10(min(speeds))), math.ceil(math.log10(max(speeds)))
    first, last = math.log2(min(values)), math.log2(max(values))

    def at(value: float) -> float:
        return PLOT_W * (math.log2(value) - first) / ((last - first) or 1)

    def up(speed: float) -> float:
        return PLOT_H * (1 - (math.log10(speed) - low) / ((high - low) or 1))

    parts = [f'<text class="title" y="-8">{escape(name)}</text>']
    for power in range(low, high + 1):
        y = up(10.0**power)
        parts.append(f'<path class="grid" d="M0 {y:.1f}h{PLOT_W}"/>')
        parts.append(f'<text x="-8" y="{y + 4:.1f}" text-anchor="end">{_short(10**power)}</text>')
    for value in values:
        parts.append(f'<text x="{at(value):.1f}" y="{PLOT_H + 18}" text-anchor="middle">{value:g}</text>')
    parts.append(f'<path class="axis" fill="none" d="M0 0V{PLOT_H}H{PLOT_W}"/>')
    for key, style in (("floor_speed", "floor"), ("speed", "measured")):
        line = "L".join(f"{at(p['value']):.1f} {up(p[key]):.1f}" for p in points)
        parts.append(f'<path class="{style}" d="M{line}"/>')
    parts += [f'<circle cx="{at(p["value"]):.1f}" cy="{up(p["speed"]):.1f}" r="3"/>' for p in points]
    return "".join(parts)


def _short(number: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return f"{number:g}"
