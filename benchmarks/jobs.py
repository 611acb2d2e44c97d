"""What the learning benchmarks share: worker processes, a file of results, a description of the machine.

A job is a command that writes `result.json` into its own folder. Each result becomes one line of a JSON Lines file
as soon as it is there, so that nothing is lost when the benchmark is interrupted, and what has a line is not run
again.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
GRACE = 60.0
"""Seconds that an interrupted worker has for its checkpoint."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One run of a benchmark."""

    name: str
    command: Sequence[str]
    folder: Path


def parser(description: str, out: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    found = argparse.ArgumentParser(description=description)
    found.add_argument("--jobs", type=int, default=1, help="processes at a time, one thread each (default 1)")
    found.add_argument("--only", nargs="+", metavar="ENV", help="only these environments")
    found.add_argument(
        "--seeds", type=seed_list, metavar="LIST", help="such as 0-4 or 0,3 (default: as needed)"
    )
    found.add_argument(
        "--time-limit", type=float, default=float("inf"), metavar="S", help="seconds; then stop"
    )
    found.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / out, help="results file")
    found.add_argument("--work", type=Path, default=ROOT / "runs" / "benchmarks", help="folder of the runs")
    found.add_argument("--table", action="store_true", help="only print the table of what is there")
    return found


def seed_list(word: str) -> list[int]:
    """`0-4`, `3` or `0,2,7-9` as numbers."""
    seeds: list[int] = []
    for part in word.split(","):
        first, _, last = part.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


def read_rows(path: Path) -> list[Row]:
    """All lines of a results file; none where there is no file."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def append_row(path: Path, row: Row) -> None:
    """Add a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def run_jobs(jobs: Iterable[Job], count: int, limit: float, finished: Callable[[Row], None]) -> None:
    """Run jobs, `count` at a time; hands over each result.

    No job begins that would, going by the slowest so far, end after `limit` seconds; at the limit (and on Ctrl-C)
    those that still run are interrupted.
    """
    begun, waiting, slowest = time.monotonic(), list(jobs), 0.0
    running: dict[subprocess.Popen[bytes], tuple[Job, float]] = {}
    stop = _stop_flag()
    while waiting or running:
        elapsed = time.monotonic() - begun
        late = elapsed + slowest > limit
        while waiting and len(running) < count and not late and not stop:
            job = waiting.pop(0)
            running[_start(job)] = (job, time.monotonic())
        if (waiting and not running) or stop or elapsed > limit:
            print(f"stopping: {len(waiting)} not begun, {len(running)} interrupted", flush=True)
            _interrupt(running)
            for process in list(running):
                _take(running.pop(process)[0], process.wait(), finished)
            return
        for process in [p for p in running if p.poll() is not None]:
            job, since = running.pop(process)
            _take(job, process.returncode, finished)
            slowest = max(slowest, time.monotonic() - since)
        time.sleep(0.2)


def _stop_flag() -> list[int]:
    flag: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: flag.append(received))
    return flag


def _start(job: Job) -> subprocess.Popen[bytes]:
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / "result.json").unlink(missing_ok=True)
    path = os.pathsep.join(p for p in (str(ROOT / "src"), os.environ.get("PYTHONPATH", "")) if p)
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    print(f"begin  {job.name}", flush=True)
    with (job.folder / "log.txt").open("ab") as log:
        # A session of its own: Ctrl-C reaches a worker through us, once.
        return subprocess.Popen(
            job.command, stdout=log, stderr=log, env=environment, cwd=ROOT, start_new_session=True
        )


def _take(job: Job, code: int, finished: Callable[[Row], None]) -> None:
    file = job.folder / "result.json"
    if file.is_file():
        row = json.loads(file.read_text(encoding="utf-8"))
        print(f"end    {job.name}: return {row['return_mean']:.1f} at {row['steps']} steps", flush=True)
        finished(row)
        return
    print(f"no result  {job.name}: exit code {code}, see {job.folder / 'log.txt'}", flush=True)


def _interrupt(running: Iterable[subprocess.Popen[bytes]]) -> None:
    processes = list(running)
    for process in processes:
        process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()


def write_result(folder: Path, row: Row, packages: Sequence[str]) -> None:
    """What a worker leaves: its row, with versions, date and machine."""
    temporary = folder / "result.tmp"
    temporary.write_text(json.dumps({**row, **measured(packages)}), encoding="utf-8")
    temporary.replace(folder / "result.json")


def measured(packages: Sequence[str]) -> Row:
    """With what, when and where: versions, commit, date, machine."""
    from proximo.runs.provenance import git, hardware

    where = hardware()
    return {
        "versions": versions(packages),
        "commit": (git(ROOT) or {}).get("commit", "")[:12],
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "machine": f"{where['processor']}, {where['cores']} cores",
    }


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of Python and of the packages that are installed."""
    found = {"python": sys.version.split()[0]}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines of a Markdown table."""
    yield "| " + " | ".join(header) + " |"
    yield "|" + " --- |" * len(header)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def interval(values: Sequence[float]) -> str:
    """`mean ± half of Student's 95 % interval` over runs."""
    from proximo.runs.statistics import mean_ci95

    mean = sum(values) / len(values)
    low, high = mean_ci95(values)
    return f"{mean:.1f} ± {(high - low) / 2:.1f}" if len(values) > 1 else f"{mean:.1f}"
