"""Every command and every code block of README.md and docs/ does what it says."""

import re
import shlex
from pathlib import Path

import pytest
from session import Session, blocks, commands, workplace

from proximo.cli.main import build_parser
from proximo.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
LANGUAGES = {"bash", "python", "yaml", "text"}
REASONS = {
    "installs packages (.ci/run does it)",
    "needs a display",
    "needs docker",
    "needs a W&B account",
    "needs a run on W&B",
    "starts a server",
    "runs for hours",
}
"""The only reasons for which a block may be left out."""
INSTALLS = "python3 -m venv "
"""Set-up lines of the README, taken from there and run by `.ci/run`."""


def runnable(page):
    found = [block for block in blocks(page) if block.language != "text" or block.title]
    return [b for b in found if b.reason is None and not b.text.startswith(INSTALLS)]


@pytest.mark.parametrize("page", [p for p in PAGES if runnable(p)], ids=lambda p: p.stem)
def test_the_blocks_of_a_page_run(page, tmp_path, capsys, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-login"))
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")
    session = Session()
    with workplace(tmp_path):
        for block in runnable(page):
            try:
                session.run(block, lambda: "".join(capsys.readouterr()))
            except Exception as error:
                said = "".join(capsys.readouterr())
                raise AssertionError(f"{block} failed: {said}\n{error}") from error


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_every_block_says_what_it_is(page):
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{block}: use one of {sorted(LANGUAGES)}"
        if block.reason is not None:
            assert block.reason in REASONS, f"{block}: not run because {block.reason!r}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_commands_in_the_text_exist(page):
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    mentioned = re.findall(r"`proximo ([^`]*)`", prose)
    skipped = [c for b in blocks(page) if b.reason for c in commands(b.text)]
    mentioned += [c.removeprefix("proximo ") for c in skipped if c.startswith("proximo ")]
    names = next(a for a in build_parser()._actions if a.dest == "command").choices
    for command in mentioned:
        words = [word for word in shlex.split(command) if word not in ("…", "...")]
        wrong = refusal(words)
        # The text may name a command without showing its arguments.
        if "are required" not in wrong or words[0] not in names:
            assert not wrong, f"{page.name}: `proximo {command}`: {wrong}"


def refusal(words):
    try:
        build_parser().parse_known_args(words)
    except UserError as error:
        return str(error)
    except SystemExit:
        # Only --help and the like exit.
        return ""
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://", "#")):
            continue
        path = (page.parent / target.partition("#")[0]).resolve()
        assert path.exists(), f"{page.name}: {target}"


def label(line):
    """The beginning of a printed line, up to its first number or colon."""
    words = re.split(r"[:\d(]", line.strip(), maxsplit=1)[0].strip()
    return "progress" if re.match(r"[\d,]+ of [\d,]+ steps", line.strip()) else words


def test_the_tutorial_shows_every_line_that_training_prints(tmp_path, capsys):
    page = ROOT / "docs" / "tutorial.md"
    shown = "\n".join(b.text for b in blocks(page) if b.language == "text" and not b.title)
    first = next(b for b in runnable(page) if b.text.startswith("proximo train CartPole-v1"))
    with workplace(tmp_path):
        Session().run(first, lambda: "")
    printed = {label(line) for line in capsys.readouterr().out.splitlines()}
    assert printed == {"settings", "engine", "env.backend", "progress", "run", "return", "watch it"}
    assert printed <= {label(line) for line in shown.splitlines()}
