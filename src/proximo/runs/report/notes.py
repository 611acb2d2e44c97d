"""Events of note: alarms, resumes, early stops, failures, numbers that are none."""

from __future__ import annotations

from typing import Any

from proximo.runs.report import words
from proximo.runs.report.arms import Environment
from proximo.runs.report.html import Html, h
from proximo.runs.report.read import RunData


def notes(env: Environment) -> Html:
    """Events of note, in the order of the runs."""
    items = [(run, step, words_) for run in env.runs for step, words_ in sorted(_notes(run))]
    if not items:
        return h("p", {"class": "quiet"}, "None: no alarm, no resume, no early stop, no failure.")
    return h("ul", {"class": "notes"}, *(
        h("li", {}, h("span", {"class": "when"}, f"{run.path.name}, step {words.whole(step)}"), f" {said}")
        for run, step, said in items))  # fmt: skip


def _notes(run: RunData) -> list[tuple[int, str]]:
    found = [
        (int(event["step"]), _event(event))
        for event in run.events
        if event["kind"] not in ("update", "eval", "result", "artifact", "video")
    ]
    state, reason = run.status.state, run.status.reason
    if state != "finished" or reason:
        found.append((run.step, f"{state}{f': {reason}' if reason else ''}"))
    together: dict[tuple[int, int], list[str]] = {}
    for name, (count, step) in run.not_finite.items():
        together.setdefault((step, count), []).append(name)
    for (step, count), names in together.items():
        rest = f" and {len(names) - 4} more" if len(names) > 4 else ""
        found.append(
            (step, f"not a number in {words.plural(count, 'row')} from here: {', '.join(names[:4])}{rest}")
        )
    alarm = _entropy_alarm(run)
    if alarm is not None and not any(event["kind"] == "alarm" for event in run.events):
        found.append(alarm)
    return found


def _event(event: dict[str, Any]) -> str:
    fields = {
        k: v for k, v in event.items() if k not in ("time", "step", "kind") and v not in (None, [], {}, "")
    }
    said = ", ".join(
        f"{key}: {' '.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in fields.items()
    )
    return f"{event['kind']}{f' ({said})' if said else ''}"


def _entropy_alarm(run: RunData) -> tuple[int, str] | None:
    limit = run.settings.get("ppo.entropy_alarm")
    total = run.settings.get("ppo.total_steps")
    steps, shares = run.series("entropy_fraction")
    if not isinstance(limit, (int, float)) or not isinstance(total, (int, float)):
        return None
    low = [i for i in range(len(steps)) if shares[i] < limit and steps[i] < total / 2]
    if not low:
        return None
    said = f"alarm: entropy fell to {words.percent(float(shares[low[0]]))} of its maximum"
    return int(steps[low[0]]), said
