"""The parts of the page: headline numbers, curves, tables, videos, notes."""

from __future__ import annotations

import math

from proximo.runs.report import words
from proximo.runs.report.arms import Arm, Environment, differences
from proximo.runs.report.chart import legend, panel, style, swatch
from proximo.runs.report.curves import curve
from proximo.runs.report.html import Html, h, join
from proximo.runs.report.metrics import Metric, panels
from proximo.runs.report.tables import said_of, table

PHASES = ("act", "env", "estimate", "learn", "eval", "log")
CAPTION = (
    "Lines are means over seeds, thin lines are single seeds, and the band is the 95 % confidence interval of "
    "the mean (Student’s t). A single seed has no band, but its evaluations have one over their episodes. A faint "
    "stretch of a mean has fewer seeds than the rest. Nothing is smoothed; a band may leave its panel."
)


def tiles(env: Environment) -> Html:
    """The headline of each arm."""
    return h("div", {"class": "tiles"}, *(_tile(arm) for arm in env.arms))


def _tile(arm: Arm) -> Html:
    head = h("h3", {}, swatch(arm), h("span", {}, arm.label))
    final = arm.final
    if final is None:
        state = ", ".join(sorted({run.status.state for run in arm.runs}))
        return h("div", {"class": f"tile {style(arm)}"}, head, h("p", {"class": "big"}, words.NOTHING),
                 h("p", {}, f"no update on record yet ({state})"))  # fmt: skip
    mean, low, high = final
    seeds = words.plural(len(arm.runs), "seed")
    over = seeds if len(arm.finals) == len(arm.runs) else f"{len(arm.finals)} of {seeds}"
    what = (
        "final evaluation return" if arm.finals[0].evaluated else "training return at the end, no evaluation"
    )
    lines = [h("p", {}, f"{what}, {over}")]
    if arm.unfinished:
        lines.append(h("p", {}, h("b", {}, f"{arm.unfinished} of {seeds} not finished")))
    if math.isfinite(low):
        lines.append(h("p", {}, "95 % interval ", h("b", {}, words.interval(low, high))))
    said = said_of(arm)
    if said:
        good = all((final.verdict or "better").startswith("better") for final in arm.finals)
        mark = h("span", {"class": "mark", "aria-hidden": "true"}, "✓" if good else "!")
        against = "" if arm.random is None else f" (random {words.number(arm.random, 3)})"
        lines.append(h("p", {"class": "verdict good" if good else "verdict"}, mark, f"{said}{against}"))
    return h(
        "div", {"class": f"tile {style(arm)}"}, head, h("p", {"class": "big"}, words.number(mean)), *lines
    )


def curves(env: Environment) -> Html:
    """All panels of an environment."""
    last = max((run.step for run in env.runs), default=0)
    by_group: dict[str, list[Html]] = {"main": [], "learning": [], "more": []}
    for metric in panels(name for run in env.runs for name in run.columns):
        figure = _panel(metric, env, float(last))
        if figure is not None:
            by_group[metric.group].append(figure)
    if not any(by_group.values()):
        return h("p", {"class": "quiet"}, "No run has a row in its progress.csv yet, so there is no curve.")
    parts: list[str] = [
        legend(env.arms),
        h("div", {"class": "panels wide"}, *by_group["main"]),
        h("div", {"class": "panels"}, *by_group["learning"]),
        h("p", {"class": "quiet"}, f"Horizontal axes: environment steps. {CAPTION}"),
    ]
    if by_group["more"]:
        count = words.plural(len(by_group["more"]), "more metric")
        parts.append(
            h("details", {}, h("summary", {}, count), h("div", {"class": "panels"}, *by_group["more"]))
        )
    return join(parts)


def _panel(metric: Metric, env: Environment, last: float) -> Html | None:
    drawn = [(arm, found) for arm in env.arms if (found := curve(arm, metric.key)) is not None]
    flat = all(len(set(values.tolist())) == 1 for _, found in drawn for values in [found.mean])
    # A count that never moves (epochs, say) is a setting, not a curve; one point may still become one.
    if not drawn or (flat and metric.group == "more"):
        return None
    return panel(metric, drawn, last, env.references)


def phases(env: Environment) -> Html:
    """Where the wall time went: a bar per arm."""
    rows = []
    for arm in env.arms:
        names = dict.fromkeys(name for run in arm.runs for name in run.phases)
        spent = {name: sum(run.phases.get(name, 0.0) for run in arm.runs) / len(arm.runs) for name in names}
        total = sum(spent.values())
        if not total > 0.0:
            continue
        walls = [run.seconds for run in arm.runs if run.seconds is not None]
        wall = sum(walls) / len(walls) if walls else total
        shares = [(name, value / total, value) for name, value in spent.items() if value > 0.0]
        bar = (
            h("span", {"class": f"phase p-{name}" if name in PHASES else "phase p-other",
                       "style": f"width:{100 * share:.2f}%",
                       "title": f"{name}: {words.duration(value)}, {words.percent(share)}"},
              name if share > 0.12 else "")
            for name, share, value in shares
        )  # fmt: skip
        # Accurate to a tenth, the small ones too: the bar alone cannot show them.
        listed = ", ".join(f"{name} {words.percent(share)}" for name, share, _ in shares)
        rows.append(join([h("h3", {}, swatch(arm), h("span", {}, arm.label)),
                          h("div", {"class": "bar-row"}, *bar),
                          h("p", {"class": "quiet"}, f"{words.duration(wall)} per seed: {listed}")]))  # fmt: skip
    return join(rows) if rows else h("p", {"class": "quiet"}, "No time was recorded yet.")


def settings(env: Environment) -> Html:
    """The settings that differ between the arms, and everything in full for who wants it."""
    rows = differences(env.arms)
    seeds = ", ".join(sorted({run.seed for run in env.runs}, key=lambda seed: (len(seed), seed)))
    parts: list[str] = []
    if rows:
        head = ("setting", *(join([swatch(arm), arm.label]) for arm in env.arms))
        body = [
            (h("code", {}, path), *(words.NOTHING if v is None else v for v in vs))
            for path, vs in rows.items()
        ]
        parts.append(table("Settings that differ", head, body, text=tuple(range(len(head)))))
        parts.append(h("p", {"class": "quiet"}, f"Everything else is the same in all runs. Seeds: {seeds}."))
    elif len(env.runs) > 1:
        parts.append(h("p", {}, f"All runs have the same settings apart from their seed ({seeds})."))
    else:
        parts.append(
            h("p", {}, f"One run, with seed {seeds}: there is nothing to compare its settings with.")
        )
    for arm in env.arms:
        title = h("summary", {}, "All settings: ", arm.label)
        parts.append(h("details", {}, title, h("pre", {"tabindex": "0"}, arm.runs[0].yaml)))
    return join(parts)
