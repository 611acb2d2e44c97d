"""`proximo doctor`: what is installed, what is missing and how to get it."""

from __future__ import annotations

import argparse
import os
import re
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands of this group."""
    doctor = commands.add_parser(
        "doctor",
        parents=[common],
        help="print versions, devices, threads and extras",
        description="Print versions, devices, threads, and which optional parts are installed.",
    )
    doctor.set_defaults(run=_doctor)


def _doctor(args: argparse.Namespace) -> int:
    import torch

    from proximo.core.engines.native.library import status
    from proximo.runs.provenance import hardware, versions

    print("versions")
    for name, number in versions().items():
        print(f"  {name} {number}")
    machine = hardware()
    print("machine")
    for key in ("system", "processor", "cores", "memory_gib"):
        print(f"  {key} {machine[key]}")
    print(f"  gpus {', '.join(machine['gpus']) or 'none'}")
    mps = "; mps is available" if torch.backends.mps.is_available() else ""
    print(f"  device auto means {'cuda' if torch.cuda.is_available() else 'cpu'}{mps}")
    print(f"  torch threads {torch.get_num_threads()} (Proximo uses one for small networks, see `threads`)")
    print(f"  native kernels {status()}")
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    print(f"  display {display or 'none: `proximo play` needs --video'}")
    print("extras")
    for extra in extras():
        lacking = missing(extra)
        cure = f"missing {', '.join(lacking)}: pip install 'proximo[{extra}]'" if lacking else "installed"
        print(f"  {extra} {cure}")
    return 0


def extras() -> list[str]:
    """The optional parts that `pip install 'proximo[NAME]'` knows, without `all`."""
    found = [_EXTRA.search(line) for line in requires("proximo") or []]
    return list(dict.fromkeys(m[1] for m in found if m and m[1] != "all"))


_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")
_NAME = re.compile(r"^([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?")


def missing(extra: str, package: str = "proximo") -> list[str]:
    """The distributions that an extra of a package needs and that are not installed."""
    lacking: list[str] = []
    for line in requires(package) or []:
        wanted, named = _EXTRA.search(line), _NAME.match(line)
        if wanted is None or wanted[1] != extra or named is None:
            continue
        name, inner = named[1], named[2]
        try:
            version(name)
        except PackageNotFoundError:
            lacking.append(name)
            continue
        for part in (inner or "").split(","):
            lacking.extend(missing(part.strip(), name) if part else [])
    return lacking
