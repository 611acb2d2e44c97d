"""One panel: an inline SVG that stretches to its box, with its labels as HTML so that they never shrink.

The drawing's coordinates run from 0 to 1000 in both directions; strokes keep their width in pixels. Readable
without JavaScript; the page's script only adds the numbers under the pointer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from proximo.runs.report import words
from proximo.runs.report.arms import Arm
from proximo.runs.report.curves import Curve
from proximo.runs.report.html import Html, h, join
from proximo.runs.report.metrics import Metric
from proximo.runs.report.read import Floats, Reference

FEW = 3
"""Curves of at most this many points show them as dots; evaluations, which are far apart, always do."""
SIDE = 1000.0


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, labelled at `ticks` with `decimals`."""

    low: float
    high: float
    ticks: tuple[float, ...]
    decimals: int

    def place(self, values: Floats) -> Floats:
        """Position on the axis, 0 to 1."""
        return (values - self.low) / (self.high - self.low)


def axis(low: float, high: float, wanted: int = 5) -> Axis:
    """Ticks at round numbers inside [low, high]; a single value gets room around it."""
    if not high > low:
        room = abs(low) * 0.1 or 1.0
        low, high = low - room, high + room
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1.0, 2.0, 2.5, 5.0, 10.0) if power * m >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    text = f"{step:.10e}".partition("e")
    digits = len(text[0].rstrip("0").rstrip(".").replace(".", "")) - 1
    decimals = max(0, digits - int(text[2]))
    return Axis(low, high, tuple(k * step for k in range(first, last + 1)), decimals)


def value_axis(curves: Sequence[Curve], baselines: Sequence[float], bounded: bool) -> Axis:
    """Holds every run's line; bands only as far as they leave the lines readable (two seeds' are huge)."""
    lines = [c.mean for c in curves] + [values for c in curves for _, values in c.seeds]
    every = np.concatenate([*lines, np.array(baselines)])
    low, high = float(np.nanmin(every)), float(np.nanmax(every))
    bands = np.concatenate([np.concatenate([c.low, c.high]) for c in curves])
    bands = bands[np.isfinite(bands)]
    reach = 0.35 * (high - low)
    if len(bands) and reach:
        low, high = (
            max(float(min(bands.min(), low)), low - reach),
            min(float(max(bands.max(), high)), high + reach),
        )
    if bounded:
        low, high = max(low, 0.0), min(high, 1.0)
    room = 0.04 * (high - low)
    return axis(low - room, high + room)


def panel(
    metric: Metric,
    drawn: Sequence[tuple[Arm, Curve]],
    last_step: float,
    references: Mapping[str, Reference] | None = None,
) -> Html:
    """The figure of one metric; `references` are lines across panels of returns."""
    curves = [curve for _, curve in drawn]
    levels = _levels(drawn, references or {}) if metric.key.endswith("return_mean") else []
    across = axis(0.0, max(last_step, 1.0))
    ends = [end for _, one in levels for end in (one.mean, one.low, one.high) if math.isfinite(end)]
    up = value_axis(curves, ends, metric.share)
    labels = [_label(tick, up, metric.share) for tick in up.ticks]
    gutter = max((len(label) for label in labels), default=1)
    unit = h("span", {"class": "unit"}, metric.unit) if metric.unit else ""
    heading = h("figcaption", {"title": metric.meaning or None}, h("h3", {}, metric.title), unit)
    plot = h(
        "div",
        {"class": "plot", "style": f"--gutter:{gutter}ch", "data-x1": repr(across.high),
         "data-y0": repr(up.low), "data-y1": repr(up.high), "data-share": "1" if metric.share else None,
         "data-digits": str(_hover_digits(up, metric.share))},
        _svg(metric, drawn, across, up, levels),
        h("div", {"class": "ys", "aria-hidden": "true"}, *(
            h("span", {"style": f"top:{100 - 100 * float(up.place(np.array(t))):.2f}%"}, label)
            for t, label in zip(up.ticks, labels, strict=True))),
        h("div", {"class": "xs", "aria-hidden": "true"}, *(
            h("span", {"style": f"left:{100 * t / across.high:.2f}%"}, words.short(t)) for t in across.ticks)),
        *(_baseline(name, one, up, i) for i, (name, one) in enumerate(levels)),
    )  # fmt: skip
    return h("figure", {"class": "panel", "data-metric": metric.key}, heading, plot, _last(metric, drawn))


RANDOM = "random"
Level = tuple[str, Reference]


def _levels(drawn: Sequence[tuple[Arm, Curve]], references: Mapping[str, Reference]) -> list[Level]:
    """The lines across a panel of returns: the random policy's, and what the runs are held against."""
    randoms = sorted({arm.random for arm, _ in drawn if arm.random is not None})
    return [*((RANDOM, Reference(value, math.nan, math.nan)) for value in randoms), *references.items()]


def swatch(arm: Arm) -> Html:
    """A short sample of an arm's line, for legends and tables."""
    line = h("path", {"class": "mean", "d": "M1 5H33"})
    attributes = {"class": f"swatch {style(arm)}", "viewBox": "0 0 34 10", "aria-hidden": "true"}
    return h("svg", attributes, line)


def style(arm: Arm) -> str:
    """Classes of an arm's colour and dashes: forty combinations, so neither is needed to read the other."""
    return f"c{arm.index % 8} d{(arm.index + arm.index // 8) % 5}"


