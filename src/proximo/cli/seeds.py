"""`proximo train … seeds=5 jobs=2`: one process and one run folder per seed."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proximo.config import text
from proximo.config.experiment import Experiment, WandbTracker
from proximo.envs.processors import SHARE, cores
from proximo.errors import UserError
from proximo.runs.signals import stop_on_signals

INTERRUPTED = 130
Line = tuple[int | None, str | None]
"""A seed and what it printed, None when it has ended; or None and the name of a signal that came."""


@dataclass(frozen=True)
class Plan:
    """Which seeds to train, and how many at a time."""

    seeds: tuple[int, ...]
    jobs: int


def split(items: Sequence[str]) -> tuple[Plan | None, list[str]]:
    """Take `seeds=…` and `jobs=…` out of the settings; `seeds=3 seed=10` are the seeds 10, 11, 12."""
    own = {item.partition("=")[0]: item for item in items if item.startswith(("seeds=", "jobs="))}
    rest = [item for item in items if item not in own.values()]
    jobs = _count(own["jobs"]) if "jobs" in own else 1
    if "seeds" not in own:
        if "jobs" in own:
            raise UserError(f"{own['jobs']}: only together with seeds=…, such as seeds=5 jobs=2")
        return None, rest
    value = text.parse(own["seeds"].partition("=")[2], own["seeds"], lines=False)
    if isinstance(value, list):
        if (
            not value
            or not all(type(seed) is int and seed >= 0 for seed in value)
            or len(set(value)) < len(value)
        ):
            raise UserError(
                f"{own['seeds']}: must be a number, or a list of different whole numbers such as [1, 2]"
            )
        return Plan(tuple(value), jobs), [item for item in rest if not item.startswith("seed=")]
    first = 0
    for item in rest:
        if item.startswith("seed="):
            first = _count(item, least=0)
    seeds = tuple(range(first, first + _count(own["seeds"])))
    return Plan(seeds, jobs), [item for item in rest if not item.startswith("seed=")]


def _count(item: str, least: int = 1) -> int:
    value = text.parse(item.partition("=")[2], item, lines=False)
    if type(value) is not int or value < least:
        raise UserError(f"{item}: must be a whole number of at least {least}")
    return value


def run(
    plan: Plan,
    experiment: Experiment,
    source: str,
    items: Sequence[str],
    flags: Sequence[str],
    told: Collection[str] = (),
) -> int:
    """Train every seed in a process of its own; prints their lines and a table; 0 if all succeeded.

    Lines in `told` were printed already, once for all of them.
    """
    words = [*items, *_grouped(experiment)]
    with tempfile.TemporaryDirectory(prefix="proximo-seeds-") as folder:
        files = {seed: Path(folder) / f"{seed}.json" for seed in plan.seeds}
        commands = {
            seed: [
                # -P: a file in the working directory must not hide a module.
                *(sys.executable, "-P", "-m", "proximo", "train", source, *words, f"seed={seed}"),
                *flags,
                *("--result", str(files[seed])),
            ]
            for seed in plan.seeds
        }
        codes = _run_all(commands, plan.jobs, told)
        results = {seed: json.loads(f.read_text("utf-8")) for seed, f in files.items() if f.is_file()}
    _print_table(plan, codes, results)
    return next((code for code in codes.values() if code != 0), 0)


def _grouped(experiment: Experiment) -> list[str]:
    """The override that gives all seeds one group on W&B, where none is configured."""
    tracks: list[dict[str, Any]] = [tracker.model_dump(mode="json") for tracker in experiment.track]
    group = f"{experiment.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    bare = [i for i, t in enumerate(experiment.track) if isinstance(t, WandbTracker) and t.group is None]
    for index in bare:
        tracks[index]["group"] = group
    return [f"track={text.scalar(tracks)}"] if bare else []


def _run_all(commands: dict[int, list[str]], jobs: int, told: Collection[str] = ()) -> dict[int, int]:
    """Exit code per seed, `jobs` processes at a time; a signal to stop is passed on to them, and waited for.

    They begin with SIGINT as usual even where this process got it ignored, as background jobs of a script do:
    what is handled here is not inherited.
    """
    waiting, codes, stopping = list(commands), dict[int, int](), False
    # Two trainings that each step MuJoCo on all cores are in each other's way.
    share = str(max(1, cores() // min(jobs, len(commands))))
    running: dict[int, subprocess.Popen[str]] = {}
    # A handler may put into a simple queue, whatever it interrupts; into `queue.Queue` it may not.
    lines: queue.SimpleQueue[Line] = queue.SimpleQueue()
    with stop_on_signals(lambda name: lines.put((None, name))):
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    seed = waiting.pop(0)
                    running[seed] = _start(commands[seed], seed, lines, {**os.environ, SHARE: share})
                of, line = lines.get()
                if of is None:
                    stopping = True
                    codes.update(dict.fromkeys(waiting, INTERRUPTED))
                    waiting = []
                    for process in running.values():
                        process.send_signal(signal.SIGINT)
                elif line is None:
                    code = running.pop(of).wait()
                    # Below 0: the signal came before it had begun to train.
                    codes[of] = INTERRUPTED if stopping and code < 0 else code
                elif line not in told:
                    print(f"[seed {of}] {line}", flush=True)
        finally:
            for process in running.values():
                process.terminate()
    return codes


def _start(
    command: list[str], seed: int, lines: queue.SimpleQueue[Line], environment: dict[str, str]
) -> subprocess.Popen[str]:
    # A session of its own, so that Ctrl-C reaches it through us, once, and it can write its checkpoint.
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=environment,
    )

    def read() -> None:
        assert process.stdout is not None
        with process.stdout as output:
            for line in output:
                lines.put((seed, line.rstrip("\n")))
        lines.put((seed, None))

    threading.Thread(target=read, daemon=True).start()
    return process


def _print_table(plan: Plan, codes: dict[int, int], results: dict[int, dict[str, Any]]) -> None:
    returns = []
    for seed in plan.seeds:
        found = results.get(seed)
        if found is None:
            code = codes[seed]
            print(f"seed {seed}: {'interrupted' if code == INTERRUPTED else f'failed with exit code {code}'}")
            continue
        mean = found["return_mean"]
        shown = "no finished episode" if mean is None else f"return {mean:.1f}"
        print(f"seed {seed}: {shown}, {found['step']} steps, {found['status']}, {found['run']}")
        if mean is not None:
            returns.append(mean)
    if len(returns) > 1:
        from proximo.runs.statistics import mean_ci95

        low, high = mean_ci95(returns)
        mean = sum(returns) / len(returns)
        print(f"{len(returns)} seeds: return {mean:.1f}, 95 % interval {low:.1f} to {high:.1f}")
