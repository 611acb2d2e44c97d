"""Every number of the simulation, checked: keyword arguments of `proximo/Therapy-v0` and what curricula change."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from proximo.config.registry import nearest
from proximo.envs.hashing import Floats
from proximo.errors import UserError

MECHANISMS = (
    "bond_only",
    "frequency_amplifier",
    "conditional_amplifier",
    "bond_weighted_frequency_amplifier",
    "bond_weighted_conditional_amplifier",
)
PATTERNS = (
    "cold_stuck",
    "dominant_stuck",
    "submissive_stuck",
    "mixed_random",
    "cold_warm",
    "complementary_perfect",
    "conflictual",
)
STRUCTURE = ("memory_size", "history_pairs")
"""What fixes the shapes of arrays and observations: given once, not changed between episodes."""


@dataclass(frozen=True)
class Parameters:
    """All parameters with their defaults; raises UserError, naming the parameter, for values without meaning."""

    patterns: tuple[str, ...] = PATTERNS[:5]
    """Initial memories; one is drawn per episode."""
    mechanism: str = "frequency_amplifier"
    """How the client's memory shapes what it expects."""
    threshold: float = 0.9
    """Success: satisfaction has come this far from the client's worst to its best utility; in (0, 1]."""
    max_sessions: int = 100
    """Sessions after which the episode is truncated."""
    entropy: float = 0.5
    """Temperature of the client's choice, in units of utility."""
    history_weight: float = 1.0
    """How strongly frequencies in the memory amplify utilities."""
    bond_alpha: float = 5.0
    """Half the steepness of the bond's sigmoid."""
    bond_offset: float = 0.7
    """Normalised satisfaction at which the bond is one half."""
    bond_power: float = 1.0
    """Exponent of the bond in the bond-weighted mechanisms."""
    enable_perception: bool = True
    """Parataxic distortion: the client may perceive what it is used to instead of what the therapist does."""
    baseline_accuracy: float = 0.5
    """Probability of perceiving truly."""
    perception_window: int = 15
    """Latest memories whose most frequent therapist octant is perceived otherwise."""
    laplace: float = 0.1
    """Added to each cell of the conditional mechanisms' counts."""
    utility_width: float = 20.0
    """Width of the range that each utility is drawn from."""
    dropout_session: int = 10
    """Session after which a client whose satisfaction has fallen since the start drops out; 0: never."""
    success_reward: float = 100.0
    """Reward of a success."""
    session_bonus: float = 2.0
    """Added to it for every session left."""
    dropout_reward: float = -150.0
    """Reward of a dropout."""
    memory_size: int = 50
    """Pairs that the client remembers."""
    history_pairs: int = 25
    """Pairs that the observation shows."""

    def __post_init__(self) -> None:
        # A frozen dataclass is set so; only here, before anybody has seen it.
        object.__setattr__(self, "patterns", _names("patterns", self.patterns, PATTERNS))
        if self.mechanism not in MECHANISMS:
            raise UserError(f"mechanism: {_unknown(self.mechanism, MECHANISMS)}")
        if not isinstance(self.enable_perception, (bool, np.bool_)):
            raise UserError(f"enable_perception must be true or false, not {self.enable_perception!r}")
        for name, (low, high, allowed) in _RANGES.items():
            value = getattr(self, name)
            kind = int if name in _WHOLE else float
            if not _is_number(value, kind) or not low <= value <= high:
                raise UserError(f"{name} must be {allowed}, not {value!r}")
            object.__setattr__(self, name, kind(value))
        if self.history_pairs > self.memory_size:
            raise UserError(
                f"history_pairs: {self.history_pairs} pairs are longer than the client's memory of "
                f"{self.memory_size}; lower it or raise memory_size"
            )
        if self.perception_window > self.memory_size:
            raise UserError(
                f"perception_window: {self.perception_window} is longer than the client's memory of "
                f"{self.memory_size}; lower it or raise memory_size"
            )

    def changed(self, changes: Mapping[str, Any]) -> Parameters:
        """A copy with some parameters changed; raises UserError for unknown names and what fixes shapes."""
        check_names(changes)
        for name in STRUCTURE:
            if name in changes and changes[name] != getattr(self, name):
                raise UserError(f"{name} fixes the shape of observations; it cannot be changed while running")
        return replace(self, **changes)

    def column(self) -> Floats:
        """The numbers of one client, `[len(COLUMNS)]`; the mechanism as its index."""
        values = [getattr(self, name) for name in COLUMNS[:-1]]
        return np.array([*values, MECHANISMS.index(self.mechanism)], np.float64)


def parameters_of(given: Mapping[str, Any]) -> Parameters:
    """Parameters from keyword arguments; raises UserError for an unknown one, naming the nearest."""
    check_names(given)
    return Parameters(**given)


def check_names(given: Iterable[str]) -> None:
    """Raises UserError for the first name that is no parameter."""
    known = [field.name for field in fields(Parameters)]
    for name in given:
        if name not in known:
            raise UserError(
                f"{name}: the therapy client has no such parameter{nearest(name, known)} "
                f"(it has {', '.join(known)})"
            )


_MANY = 1_000_000
_HUGE = 1e6
_RANGES: dict[str, tuple[float, float, str]] = {
    "threshold": (1e-9, 1.0, "a number in (0, 1]"),
    "max_sessions": (1, _MANY, "a whole number of 1 or more"),
    "entropy": (1e-6, _HUGE, "a positive number (1e-6 to 1e6)"),
    "history_weight": (0.0, _HUGE, "a number of 0 or more"),
    "bond_alpha": (0.0, _HUGE, "a number of 0 or more"),
    "bond_offset": (-_HUGE, _HUGE, "a finite number"),
    "bond_power": (0.0, _HUGE, "a number of 0 or more"),
    "baseline_accuracy": (0.0, 1.0, "a probability, 0 to 1"),
    "perception_window": (1, 40, "a whole number from 1 to 40"),
    "laplace": (1e-9, _HUGE, "a positive number"),
    "utility_width": (0.0, _HUGE, "a number of 0 or more"),
    "dropout_session": (0, _MANY, "a whole number of 0 or more"),
    "success_reward": (-_HUGE, _HUGE, "a finite number"),
    "session_bonus": (-_HUGE, _HUGE, "a finite number"),
    "dropout_reward": (-_HUGE, _HUGE, "a finite number"),
    "memory_size": (2, 10_000, "a whole number of 2 or more (10,000 at most)"),
    "history_pairs": (1, 10_000, "a whole number of 1 or more"),
}
_WHOLE = ("max_sessions", "perception_window", "dropout_session", "memory_size", "history_pairs")
COLUMNS = (
    *(name for name in _RANGES if name not in (*STRUCTURE, "utility_width")),
    "enable_perception",
    "mechanism",
)
"""Parameters kept per client, so that a change counts from each one's next episode on."""


def _is_number(value: Any, kind: type) -> bool:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        return False
    return math.isfinite(value) and (kind is float or float(value).is_integer())


def _names(where: str, given: Any, known: tuple[str, ...]) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else ()
    if not names:
        raise UserError(f"{where} must name one or more of {', '.join(known)}, not {given!r}")
    for name in names:
        if name not in known:
            raise UserError(f"{where}: {_unknown(name, known)}")
        if names.count(name) > 1:
            raise UserError(f"{where}: {name} is named twice")
    return names


def _unknown(name: Any, known: tuple[str, ...]) -> str:
    return f"{name!r} is none of {', '.join(known)}{nearest(str(name), list(known))}"
