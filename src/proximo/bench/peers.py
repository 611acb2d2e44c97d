"""The peers: which there are, what they can do, where their scripts are."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from proximo.errors import UserError

SCRIPTS = Path("benchmarks") / "peers"
_CARTPOLE = frozenset({"W1", "W1-vector", "W1-sync"})
_CHEETAH = frozenset(f"W2{kind}{how}" for kind in "ab" for how in ("", "-64", "-threads", "-envpool"))
_ALL = _CARTPOLE | _CHEETAH | {"W3", "W4", "W5"}


@dataclass(frozen=True)
class Peer:
    """A library (or a script of ours) to compare with."""

    name: str
    script: str
    distribution: str | None
    """What must be installed; None: a script of ours that needs only what Proximo does."""
    workloads: frozenset[str]
    torch: bool = True
    """Counts for the ratio; those outside of PyTorch are shown beside it."""


PEERS = {
    peer.name: peer
    for peer in (
        Peer("sb3", "sb3_peer.py", "stable-baselines3", _ALL),
        Peer("cleanrl", "cleanrl_style.py", None, _ALL),
        Peer("skrl", "skrl_peer.py", "skrl", _CARTPOLE | _CHEETAH | {"W3", "W5"}),
        Peer("rl_games", "rl_games_peer.py", "rl-games", _CARTPOLE | _CHEETAH),
        Peer("rsl_rl", "rsl_rl_peer.py", "rsl-rl-lib", _CHEETAH),
        Peer("tianshou", "tianshou_peer.py", "tianshou", _CARTPOLE | _CHEETAH | {"W5"}),
        Peer("sample_factory", "sample_factory_peer.py", "sample-factory", _CARTPOLE | {"W3"}),
        Peer("jax", "jax_style.py", "jax", _CARTPOLE, torch=False),
    )
}


def find_scripts(folder: Path | None = None) -> Path:
    """The folder of the peers' scripts: as given, of this checkout, or below the working directory."""
    checkout = Path(__file__).resolve().parents[3]
    places = [folder] if folder else [checkout / SCRIPTS, Path.cwd() / SCRIPTS]
    for place in places:
        if (place / "cleanrl_style.py").is_file():
            return place.absolute()
    raise UserError(
        f"the peers' scripts ({SCRIPTS}) are only in the source repository: run there, or use --peers none"
    )


def installed(python: str) -> dict[str, str]:
    """Distribution → version of everything that an interpreter has; UserError where it does not run."""
    code = (
        "import importlib.metadata as m, json;"
        "print(json.dumps({d.metadata['Name'].lower().replace('_', '-'): d.version for d in m.distributions()}))"
    )
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError(f"--python {python}: does not run ({error})") from error
    found: dict[str, str] = json.loads(done.stdout)
    return found


def choose(names: list[str] | None, have: dict[str, str]) -> tuple[list[Peer], list[str]]:
    """The peers of these names (default: every installed one), and one line for each that is left out.

    Raises: UserError for a peer that does not exist, or was asked for and is not installed.
    """
    if names == ["none"]:
        return [], []
    chosen, absent = [], []
    for name in names or PEERS:
        if name not in PEERS:
            raise UserError(f"{name}: no such peer; there are {', '.join(PEERS)}, or none")
        peer = PEERS[name]
        if peer.distribution is None or peer.distribution in have:
            chosen.append(peer)
        elif names:
            raise UserError(
                f"{name}: not installed: pip install {peer.distribution} (or name another --python)"
            )
        else:
            absent.append(f"{name}: not installed (pip install {peer.distribution})")
    return chosen, absent