def _svg(
    metric: Metric, drawn: Sequence[tuple[Arm, Curve]], across: Axis, up: Axis, levels: Sequence[Level]
) -> Html:
    said = "; ".join(f"{arm.label}: {_value(float(_end(curve)), metric)}" for arm, curve in drawn)
    grid = [h("line", {"class": "grid", "x1": "0", "x2": "1000", "y1": y, "y2": y}) for y in
            (_xy(SIDE * (1 - up.place(np.array(up.ticks)))))]  # fmt: skip
    parts = [
        h("title", {}, f"{metric.title} over environment steps; at the end {said}"),
        h("g", {}, *grid),
        *(_level(name, one, up) for name, one in levels),
        *(_arm(arm, curve, across, up, metric.key.startswith("eval/")) for arm, curve in drawn),
    ]
    attributes = {"viewBox": "0 0 1000 1000", "preserveAspectRatio": "none", "role": "img"}
    return h("svg", attributes, *parts)


def _arm(arm: Arm, curve: Curve, across: Axis, up: Axis, dotted: bool) -> Html:
    def points(steps: Floats, values: Floats) -> list[str]:
        xs, ys = _xy(SIDE * across.place(steps), 2), _xy(SIDE * (1 - up.place(values)))
        return [f"{x} {y}" for x, y in zip(xs, ys, strict=True)]

    drawn: list[str] = [
        h("path", {"class": "seed", "d": _line(points(*one))}) for one in curve.seeds if len(one[0]) > 1
    ]
    most = int(curve.count.max())
    for part in curve.parts():
        steps, mean = curve.steps[part], curve.mean[part]
        count = int(curve.count[part][0])
        inner: list[str] = []
        has_band = bool(np.isfinite(curve.low[part]).all())
        if has_band:
            upper, lower = points(steps, curve.high[part]), points(steps, curve.low[part])
            shade = "band two" if count == 2 else "band"
            inner.append(h("path", {"class": shade, "d": _line(upper + lower[::-1]) + "Z"}))
            if len(steps) == 1:
                inner.append(h("path", {"class": "bar", "d": _line(upper + lower)}))
        inner.append(h("path", {"class": "mean", "d": _line(points(steps, mean))}))
        if dotted or len(steps) <= FEW:
            dots = "".join(f"M{point}h0" for point in points(steps, mean))
            inner.append(h("path", {"class": "dot", "d": dots}))
        note = f"{words.plural(count, 'seed')}" + (", band over episodes" if curve.over == "episodes" else "")
        attributes = {"class": "part" if count == most else "part few", "data-n": str(count)}
        drawn.append(h("g", attributes, h("title", {}, f"{arm.label} ({note})"), *inner))
    return h("g", {"class": f"arm {style(arm)}", "data-arm": arm.label, "data-over": curve.over}, *drawn)


def _level(name: str, one: Reference, up: Axis) -> Html:
    y, low, high = _xy(SIDE * (1 - up.place(np.array([one.mean, one.low, one.high]))))
    said = "random policy" if name == RANDOM else name
    drawn: list[str] = [h("title", {}, f"{said}: {words.number(one.mean)}")]
    if math.isfinite(one.low):
        box = {"x": "0", "width": "1000", "y": high, "height": f"{float(low) - float(high):.1f}"}
        drawn.append(h("rect", {"class": "level-band", **box}))
    shade = "random" if name == RANDOM else "level"
    drawn.append(h("line", {"class": shade, "x1": "0", "x2": "1000", "y1": y, "y2": y}))
    return h("g", {}, *drawn)


def _baseline(name: str, one: Reference, up: Axis, place: int) -> Html:
    at = 100 - 100 * float(up.place(np.array(one.mean)))
    side = "under" if at < 15 else "over"
    text = f"{name} {words.number(one.mean, 3)}"
    # Beside each other, for two may be at the same height.
    return h("span", {"class": f"baseline {side}", "style": f"top:{at:.2f}%;right:{7 * place}rem"}, text)


def _last(metric: Metric, drawn: Sequence[tuple[Arm, Curve]]) -> Html:
    """The values at the right end, so that the panel can be read without pointing at it."""
    items = []
    for arm, curve in drawn:
        low, high = float(curve.low[-1]), float(curve.high[-1])
        interval = ""
        if math.isfinite(low):
            interval = f", 95 % interval {_value(low, metric)} to {_value(high, metric)}"
        count = words.plural(int(curve.count.max()), "seed")
        step = words.whole(float(curve.steps[-1]))
        title = f"{arm.label}: {_value(_end(curve), metric)} at step {step}{interval} ({count})"
        items.append(h("li", {"title": title}, swatch(arm), _value(_end(curve), metric)))
    return h("ul", {"class": "last", "aria-label": f"{metric.title}, last values"}, *items)


def _end(curve: Curve) -> float:
    return float(curve.mean[np.flatnonzero(np.isfinite(curve.mean))[-1]])


def _value(value: float, metric: Metric) -> str:
    return words.percent(value) if metric.share else words.number(value)


def _label(tick: float, up: Axis, share: bool) -> str:
    if share:
        return f"{words.fixed(100 * tick, max(0, up.decimals - 2))} %"
    if up.decimals > 4:
        return words.number(tick, 3)
    return words.short(tick) if max(abs(up.low), abs(up.high)) >= 1e5 else words.fixed(tick, up.decimals)


def _hover_digits(up: Axis, share: bool) -> int:
    return max(0, up.decimals - 1) if share else min(up.decimals + 1, 8)


def _line(points: Sequence[str]) -> str:
    return "M" + "L".join(points)


def _xy(values: Floats, decimals: int = 1) -> list[str]:
    return [f"{value:.{decimals}f}".rstrip("0").rstrip(".") for value in np.atleast_1d(values)]


def legend(arms: Sequence[Arm]) -> Html:
    """Whose line is which, with the number of seeds."""
    items = (
        h(
            "li",
            {},
            swatch(arm),
            h("span", {}, arm.label),
            h("small", {}, words.plural(len(arm.runs), "seed")),
        )
        for arm in arms
    )
    return h("ul", {"class": "legend"}, join(items))
