"""What wrappers show of many clients at once: for the batch backend, and for agents that are judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy.typing as npt

from proximo.config.experiment import Wrapper
from proximo.core.types import PLAIN_KEY
from proximo.envs.therapy.clients import Clients, Rows
from proximo.envs.therapy.omniscient import Omniscient, hidden
from proximo.envs.therapy.summary import Summary, vector

Sight = Callable[[Clients, Rows], Mapping[str, npt.NDArray[Any]]]
"""The observation of some clients, `[K, ...]` per key."""
OMNISCIENT = f"{Omniscient.__module__}:{Omniscient.__name__}"
SUMMARY = f"{Summary.__module__}:{Summary.__name__}"
KNOWN = {OMNISCIENT: Omniscient, SUMMARY: Summary}
"""Wrappers that have a sight, by their names in a configuration."""
_KWARGS: dict[str, tuple[str, ...]] = {OMNISCIENT: (), SUMMARY: ("omniscient",)}


def refuses(wrappers: Sequence[Wrapper]) -> str | None:
    """Why there is no sight for these wrappers; None where there is."""
    strange = [w.name for w in wrappers if w.name not in KNOWN or set(w.kwargs) - set(_KWARGS[w.name])]
    if strange or len(wrappers) > 1:
        return f"of env.wrappers it takes one of {' and '.join(KNOWN)}"
    return None


def sight_of(wrappers: Sequence[Wrapper]) -> Sight:
    """The sight that these wrappers give; `refuses` must be None."""
    if not wrappers:
        return Clients.observe
    if wrappers[0].name == OMNISCIENT:
        return lambda clients, rows: {**clients.observe(rows), **hidden(clients, rows)}
    omniscient = bool(wrappers[0].kwargs.get("omniscient", False))
    return lambda clients, rows: {PLAIN_KEY: vector(clients, rows, omniscient)}
