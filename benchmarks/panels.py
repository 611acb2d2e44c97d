"""Panels of curves over environment steps, one for each environment, as one SVG picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

PANEL_W, PANEL_H, LEFT, TOP, GAP = 400, 240, 70, 60, 90
KEY_W = 240
STYLE = "text{font:12px sans-serif;fill:#333}.title{font-weight:bold}.axis{stroke:#999;fill:none}"


@dataclass
class Curve:
    """A mean over seeds, with a band around it."""

    steps: Sequence[float]
    mean: Sequence[float]
    bands: Sequence[tuple[float, float]]
    """Lower and upper edge at each step."""


@dataclass
class Panel:
    """What is drawn of one environment: curves and level lines by name."""

    title: str
    curves: Mapping[str, Curve]
    levels: Mapping[str, float] = field(default_factory=dict)


def over_seeds(steps: Sequence[float], values: Sequence[Sequence[float]]) -> Curve:
    """`values`: a row of returns for each seed. Student's 95 % interval where there are two seeds or more."""
    from proximo.runs.statistics import mean_ci95

    columns = [list(column) for column in zip(*values, strict=True)]
    bands = [mean_ci95(column) if len(column) > 1 else (column[0], column[0]) for column in columns]
    return Curve(steps, [sum(column) / len(column) for column in columns], bands)


def write(
    panels: Sequence[Panel],
    words: Mapping[str, str],
    colours: Mapping[str, str],
    file: Path,
    levels: Mapping[str, tuple[str, str]] | None = None,
) -> None:
    """Write the picture: `words` and `colours` by curve, `levels` (words and dashes) by level line."""
    height = TOP + -(-len(panels) // 2) * (PANEL_H + GAP)
    width = max(2 * (LEFT + PANEL_W) + 80, LEFT + len(colours) * KEY_W - 40)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        f"<title>Return over environment steps, by arm</title><style>{STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for index, (name, colour) in enumerate(colours.items()):
        parts.append(_key(LEFT + index * KEY_W, 18, colour, "", words[name]))
    for index, (word, dash) in enumerate((levels or {}).values()):
        parts.append(_key(LEFT + index * KEY_W, 38, "#333", dash, word))
    dashes = {name: dash for name, (_, dash) in (levels or {}).items()}
    for index, panel in enumerate(panels):
        x, y = LEFT + index % 2 * (PANEL_W + LEFT + 20), TOP + 20 + index // 2 * (PANEL_H + GAP)
        parts.append(f'<g transform="translate({x} {y})">{_drawn(panel, colours, dashes)}</g>')
    file.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")


def _key(x: float, y: float, colour: str, dash: str, text: str) -> str:
    line = f'<path d="M{x} {y}h26" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'
    return f'{line}<text x="{x + 32}" y="{y + 4}">{escape(text)}</text>'


def _number(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 10.0 else f"{value:,.0f}"


def _drawn(panel: Panel, colours: Mapping[str, str], dashes: Mapping[str, str]) -> str:
    means = [value for curve in panel.curves.values() for value in curve.mean]
    low, high = min([*means, *panel.levels.values()]), max([*means, *panel.levels.values()])
    low, high = low - 0.08 * (high - low), high + 0.2 * (high - low)
    last = max(curve.steps[-1] for curve in panel.curves.values())

    def x(step: float) -> str:
        return f"{PANEL_W * step / last:.1f}"

    def y(value: float) -> str:
        return f"{PANEL_H * (1 - (min(max(value, low), high) - low) / (high - low)):.1f}"

    parts = [
        f'<text class="title" y="-8">{escape(panel.title)}</text><path class="axis" d="M0 0V{PANEL_H}H{PANEL_W}"/>'
    ]
    for share in (0.0, 0.5, 1.0):
        value = low + share * (high - low)
        parts.append(f'<text x="-6" y="{float(y(value)) + 4}" text-anchor="end">{_number(value)}</text>')
        step = share * last
        parts.append(f'<text x="{x(step)}" y="{PANEL_H + 18}" text-anchor="middle">{step:,.0f}</text>')
    for name, curve in panel.curves.items():
        upper = [f"{x(s)} {y(b[1])}" for s, b in zip(curve.steps, curve.bands, strict=True)]
        lower = [f"{x(s)} {y(b[0])}" for s, b in zip(curve.steps, curve.bands, strict=True)]
        parts.append(
            f'<path d="M{"L".join([*upper, *lower[::-1]])}Z" fill="{colours[name]}" opacity="0.12"/>'
        )
        line = "L".join(f"{x(s)} {y(m)}" for s, m in zip(curve.steps, curve.mean, strict=True))
        parts.append(f'<path d="M{line}" fill="none" stroke="{colours[name]}" stroke-width="2"/>')
    for name, level in panel.levels.items():
        parts.append(f'<path d="M0 {y(level)}H{PANEL_W}" stroke="#333" stroke-dasharray="{dashes[name]}"/>')
    return "".join(parts)
