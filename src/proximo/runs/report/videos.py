"""Videos inside the page, as long as they stay small; a link for the others."""

from __future__ import annotations

import base64
import os
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

from proximo.runs.report import words
from proximo.runs.report.arms import Arm, Environment
from proximo.runs.report.chart import swatch
from proximo.runs.report.html import Html, h, join
from proximo.runs.report.read import VIDEO_TYPES

CAP = 12_000_000
"""Bytes of video in one page, all together."""


@dataclass(frozen=True)
class Video:
    """A file and whose it is."""

    path: Path
    arm: Arm
    run: str
    seed: str
    size: int


def choose(envs: Sequence[Environment], cap: int) -> tuple[set[Path], list[Video]]:
    """What to embed within `cap` bytes, and what is left: every arm's newest first, then the next ones."""
    by_arm = [_videos(arm) for env in envs for arm in env.arms]
    turns = [video for video in chain.from_iterable(zip_longest(*by_arm)) if video is not None]
    taken: set[Path] = set()
    left: list[Video] = []
    for video in turns:
        if video.size <= cap:
            cap -= video.size
            taken.add(video.path)
        else:
            left.append(video)
    return taken, left


def section(env: Environment, taken: set[Path], out: Path) -> Html | None:
    """The videos of an environment; None where there are none."""
    found = [video for arm in env.arms for video in _videos(arm)]
    if not found:
        return None
    shown = [_figure(video) for video in found if video.path in taken]
    linked = [_link(video, out) for video in found if video.path not in taken]
    parts: list[str] = []
    if shown:
        parts.append(h("div", {"class": "videos"}, *shown))
    if linked:
        note = f"Not in this page, it holds {words.size(CAP)} of video:"
        parts += [h("p", {"class": "quiet"}, note), h("ul", {}, *linked)]
    return join(parts)


def _videos(arm: Arm) -> list[Video]:
    """The newest of each run, then the second newest of each, and so on."""
    per_run = [
        [Video(path, arm, run.path.name, run.seed, path.stat().st_size) for path in reversed(run.videos)]
        for run in arm.runs
    ]
    return [video for video in chain.from_iterable(zip_longest(*per_run)) if video is not None]


def _figure(video: Video) -> Html:
    content = base64.b64encode(video.path.read_bytes()).decode("ascii")
    attributes: dict[str, str | None] = dict.fromkeys(("controls", "muted", "loop", "playsinline"), "")
    attributes |= {
        "preload": "metadata",
        "aria-label": f"{video.path.stem} of {video.run}",
        "src": f"data:{VIDEO_TYPES[video.path.suffix.lower()]};base64,{content}",
    }
    words_ = h(
        "figcaption", {"title": video.run}, swatch(video.arm), h("span", {}, video.arm.label), _about(video)
    )
    return h("figure", {"class": "video"}, h("video", attributes), words_)


def _link(video: Video, out: Path) -> Html:
    where = Path(os.path.relpath(video.path.resolve(), out.resolve().parent)).as_posix()
    link = h("a", {"href": urllib.parse.quote(where)}, f"{video.run}/{video.path.name}")
    return h("li", {}, link, f" ({words.size(video.size)})")


def _about(video: Video) -> Html:
    kind, _, step = video.path.stem.partition("-")
    when = f"step {words.whole(int(step))}" if kind == "step" and step.isdecimal() else video.path.stem
    return h("small", {}, f"seed {video.seed}, {when}")
