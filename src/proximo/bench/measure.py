"""One measurement: a command in a process of its own, its clock readings, the peak memory of its process tree."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from proximo.bench.memory import tree_bytes

SAMPLE_SECONDS = 0.2
"""Between two looks at the memory of one process."""
TREE_SECONDS = 1.0
"""Between two looks at that of several, which take some ten milliseconds."""
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Row = dict[str, Any]


def measure(command: Sequence[str], threads: int, timeout: float) -> Row:
    """Run a command that ends with one JSON line and give back its numbers, or `{"error": …}`.

    Seconds: `start_up` (command to the end of the first update), `training` (of the training call), `whole`.
    Steps per second: `of_training` (the training call), `after_start_up`, `of_whole` (with start-up). Memory in MiB.
    """
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "CUDA_VISIBLE_DEVICES": ""}
    for name in ONE_THREAD:
        environment.pop(name, None)
        if threads == 1:
            environment[name] = "1"
    with (
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as log,
        tempfile.TemporaryDirectory() as folder,
    ):
        started = time.monotonic()
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env=environment,
            # Peers leave logs and checkpoints where they are called.
            cwd=folder,
            start_new_session=True,
        )
        try:
            tree = _watch(process, started + timeout)
        finally:
            # Also what a peer left running: a worker process of one measurement must not slow down the next.
            _kill_group(process.pid)
        out.seek(0)
        log.seek(0)
        words = out.read().strip().splitlines()
        complaint = (log.read().strip().splitlines() or [f"exit code {process.returncode}"])[-1]
    if process.returncode != 0:
        late = time.monotonic() - started >= timeout
        return {"error": f"took longer than {timeout:g} s" if late else complaint}
    try:
        found = json.loads(words[-1])
    except (IndexError, json.JSONDecodeError):
        return {"error": f"did not end with a JSON line but {words[-1] if words else 'nothing'!r}"}
    return _derive(found, started, tree)


def _derive(found: Row, started: float, tree: float | None) -> Row:
    steps, first_steps = found.pop("steps"), found.pop("first_update_steps")
    called, first, ended = (found.pop(key) for key in ("called_at", "first_update_at", "ended_at"))
    rest = ended - first
    own = found.pop("memory_mib")
    return {
        **found,
        "steps": steps,
        "start_up": first - started,
        "training": ended - called,
        "whole": ended - started,
        "of_training": steps / (ended - called),
        "after_start_up": (steps - first_steps) / rest if steps > first_steps else None,
        "of_whole": steps / (ended - started),
        "memory_mib": max(own, tree or 0.0),
        "memory_of": "process" if tree is None else "tree",
    }


def _watch(process: subprocess.Popen[Any], deadline: float) -> float | None:
    """Wait for the end; the peak of the tree's memory in MiB, None where psutil is not installed."""
    if importlib.util.find_spec("psutil") is None:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _kill_group(process.pid)
            process.wait()
        return None
    import psutil

    peak, pause = 0.0, SAMPLE_SECONDS
    while process.poll() is None:
        if time.monotonic() > deadline:
            _kill_group(process.pid)
            process.wait()
            break
        try:
            top = psutil.Process(process.pid)
            members = [top, *top.children(recursive=True)]
            alone = len(members) == 1 or not Path("/proc/self/smaps").exists()
            pause = SAMPLE_SECONDS if alone else TREE_SECONDS
            if alone:
                now = float(sum(member.memory_info().rss for member in members))
            else:
                now = float(tree_bytes(member.pid for member in members))
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            now = 0.0
        peak = max(peak, now / 2**20)
        try:
            process.wait(pause)
        except subprocess.TimeoutExpired:
            continue
    return peak


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
