"""Runs the code blocks of a Markdown page, one after the other, in one folder.

What is done with a block:
* `bash`: each command is run. `proximo …` and `python file.py` run in this process, anything else in a shell.
* `python`: run; later blocks of the page see its names. `yaml`: checked as (a part of) an experiment.
* With `title="name"` the block is written to that file instead, for the blocks after it.
* `text` shows output and is not run.
* `<!-- not run: reason -->` on the line before leaves a block out; `tests/docs/test_blocks.py` lists the reasons.

Trainings are shortened by rewriting what is run, nothing in Proximo knows of it: `ppo.total_steps`, `seeds` and
evaluations get small numbers, on the command line and in Python blocks alike.
"""

import os
import re
import runpy
import shlex
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from proximo.cli.main import main
from proximo.config.load import load_experiment

TRAIN_STEPS, RESUME_STEPS = 600, 6000
SHORT = ("eval.num_evals=1", "eval.episodes=2", "eval.random_episodes=2")
FENCE = re.compile(r"^( *)```([a-z]*)(?: +title=\"([^\"]+)\")?\s*$")
SKIPPED = re.compile(r"^<!-- not run: (.+) -->$")
TOTAL = re.compile(r"(['\"]?total_steps['\"]?\s*[=:]\s*)[\d_.e]+")


@dataclass
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    title: str | None
    reason: str | None
    """Why it is not run."""
    text: str

    def __str__(self):
        return f"{self.page.name}:{self.line}"


def blocks(page):
    """All fenced blocks of a Markdown file."""
    found, lines, inside, reason = [], page.read_text(encoding="utf-8").splitlines(), None, None
    for number, line in enumerate(lines, 1):
        fence = FENCE.match(line)
        if inside is None and fence:
            indent, language, title = fence.groups()
            inside, body = Block(page, number, language, title, reason, ""), []
        elif inside is not None and line.strip() == "```":
            inside.text = "\n".join(body) + "\n"
            found.append(inside)
            inside, reason = None, None
        elif inside is not None:
            body.append(line.removeprefix(indent))
        elif line.strip():
            skipped = SKIPPED.match(line.strip())
            reason = skipped[1] if skipped else None
    assert inside is None, f"{page}: a block is not closed"
    return found


def commands(text):
    """The commands of a shell block: comments dropped, continued lines joined."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line for line in (raw.strip() for raw in lines) if line and not line.startswith("#")]


class Session:
    """Blocks of one page, run in the working directory."""

    def __init__(self):
        self.names = {}
        self.output = ""

    def run(self, block, capture):
        """Run a block; `capture()` gives and forgets what was printed."""
        if block.title:
            Path(block.title).parent.mkdir(parents=True, exist_ok=True)
            Path(block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "bash":
            for command in commands(block.text):
                self._command(command, block)
        elif block.language == "python":
            self._python(block)
        elif block.language == "yaml":
            load_experiment(_experiment(block.text))
        self.output += capture()

    def _command(self, command, block):
        words = [word for part in shlex.split(command, comments=True) for word in matching(part)]
        if words[0] == "proximo":
            code = main(shorten(words[1:]))
            assert code == 0, f"{block}: `{command}` gave exit code {code}"
        elif words[0] == "python" and len(words) > 1 and words[1].endswith(".py"):
            code = Path(words[1]).read_text(encoding="utf-8")
            Path(words[1]).write_text(shorten_python(code), encoding="utf-8")
            runpy.run_path(words[1], run_name="__main__")
        else:
            done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], capture_output=True, text=True)
            assert done.returncode == 0, f"{block}: `{command}`: {done.stderr}"
            print(done.stdout)

    def _python(self, block):
        file = Path(f".block_{block.line}.py")
        file.write_text(shorten_python(block.text), encoding="utf-8")
        self.names = runpy.run_path(str(file), init_globals=self.names, run_name="__main__")


def matching(word):
    """The files that a pattern matches, as a shell gives them."""
    found = sorted(str(path) for path in Path().glob(word)) if "*" in word else []
    return found or [word]


def shorten(words):
    """A `proximo` command line that trains for a moment only."""
    if words[:2] == ["therapy", "train"]:
        return [*words, "--total-timesteps", str(TRAIN_STEPS), "--eval-freq", "300", "--eval-episodes", "2"]
    if words[:1] == ["hybrid"]:
        quick = ["--num_bc_epochs", "2", f"ppo.total_steps={TRAIN_STEPS}", "ppo.num_steps=64", "ppo.epochs=1"]
        return [*words, *quick, *SHORT]
    if not words or words[0] not in ("train", "resume"):
        return words
    steps = f"ppo.total_steps={TRAIN_STEPS if words[0] == 'train' else RESUME_STEPS}"
    kept = [word for word in words if not word.startswith(("ppo.total_steps=", "eval.num_evals="))]
    kept = ["seeds=2" if word.startswith("seeds=") else word for word in kept]
    longer = words[0] == "train" or len(kept) < len(words)
    return [*kept, *([steps] if longer else []), *SHORT]


def shorten_python(code):
    """Python code whose trainings last a moment only."""
    return TOTAL.sub(rf"\g<1>{TRAIN_STEPS}", code)


def _experiment(text):
    """A fragment of an experiment's YAML as a whole one."""
    import yaml

    data = yaml.safe_load(text)
    return {"env": {"id": "CartPole-v1"}} | data


@contextmanager
def workplace(folder):
    """Work in `folder`; modules and paths that the blocks brought in are forgotten afterwards."""
    before, path, modules = Path.cwd(), list(sys.path), set(sys.modules)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            file = getattr(sys.modules[name], "__file__", None) or ""
            if file.startswith(str(folder)):
                del sys.modules[name]
