"""The picture of benchmarks/hybrid.py: returns over steps, a panel for each environment, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from hybrid_table import WORDS, curve, data_mean, of
from jobs import Row

PANEL_W, PANEL_H, LEFT, TOP, GAP = 400, 240, 70, 60, 90
COLOURS = {"scratch": "#777777", "finetune": "#d9822b", "symmetric": "#8a5bb5", "hybrid": "#0b6bcb"}
LEVELS = {"data": ("the data set's mean", "2 4"), "clone": ("the clone", "7 4")}
STYLE = "text{font:12px sans-serif;fill:#333}.title{font-weight:bold}.axis{stroke:#999;fill:none}"


def picture(rows: Sequence[Row], envs: Sequence[str], file: Path) -> None:
    """Write it: mean over seeds, with Student's 95 % interval as a band where there are two seeds or more."""
    shown = [env for env in envs if any(row["env"] == env for row in rows)]
    height = TOP + -(-len(shown) // 2) * (PANEL_H + GAP)
    width = 2 * (LEFT + PANEL_W) + 80
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        f"<title>Return over environment steps, by arm</title><style>{STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for index, (arm, colour) in enumerate(COLOURS.items()):
        parts.append(_key(LEFT + index * 240, 18, colour, "", WORDS[arm]))
    for index, (name, dash) in enumerate(LEVELS.values()):
        parts.append(_key(LEFT + index * 240, 38, "#333", dash, name))
    for index, env in enumerate(shown):
        x, y = LEFT + index % 2 * (PANEL_W + LEFT + 20), TOP + 20 + index // 2 * (PANEL_H + GAP)
        mine = [row for row in rows if row["env"] == env]
        parts.append(f'<g transform="translate({x} {y})">{_panel(env, mine)}</g>')
    file.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")


def _key(x: float, y: float, colour: str, dash: str, text: str) -> str:
    line = f'<path d="M{x} {y}h26" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'
    return f'{line}<text x="{x + 32}" y="{y + 4}">{escape(text)}</text>'


def _number(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 10.0 else f"{value:,.0f}"


def _panel(env: str, rows: Sequence[Row]) -> str:
    from proximo.runs.statistics import mean_ci95

    drawn = {}
    for arm in COLOURS:
        if of(rows, arm):
            steps, values = curve(of(rows, arm))
            columns = values.T.tolist()
            bands = [mean_ci95(column) if len(column) > 1 else (column[0], column[0]) for column in columns]
            drawn[arm] = (steps, values.mean(0).tolist(), bands)
    clone = [row["return_mean"] for row in of(rows, "clone").values()]
    levels = {"data": data_mean(rows), "clone": float(np.mean(clone)) if clone else None}
    known = [level for level in levels.values() if level is not None]
    means = [value for _, mean, _ in drawn.values() for value in mean]
    low, high = min([*means, *known]), max([*means, *known])
    low, high = low - 0.08 * (high - low), high + 0.2 * (high - low)
    last = max(steps[-1] for steps, _, _ in drawn.values())

    def x(step: float) -> str:
        return f"{PANEL_W * step / last:.1f}"

    def y(value: float) -> str:
        return f"{PANEL_H * (1 - (min(max(value, low), high) - low) / (high - low)):.1f}"

    parts = [
        f'<text class="title" y="-8">{escape(env)}</text><path class="axis" d="M0 0V{PANEL_H}H{PANEL_W}"/>'
    ]
    for share in (0.0, 0.5, 1.0):
        value = low + share * (high - low)
        parts.append(f'<text x="-6" y="{float(y(value)) + 4}" text-anchor="end">{_number(value)}</text>')
        step = share * last
        parts.append(f'<text x="{x(step)}" y="{PANEL_H + 18}" text-anchor="middle">{step:,.0f}</text>')
    for arm, (steps, mean, bands) in drawn.items():
        colour = COLOURS[arm]
        upper = [f"{x(s)} {y(b[1])}" for s, b in zip(steps, bands, strict=True)]
        lower = [f"{x(s)} {y(b[0])}" for s, b in zip(steps, bands, strict=True)]
        parts.append(f'<path d="M{"L".join([*upper, *lower[::-1]])}Z" fill="{colour}" opacity="0.12"/>')
        line = "L".join(f"{x(s)} {y(m)}" for s, m in zip(steps, mean, strict=True))
        parts.append(f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
    for name, level in levels.items():
        if level is not None:
            dash = LEVELS[name][1]
            parts.append(f'<path d="M0 {y(level)}H{PANEL_W}" stroke="#333" stroke-dasharray="{dash}"/>')
    return "".join(parts)
