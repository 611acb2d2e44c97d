"""What the speed tables share: processor time, medians, and the lines that say where and when a table was made."""

from __future__ import annotations

import datetime
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs import ROOT

sys.path.insert(0, str(ROOT / "src"))
BUSY = 0.3
"""Load per core from which on a table calls itself provisional."""


def one_thread() -> None:
    """Keep this process to one core and its libraries to one thread; call before any of them is imported."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def seconds_each(call: Callable[[], object], least: float) -> float:
    """Processor seconds of one call, repeated for `least` seconds or more.

    Processor time, because every side runs in one thread and does nothing but compute: it is the wall time of a
    quiet machine, and on a busy one it leaves out what the other programs take.
    """
    count, begun = 0, time.process_time()
    while True:
        call()
        count += 1
        spent = time.process_time() - begun
        if spent >= least:
            return spent / count


def where() -> dict[str, Any]:
    """Date, command, machine and load, for the JSON file."""
    from proximo.bench.compare import machine
    from proximo.core.engines.native.library import status

    command = ["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    here = {**machine(), "kernels": status().removeprefix("built, using ")}
    return {"date": now, "command": " ".join(command), "machine": here}


def provenance(found: dict[str, Any], packages: str = "") -> str:
    """The same as one paragraph; it says so where the machine was busy."""
    machine = found["machine"]
    level = ", ".join(str(load) for load in machine["load"])
    text = (
        f"`{found['command']}`, {found['date'][:10]}, {machine['processor']}, {machine['kernels']}, "
        f"Python {sys.version.split()[0]}{packages}. Processor time of one thread."
    )
    if machine["load"][0] > BUSY * (os.cpu_count() or 1) + 1:
        text += f" **Provisional: other programs were running (load {level}).**"
    return text


def write_json(path: Path, found: dict[str, Any]) -> None:
    """For programs; the folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def between(path: Path, name: str, text: str) -> None:
    """Replace what stands in a page between `<!-- NAME -->` and `<!-- /NAME -->`."""
    page = path.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = page.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{path} has no {begin} … {end}")
    path.write_text(f"{before}{begin}\n{text.strip()}\n{end}{after}", encoding="utf-8")
