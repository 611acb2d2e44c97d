"""The tables of the page: results by arm, every run, provenance."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from proximo.runs.report import words
from proximo.runs.report.arms import Arm, Environment
from proximo.runs.report.chart import swatch
from proximo.runs.report.html import Html, h, join
from proximo.runs.report.read import RunData

Row = tuple[str, ...]


def table(name: str, head: Row, rows: Sequence[Row], *, titles: Row = (), text: tuple[int, ...] = ()) -> Html:
    """A table that scrolls inside its own box; columns in `text` are set left, numbers right."""
    side = ["text" if i in text else "num" for i in range(len(head))]
    hints = titles or ("",) * len(head)
    heads = (
        h("th", {"scope": "col", "class": c, "title": t or None}, v)
        for c, v, t in zip(side, head, hints, strict=True)
    )
    body = (
        h("tr", {}, *(
            h("th" if i == 0 else "td", {"scope": "row" if i == 0 else None, "class": side[i]}, cell)
            for i, cell in enumerate(row)))
        for row in rows
    )  # fmt: skip
    whole = h("table", {}, h("thead", {}, h("tr", {}, *heads)), h("tbody", {}, *body))
    return h("div", {"class": "scroll", "role": "region", "aria-label": name, "tabindex": "0"}, whole)


def said_of(arm: Arm) -> str:
    """The verdicts of its runs; where they differ, how many say what."""
    counts = Counter(run.final.verdict for run in arm.runs if run.final is not None and run.final.verdict)
    if len(counts) == 1 and counts.total() == len(arm.runs):
        return next(iter(counts))
    return "; ".join(f"{verdict}: {n} of {len(arm.runs)} seeds" for verdict, n in counts.most_common())


def results(env: Environment) -> Html:
    """The final table: a row per arm."""
    head = ("arm", "seeds", "steps", "final return", "95 % interval", "random policy", "best return",
            "verdict", "wall time", "steps/s")  # fmt: skip
    titles = ("", "runs that differ only in their seed", "environment steps, the most of any seed",
              "mean over seeds of the last evaluation", "over seeds (Student’s t); of a single seed over episodes",
              "mean return of uniformly random actions", "best evaluation of any seed, and when",
              "better only where Welch’s 95 % interval of the difference is above 0",
              "of the training, mean over seeds", "everything included, mean over seeds")  # fmt: skip
    rows = []
    for arm in env.arms:
        mean, low, high = arm.final or (math.nan, math.nan, math.nan)
        bests = [run.best for run in arm.runs if run.best is not None]
        top = max(bests, key=lambda best: best[1], default=None)
        best = words.NOTHING if top is None else f"{words.number(top[1])} at {words.whole(top[0])}"
        seconds, speed = _mean([run.seconds for run in arm.runs]), _mean([_speed(run) for run in arm.runs])
        label = h("span", {"class": "arm-name"}, swatch(arm), arm.label)
        rows.append((
            label, _seeds(arm), words.whole(max(run.step for run in arm.runs)), words.number(mean),
            words.interval(low, high), words.number(arm.random), best, said_of(arm) or words.NOTHING,
            words.duration(seconds), words.number(speed, 3),
        ))  # fmt: skip
    return table("Final results by arm", head, rows, titles=titles, text=(0, 7))


def scores(env: Environment) -> Html | None:
    """Arms beside what they are held against, with normalised scores; None where there is nothing of the kind."""
    if not env.references:
        return None
    head = ("who", "return", "95 % interval", "score", "95 % interval")
    titles = ("", "mean", "", "0: the random policy, 100: the mean of the data set", "")
    known: list[tuple[str | Html, tuple[float, float, float]]] = [
        (name, (one.mean, one.low, one.high)) for name, one in env.references.items()
    ]
    for arm in env.arms:
        if arm.final is not None:
            known.append((h("span", {"class": "arm-name"}, swatch(arm), arm.label), arm.final))
    rows = []
    for name, (mean, low, high) in known:
        score, *ends = (env.score(value) for value in (mean, low, high))
        bounds = words.NOTHING if ends[0] is None or ends[1] is None else words.interval(ends[0], ends[1])
        rows.append((name, words.number(mean), words.interval(low, high), words.number(score, 3), bounds))
    if env.random is not None:
        score = env.score(env.random)
        rows.append(
            ("random policy", words.number(env.random), words.NOTHING, words.number(score, 3), words.NOTHING)
        )
    return table("Against the demonstrations", head, rows, titles=titles, text=(0,))


def _seeds(arm: Arm) -> str:
    return f"{len(arm.runs)} ({arm.unfinished} unfinished)" if arm.unfinished else str(len(arm.runs))


def every_run(env: Environment) -> Html:
    """A row per run."""
    head = ("run", "arm", "seed", "status", "steps", "final return", "95 % interval", "best return",
            "wall time", "steps/s", "command")  # fmt: skip
    rows: list[Row] = []
    for arm in env.arms:
        for run in arm.runs:
            final, best = run.final, run.best
            ends = (math.nan, math.nan) if final is None else (final.low, final.high)
            rows.append((
                run.path.name, h("span", {"class": "arm-name"}, swatch(arm), arm.label), run.seed,
                run.status.state, words.whole(run.step), words.number(None if final is None else final.mean),
                words.interval(*ends), words.NOTHING if best is None else words.number(best[1]),
                words.duration(run.seconds), words.number(_speed(run), 3), h("code", {}, _command(run)),
            ))  # fmt: skip
    shown = table("Every run", head, rows, text=(0, 1, 3, 10))
    return h("details", {}, h("summary", {}, f"Every run ({len(rows)})"), shown)


def provenance(runs: Sequence[RunData]) -> Html:
    """Versions, git and machine: one value where all runs agree, else who has which."""
    facts: dict[str, dict[str, list[str]]] = {}
    for run in runs:
        for name, value in _facts(run).items():
            facts.setdefault(name, {}).setdefault(value, []).append(run.path.name)
    rows = []
    for name, values in facts.items():
        every = len(values) == 1 and len(next(iter(values.values()))) == len(runs)
        said = [
            v if every else f"{v} ({', '.join(who[:3])}{' …' if len(who) > 3 else ''})"
            for v, who in values.items()
        ]
        rows.append((name, join(said, Html("<br/>"))))
    if not rows:
        return h("p", {"class": "quiet"}, "The runs have no provenance.json.")
    return table("Where the runs come from", ("what", "value"), rows, text=(0, 1))


def _facts(run: RunData) -> dict[str, str]:
    known = run.provenance
    versions, machine, git = (known.get(k) if isinstance(known.get(k), dict) else None
                              for k in ("versions", "hardware", "git"))  # fmt: skip
    facts = {name: str(value) for name, value in (versions or {}).items()}
    if known:
        facts["git"] = "not in a repository" if git is None else (
            f"{git.get('commit')}{' with uncommitted changes' if git.get('dirty') else ''}")  # fmt: skip
    if machine:
        gpus = machine.get("gpus") or ["none"]
        facts |= {
            "processor": f"{machine.get('processor')}, {machine.get('cores')} cores, {machine.get('memory_gib')} GiB",
            "accelerators": ", ".join(map(str, gpus)),
            "system": str(machine.get("system")),
        }
    if "threads" in known:
        facts["PyTorch threads"] = str(known["threads"])
    return facts


def _command(run: RunData) -> str:
    command = run.provenance.get("command")
    if not isinstance(command, list) or not command:
        return words.NOTHING
    return shlex.join([Path(str(command[0])).name, *map(str, command[1:])])


def _speed(run: RunData) -> float | None:
    steps, speeds = run.series("steps_per_second")
    if not len(steps):
        return None
    return float(steps[-1] / run.seconds) if run.seconds else float(speeds[-1])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
