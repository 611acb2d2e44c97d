"""The comparison as text, as JSON values and as one self-contained HTML page."""

from __future__ import annotations

import importlib.resources
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from proximo.envs.therapy.therapists import Judgement
from proximo.errors import UserError
from proximo.recipes.therapy_judge import Cell, summary
from proximo.runs.files import replace_file, writing
from proximo.runs.log import jsonable
from proximo.runs.provenance import versions
from proximo.runs.report.html import Html, h, join
from proximo.runs.report.tables import table

SIDE = 1000
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
DIFFERENCES = ("success", "sessions", "dropped_out")


def values(cells: Sequence[Cell], against: str) -> list[dict[str, Any]]:
    """JSON values: a record per cell and therapist, with paired differences to `against`."""
    records = []
    for cell in cells:
        for name, result in cell.judgements.items():
            record = {"pattern": cell.pattern, "mechanism": cell.mechanism, "threshold": cell.threshold}
            record |= summary(name, result)
            if name != against:
                for what in DIFFERENCES:
                    mean, low, high = cell.difference(name, against, what)
                    record[f"{what}_minus_{against}"] = [mean, low, high]
            records.append(jsonable(record))
    return records


def lines(cell: Cell, against: str) -> Iterator[str]:
    """A cell for the terminal."""
    yield f"{cell.pattern}, {cell.mechanism}, threshold {cell.threshold:g}:"
    width = max(len(name) for name in cell.judgements)
    for name, result in cell.judgements.items():
        words = (
            f"  {name:<{width}}  success {percent(result.success_rate):>6}  dropouts "
            f"{percent(result.dropout_rate):>6}  sessions {result.sessions.mean():5.1f}"
        )
        yield words if name == against else f"{words}  {signed(cell, name, against)} points against {against}"


def percent(share: float) -> str:
    """A share with one decimal."""
    return f"{100 * share:.1f} %"


def signed(cell: Cell, name: str, against: str) -> str:
    """The paired difference of success rates in percentage points, with its interval."""
    mean, low, high = (100 * value for value in cell.difference(name, against))
    if math.isnan(low):
        return f"{mean:+.1f} (one client: no interval)"
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def check_file(flag: str, file: Path | None) -> None:
    """UserError where a result cannot become this file: before the work, not after it."""
    if file is not None and file.is_dir():
        raise UserError(f"{flag} {file}: is a folder; give a file in it")


