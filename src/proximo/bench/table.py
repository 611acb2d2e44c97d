"""The comparison as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proximo.bench.compare import OURS
from proximo.bench.workloads import Workload

HEADER = (
    "steps/s of the training call", "low–high", "after start-up", "with start-up", "start-up s", "memory MiB",
)  # fmt: skip
WORDS = {
    "of_training": "steps/s of the training call",
    "after_start_up": "steps/s after start-up",
    "of_whole": "steps/s with start-up",
    "start_up": "start-up (less is better)",
    "memory_mib": "memory (less is better)",
}


def render(workload: Workload, result: dict[str, Any]) -> str:
    """One workload: what both sides share, a row per side, the ratios."""
    settings = result["settings"]
    lines = [f"{workload.name}: {workload}"]
    rows = result["rows"][OURS]
    if rows and "error" not in rows[0]:
        only = f"; only here: {' '.join(settings['overrides'])}" if settings["overrides"] else ""
        lines.append(f"  Proximo: engine {rows[0]['engine']}, env.backend {rows[0]['backend']}{only}")
    for name, found in result["rows"].items():
        if found and found[0].get("differs"):
            lines.append(f"  {name} differs: {found[0]['differs']}")
    sides = result["medians"]
    order = sorted(sides, key=lambda name: -sides[name].get("of_training", {}).get("median", 0.0))
    lines += aligned([("", *HEADER), *((name, *_cells(sides[name])) for name in order)])
    lines += [_ratio(quantity, found) for quantity, found in result["ratios"].items()]
    return "\n".join(lines)


def _cells(side: dict[str, Any]) -> Sequence[str]:
    if "error" in side:
        return (f"failed: {side['error']}",)
    speed = side["of_training"]
    after = side.get("after_start_up")
    return (
        f"{speed['median']:,.0f}",
        f"{speed['low']:,.0f}–{speed['high']:,.0f}",
        f"{after['median']:,.0f}" if after else "",
        f"{side['of_whole']['median']:,.0f}",
        f"{side['start_up']['median']:.2f}",
        f"{side['memory_mib']['median']:,.0f}",
    )


def _ratio(quantity: str, found: dict[str, Any]) -> str:
    return (
        f"  Proximo / {found['peer']}: {found['ratio']:.2f} × {WORDS[quantity]} "
        f"(pairs {found['low']:.2f}–{found['high']:.2f})"
    )


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns side by side, the first to the left, numbers to the right; a row of fewer cells runs on freely."""
    full = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(len(row[i]) for row in full) for i in range(len(rows[0]))]
    widths[0] = max(len(row[0]) for row in rows)
    lines = []
    for row in rows:
        cells = [f"{cell:<{widths[0]}}" if i == 0 else f"{cell:>{widths[i]}}" for i, cell in enumerate(row)]
        if len(row) < len(rows[0]):
            cells[1:] = row[1:]
        lines.append("  " + "  ".join(cells).rstrip())
    return lines
