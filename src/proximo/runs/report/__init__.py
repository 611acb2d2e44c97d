"""`proximo report`: runs compared on one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from proximo.errors import UserError
from proximo.runs.files import replace_file, writing
from proximo.runs.provenance import versions
from proximo.runs.report import sections, tables, videos, words
from proximo.runs.report.arms import Environment, environments
from proximo.runs.report.html import Html, h, join
from proximo.runs.report.notes import notes
from proximo.runs.report.read import RunData, read_run

__all__ = ["write_report"]


def write_report(runs: list[Path], out: Path, *, video_bytes: int = videos.CAP) -> Path:
    """Write the page for these run folders to `out`, and return `out`.

    Runs that differ only in seed and name are one arm; a folder named twice counts once. Videos are embedded up
    to `video_bytes`, the others are linked, which is printed.

    Raises: UserError for a folder that is no run or has damaged files, RunError where `out` cannot be written.
    """
    if not runs:
        raise UserError("no run is named; `proximo runs` lists them")
    if out.is_dir():
        raise UserError(f"{out}: is a folder; give a file, such as --out {out / 'report.html'}")
    different = {path.resolve(): path for path in runs}
    found = [read_run(path) for path in different.values()]
    envs = environments(found)
    taken, left = videos.choose(envs, video_bytes)
    if left:
        total = words.size(sum(video.size for video in left))
        print(
            f"{words.plural(len(left), 'video')} ({total}) linked, not embedded: a page holds "
            f"{words.size(video_bytes)}; the links need the run folders beside it",
            file=sys.stderr,
        )
    page = _page(found, envs, taken, out)
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    # A file name may hold bytes that are no text; a page may not.
    replace_file(out, page.encode("utf-8", "replace").decode("utf-8"))
    return out


def _page(runs: Sequence[RunData], envs: Sequence[Environment], taken: set[Path], out: Path) -> str:
    title = ", ".join(env.id for env in envs)
    style, script = _static("report.css"), _static("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    # Nothing may be fetched, and no script but ours may run, whatever a run's files say.
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; media-src data:; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    head = h(
        "head",
        {},
        h("meta", {"charset": "utf-8"}),
        h("meta", {"http-equiv": "Content-Security-Policy", "content": policy}),
        h("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        h("meta", {"name": "color-scheme", "content": "light dark"}),
        h("title", {}, f"{title} · Proximo"),
        h("style", {}, Html(style)),
    )
    parts = [part for env in envs for part in _environment(env, len(envs) > 1, taken, out)]
    main = h("main", {}, *parts, _section("Provenance", tables.provenance(runs)))
    body = h("body", {}, _header(runs, envs), main, h("script", {}, Html(script)))
    return f"<!doctype html>\n{h('html', {'lang': 'en'}, head, body)}\n"


def _header(runs: Sequence[RunData], envs: Sequence[Environment]) -> Html:
    arms = sum(len(env.arms) for env in envs)
    made = f"made {time.strftime('%Y-%m-%d %H:%M')} by Proximo {versions().get('proximo', '')}".rstrip()
    steps = f"{words.whole(sum(run.step for run in runs))} environment steps in all"
    facts = [words.plural(arms, "arm"), words.plural(len(runs), "run"), steps, made]
    return h(
        "header",
        {},
        h("h1", {}, join((h("span", {}, env.id) for env in envs), ", ")),
        h("p", {}, " · ".join(facts)),
    )


def _environment(env: Environment, several: bool, taken: set[Path], out: Path) -> list[Html]:
    filmed, scores = videos.section(env, taken, out), tables.scores(env)
    return [
        h("h2", {"class": "env"}, env.id) if several else Html(),
        sections.tiles(env),
        _section("Curves", sections.curves(env)),
        Html() if scores is None else _section("Against the demonstrations", scores),
        _section("Results", join([tables.results(env), tables.every_run(env)])),
        Html() if filmed is None else _section("Videos", filmed),
        _section("Settings", sections.settings(env)),
        _section("Where the time went", sections.phases(env)),
        _section("Events of note", notes(env)),
    ]


def _section(title: str, content: Html) -> Html:
    return h("section", {}, h("h2", {}, title), content)


def _static(name: str) -> str:
    file = importlib.resources.files("proximo.runs") / "static" / name
    return file.read_text(encoding="utf-8")
