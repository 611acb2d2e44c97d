"""Downloading data sets: Minari's own remote code, in a process of its own, into a folder that is moved when complete.

A process of its own because the hub's client reads its time limits when it is imported, retries for half a minute,
and writes into the folder of data sets as it goes.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from proximo.demos import store
from proximo.errors import UserError

HUB = "https://huggingface.co"
DEFAULT_REMOTE = "hf://farama-minari"
"""Minari's, where `$MINARI_REMOTE` names no other."""
REACH_SECONDS = 4.0
"""How long the hub may take to answer at all."""
STALL_SECONDS = 10
"""How long the hub's client waits for the next piece."""


def remote() -> str:
    """Where data sets come from: `$MINARI_REMOTE`, else Minari's collection on the hub."""
    return os.environ.get("MINARI_REMOTE") or DEFAULT_REMOTE


def ensure(name: str, *, download: bool = True, say: Callable[[str], None] = print) -> str:
    """`name`, once its data set is on this disk; downloads it where it is not.

    Raises: UserError, within seconds, where it is neither here nor to be had.
    """
    if store.present(name):
        return name
    if store.is_path(name):
        raise UserError(f"{name}: there is no data set in {store.folder(name).resolve()}")
    if not download:
        raise UserError(
            f"data set {name} is not in {store.root()}; proximo demos download {name} gets it, or {cure(name)}"
        )
    fetch(name, say)
    return name


def cure(name: str) -> str:
    """How to get a data set that is not there."""
    return f"record one: proximo demos record RUN --dataset {name} --episodes 100"


def fetch(name: str, say: Callable[[str], None] = print) -> Path:
    """Download a data set, replacing the one that is there; its folder.

    Raises: UserError where the hub does not answer, does not have it, or stops in the middle.
    """
    store.require_minari()
    store.check_name(name)
    _check_reachable(name)
    say(f"downloading data set {name} from {remote()} into {store.root()}")
    partial = store.begin_partial(name)
    settings = {
        **os.environ,
        "MINARI_DATASETS_PATH": str(partial),
        "MINARI_REMOTE": remote(),
        "HF_HUB_DOWNLOAD_TIMEOUT": str(STALL_SECONDS),
        "HF_HUB_ETAG_TIMEOUT": str(STALL_SECONDS),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    if not sys.stderr.isatty():
        settings["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    try:
        command = [sys.executable, "-m", "proximo.demos.fetch", name]
        done = subprocess.run(command, env=settings, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            reason = (done.stdout.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise UserError(f"data set {name} cannot be downloaded from {remote()}: {reason}; {cure(name)}")
        return _move(partial, name)
    finally:
        store.remove(partial)


def _move(partial: Path, name: str) -> Path:
    found = [path.parent.parent for path in partial.glob(f"**/data/{store.METADATA}")]
    if partial / name not in found:
        raise UserError(f"data set {name}: what {remote()} gave holds no {store.METADATA}; {cure(name)}")
    for path in sorted(found, key=lambda path: path == partial / name):
        # Those that it was combined from come first.
        other = path.relative_to(partial).as_posix()
        if other == name or not store.present(other):
            store.publish(path, other)
    return store.folder(name)


def _check_reachable(name: str) -> None:
    if not remote().startswith("hf://"):
        return
    if importlib.util.find_spec("huggingface_hub") is None:
        raise UserError("downloading demonstrations needs huggingface_hub: pip install 'proximo[demos]'")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise UserError(
            f"data set {name} is not on this disk, and HF_HUB_OFFLINE forbids downloads; {cure(name)}"
        )
    endpoint = os.environ.get("HF_ENDPOINT") or HUB
    problem = unreachable(endpoint, REACH_SECONDS)
    if problem is not None:
        raise UserError(
            f"data set {name} is neither in {store.root()} nor to be had: {endpoint} does not answer ({problem}); "
            f"{cure(name)}"
        )


def unreachable(url: str, seconds: float) -> str | None:
    """Why nobody answers at `url`, known after `seconds` at the latest; None where somebody does."""
    answer: list[str | None] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds):
                answer.append(None)
        except urllib.error.HTTPError:
            answer.append(None)
        except (OSError, ValueError) as error:
            answer.append(str(getattr(error, "reason", error)) or type(error).__name__)

    # A name server that does not answer knows no time limit: a thread that nobody waits for any longer.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return answer[0] if answer else f"no answer within {seconds:g} s"


def _download(name: str) -> int:
    """In the process of its own: Minari's code; the last line on standard output is the reason of a failure."""
    import warnings

    import minari

    # Another version exists: the user has named the one wanted.
    warnings.filterwarnings("ignore", message="We recommend you install")
    try:
        minari.download_dataset(name)
    except Exception as error:  # noqa: BLE001  (the parent process turns it into a UserError)
        print(" ".join(f"{type(error).__name__}: {error}".split()))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_download(sys.argv[1]))