def write(cells: Sequence[Cell], against: str, out: Path, clients: int, seed: int) -> Path:
    """Write the page. Raises: RunError where it cannot be written."""
    names = list(cells[0].judgements)
    style = importlib.resources.files("proximo.runs") / "static" / "report.css"
    head = h(
        "head", {},
        h("meta", {"charset": "utf-8"}),
        h("meta", {"http-equiv": "Content-Security-Policy", "content": POLICY}),
        h("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        h("title", {}, "Therapists compared · Proximo"),
        h("style", {}, Html(style.read_text(encoding="utf-8"))),
    )  # fmt: skip
    made = f"made {time.strftime('%Y-%m-%d %H:%M')} by Proximo {versions().get('proximo', '')}".rstrip()
    facts = (
        f"{len(names)} therapists · {clients} clients per cell, seeds {seed} to {seed + clients - 1} · {made}"
    )
    body = h(
        "body", {},
        h("header", {}, h("h1", {}, "Therapists with the same clients"), h("p", {}, facts)),
        h("main", {},
          _section("Success by threshold", _panels(cells, names, _by_threshold)),
          _section("Results", _results(cells, against)),
          _section("Complementarity over the sessions", _panels(cells, names, _by_session)),
          h("p", {"class": "quiet"}, "Share of the clients still in treatment whose session was answered with the "
            "complement of what they showed. Where few are left the line is noise.")),
    )  # fmt: skip
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    page = f"<!doctype html>\n{h('html', {'lang': 'en'}, head, body)}\n"
    replace_file(out, page.encode("utf-8", "replace").decode("utf-8"))
    return out


def _section(title: str, content: Html) -> Html:
    return h("section", {}, h("h2", {}, title), content)


def _results(cells: Sequence[Cell], against: str) -> Html:
    head = ("pattern", "mechanism", "threshold", "therapist", "success", f"− {against}, points [95 %]", "dropouts",
            "sessions", "complementary")  # fmt: skip
    titles = ("", "", "", "", "share of the clients", "paired over the same clients; 10,000 bootstrap samples",
              "", "mean, whatever the end", "share of a client’s sessions, mean")  # fmt: skip
    rows = []
    for cell in cells:
        for name, result in cell.judgements.items():
            rows.append((
                cell.pattern, cell.mechanism, f"{cell.threshold:g}", name, percent(result.success_rate),
                "–" if name == against else signed(cell, name, against), percent(result.dropout_rate),
                f"{result.sessions.mean():.1f}", percent(float(result.complementary.mean())),
            ))  # fmt: skip
    return table("Results by cell", head, rows, titles=titles, text=(0, 1, 3))


Points = list[tuple[float, float]]


def _panels(cells: Sequence[Cell], names: Sequence[str], curves: Any) -> Html:
    figures = [_panel(title, lines, names, low, high) for title, lines, low, high in curves(cells, names)]
    legend = h("ul", {"class": "legend"}, *(
        h("li", {}, _swatch(index), h("span", {}, name)) for index, name in enumerate(names)))  # fmt: skip
    return join([legend, h("div", {"class": "panels"}, *figures)])


def _by_threshold(
    cells: Sequence[Cell], names: Sequence[str]
) -> Iterator[tuple[str, list[Points], float, float]]:
    kinds = dict.fromkeys((cell.pattern, cell.mechanism) for cell in cells)
    thresholds = [cell.threshold for cell in cells]
    room = 0.02
    for kind in kinds:
        own = sorted((c for c in cells if (c.pattern, c.mechanism) == kind), key=lambda c: c.threshold)
        drawn = [[(cell.threshold, cell.judgements[name].success_rate) for cell in own] for name in names]
        yield ", ".join(kind), drawn, min(thresholds) - room, max(thresholds) + room


def _by_session(
    cells: Sequence[Cell], names: Sequence[str]
) -> Iterator[tuple[str, list[Points], float, float]]:
    for cell in cells:
        drawn = [_course(cell.judgements[name]) for name in names]
        last = max(points[-1][0] for points in drawn)
        yield f"{cell.pattern}, {cell.mechanism}, {cell.threshold:g}", drawn, 0.0, max(last, 2.0)


def _course(result: Judgement) -> Points:
    share = result.complements / np.maximum(result.treated, 1)
    return [(float(session), float(value)) for session, value in enumerate(share, start=1)]


def _panel(title: str, drawn: Sequence[Points], names: Sequence[str], low: float, high: float) -> Html:
    def place(point: tuple[float, float]) -> str:
        x, y = (point[0] - low) / (high - low), 1.0 - point[1]
        return f"{SIDE * x:.1f} {SIDE * y:.1f}"

    paths = []
    for index, (name, points) in enumerate(zip(names, drawn, strict=True)):
        path = "M" + "L".join(place(point) for point in points)
        inner = [h("title", {}, name), h("path", {"class": "mean", "d": path})]
        if len(points) <= 12:
            dots = "".join(f"M{place(point)}h0" for point in points)
            inner.append(h("path", {"class": "dot", "d": dots}))
        paths.append(h("g", {"class": _style(index)}, *inner))
    grid = [h("line", {"class": "grid", "x1": "0", "x2": str(SIDE), "y1": y, "y2": y}) for y in
            ("0", "250", "500", "750", "1000")]  # fmt: skip
    svg = h("svg", {"viewBox": f"0 0 {SIDE} {SIDE}", "preserveAspectRatio": "none", "role": "img"},
            h("title", {}, title), *grid, *paths)  # fmt: skip
    ys = (h("span", {"style": f"top:{100 - level}%"}, f"{level} %") for level in (0, 50, 100))
    ticks = sorted({x for points in drawn for x, _ in points}) if high <= 1.1 else [1.0, high / 2, high]
    xs = (h("span", {"style": f"left:{100 * (x - low) / (high - low):.2f}%"}, f"{x:g}") for x in ticks)
    plot = h("div", {"class": "plot", "style": "--gutter:5ch"}, svg, h("div", {"class": "ys"}, *ys),
             h("div", {"class": "xs"}, *xs))  # fmt: skip
    return h("figure", {"class": "panel"}, h("figcaption", {}, h("h3", {}, title)), plot)


def _swatch(index: int) -> Html:
    line = h("path", {"class": "mean", "d": "M1 5H33"})
    return h("svg", {"class": f"swatch {_style(index)}", "viewBox": "0 0 34 10", "aria-hidden": "true"}, line)


def _style(index: int) -> str:
    return f"c{index % 8} d{(index + index // 8) % 5}"
