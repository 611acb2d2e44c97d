"""N simulated clients as one array program; the environment for one client is a batch of one.

A session: the client has shown an octant, the therapist answers, the client perceives (truly or out of habit),
remembers, feels how satisfied it is, and shows its next octant. Shapes: `N` clients, `K` of them, `M` memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from proximo.envs.hashing import Floats, Ints
from proximo.envs.therapy import mechanisms as mech
from proximo.envs.therapy.chance import Stream, draw, draw_one
from proximo.envs.therapy.octants import NOBODY, OCTANTS, UTILITY_LOW, Octets
from proximo.envs.therapy.parameters import COLUMNS, PATTERNS, Parameters
from proximo.envs.therapy.patterns import LANES, memories

Bools = npt.NDArray[np.bool_]
Rows = slice | Ints
ALL = slice(None)
_COLUMN = {name: index for index, name in enumerate(COLUMNS)}
_SAVED = (
    *("seed", "session", "pattern", "action", "utility", "memory", "history", "numbers", "rs", "bond"),
    *("rs_min", "rs_max", "initial_rs", "initial_bond", "last_actual", "last_perceived"),
)


@dataclass(frozen=True)
class Outcome:
    """What one session came to, `[N]` each."""

    reward: Floats
    client: Ints
    """The octant that the therapist answered."""
    therapist: Ints
    perceived: Ints
    session: Ints
    rs: Floats
    bond: Floats
    progress: Floats
    """Satisfaction between the client's worst (0) and best utility (1), after the session."""
    progress_before: Floats
    success: Bools
    dropped_out: Bools
    max_reached: Bools
    """Truncated: neither success nor dropout in the sessions there were."""

    @property
    def ended(self) -> Bools:
        """Which episodes are over."""
        return self.success | self.dropped_out | self.max_reached


class Clients:
    """The state of N clients; `begin` before `step`.

    Public arrays are `[N, ...]` and belong to this object: read them, copy what you keep. `parameters` are those
    of episodes that begin from now on; running ones keep theirs.
    """

    def __init__(self, count: int, parameters: Parameters) -> None:
        self.parameters = parameters
        self.count = count
        self.weight = mech.recency(parameters.memory_size)
        self._total = float(self.weight.sum())
        self.seed, self.session, self.pattern, self.action = (np.zeros(count, np.int64) for _ in range(4))
        self.utility: Floats = np.zeros((count, OCTANTS, OCTANTS))
        self.memory = np.zeros((count, parameters.memory_size), np.uint8)
        self.history = np.full((count, 2 * parameters.history_pairs), NOBODY, np.uint8)
        self.last_actual, self.last_perceived = (np.full(count, NOBODY) for _ in range(2))
        self.rs, self.bond, self.initial_rs, self.initial_bond = (np.zeros(count) for _ in range(4))
        self.rs_min, self.rs_max = np.zeros(count), np.ones(count)
        # One row per parameter, so that a parameter of all clients lies together.
        self.numbers: Floats = np.tile(parameters.column()[:, None], (1, count))

    def number(self, name: str, rows: Rows = ALL) -> Floats:
        """A parameter of the running episodes, `[K]`; one of `COLUMNS`."""
        return self.numbers[_COLUMN[name], rows]

    @property
    def progress(self) -> Floats:
        """Satisfaction from the client's worst (0) to its best utility (1), `[N]`."""
        return (self.rs - self.rs_min) / (self.rs_max - self.rs_min)

    @property
    def max_sessions(self) -> Floats:
        """Sessions of each running episode, `[N]`."""
        return self.number("max_sessions")

    def begin(self, seeds: Ints, rows: Rows = ALL) -> None:
        """New clients in `rows`, each a function of its seed `[K]` and of `parameters`."""
        p, first = self.parameters, np.zeros(len(seeds), np.int64)
        self.seed[rows], self.session[rows] = seeds, 0
        self.numbers[:, rows] = p.column()[:, None]
        u = draw(seeds, Stream.MATRIX, first, OCTANTS * OCTANTS).reshape(-1, OCTANTS, OCTANTS)
        utility = UTILITY_LOW + p.utility_width * u
        self.utility[rows] = utility
        self.rs_min[rows], self.rs_max[rows] = utility.min(axis=(1, 2)), utility.max(axis=(1, 2))
        u = draw(seeds, Stream.MEMORY, first, 1 + LANES * p.memory_size)
        listed = np.array([PATTERNS.index(name) for name in p.patterns])
        self.pattern[rows] = pattern = listed[(u[:, 0] * len(listed)).astype(np.int64)]
        self.memory[rows] = memories(pattern, u[:, 1:].reshape(-1, p.memory_size, LANES))
        self.history[rows] = self.last_actual[rows] = self.last_perceived[rows] = NOBODY
        weights = self._feel(rows)
        self.initial_rs[rows], self.initial_bond[rows] = self.rs[rows], self.bond[rows]
        self._show(weights, rows)

    def step(self, therapist: Ints) -> Outcome:
        """One session of every client with the therapist's octants `[N]` (0 to 7; not checked here)."""
        client, before = self.action.copy(), self.progress
        perceived = self._perceive(therapist)
        self.memory[:, :-1] = self.memory[:, 1:]
        self.memory[:, -1] = OCTANTS * client + perceived
        self.session += 1
        self._remember(client, therapist)
        self.last_actual[:], self.last_perceived[:] = therapist, perceived
        weights = self._feel(ALL)
        self._show(weights, ALL)
        return self._outcome(client, therapist, perceived, before)

    def observe(self, rows: Rows = ALL) -> dict[str, npt.NDArray[Any]]:
        """What the therapist sees: fresh arrays `[K, ...]` in the types of the observation space."""
        share = self.session[rows] / self.number("max_sessions", rows)
        return {
            "client_action": self.action[rows].copy(),
            "history": self.history[rows].astype(np.int64),
            "session_number": share.astype(np.float32)[:, None],
        }

    def foresee(self, perceived: Ints) -> tuple[Floats, Floats]:
        """If the octants `[N]` were perceived now: satisfaction `[N]`, probability of each next octant `[8, N]`."""
        newest = (OCTANTS * self.action + perceived).astype(np.uint8)
        memory = np.concatenate([self.memory[:, 1:], newest[:, None]], axis=1)
        weights, rs, trust = self._feeling(memory, ALL)
        chances = self._choices(weights, trust, ALL)
        return rs, chances / np.cumsum(chances, axis=0)[-1]

    def habit(self, rows: Rows = ALL) -> Ints:
        """What some clients perceive where they do not perceive truly, `[K]`."""
        memory, windows = self.memory[rows], self.number("perception_window", rows)
        habit = np.zeros(len(memory), np.int64)
        for window in mech.distinct(windows):
            some = windows == window
            habit[some] = mech.habitual(memory[some], int(window))
        return habit

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Copies of all arrays; what is derived from them is left out."""
        return {name: getattr(self, name).copy() for name in _SAVED}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on exactly where `state_dict` was taken, with as many clients and the same shapes."""
        for name in _SAVED:
            getattr(self, name)[...] = state[name]

    def _perceive(self, therapist: Ints) -> Ints:
        u = draw_one(self.seed, Stream.PERCEPTION, self.session)
        sure = (self.number("enable_perception") == 0) | (u < self.number("baseline_accuracy"))
        perceived = therapist.astype(np.int64)
        unsure = np.flatnonzero(~sure)
        perceived[unsure] = self.habit(unsure)
        return perceived

    def _remember(self, client: Ints, therapist: Ints) -> None:
        # What really happened, unlike the client's own memory.
        at = 2 * (self.session - 1)
        width = self.history.shape[1]
        full = np.flatnonzero(at >= width)
        if len(full):
            self.history[full, :-2] = self.history[full, 2:]
            at = np.minimum(at, width - 2)
        rows = np.arange(self.count)
        self.history[rows, at], self.history[rows, at + 1] = client, therapist

    def _feeling(self, memory: Octets, rows: Rows) -> tuple[Floats, Floats, Floats]:
        weights = mech.pair_weights(memory, self.weight)
        rs = mech.satisfaction(self.utility[rows], weights, self._total)
        alpha, offset = self.number("bond_alpha", rows), self.number("bond_offset", rows)
        return weights, rs, mech.bond(rs, self.rs_min[rows], self.rs_max[rows], alpha, offset)

    def _feel(self, rows: Rows) -> Floats:
        weights, self.rs[rows], self.bond[rows] = self._feeling(self.memory[rows], rows)
        return weights

    def _choices(self, weights: Floats, trust: Floats, rows: Rows) -> Floats:
        codes, utility = self.number("mechanism", rows), self.utility[rows]
        k, power = self.number("history_weight", rows), self.number("bond_power", rows)
        laplace = self.number("laplace", rows)
        found = mech.distinct(codes)
        payoff = np.empty((OCTANTS, len(codes)))
        for code in found:
            some: Rows = ALL if len(found) == 1 else np.flatnonzero(codes == code)
            gain = mech.amplification(int(code), k[some], trust[some], power[some])
            expected = mech.expectation(
                int(code), utility[some], weights[some], self._total, gain, laplace[some]
            )
            payoff[:, some] = mech.payoffs(expected, trust[some])
        return mech.choice_weights(payoff, self.number("entropy", rows))

    def _show(self, weights: Floats, rows: Rows) -> None:
        u = draw_one(self.seed[rows], Stream.CLIENT, self.session[rows])
        self.action[rows] = mech.choose(self._choices(weights, self.bond[rows], rows), u)

    def _outcome(self, client: Ints, therapist: Ints, perceived: Ints, before: Floats) -> Outcome:
        number, session = self.number, self.session
        dropped = (session == number("dropout_session")) & (self.rs < self.initial_rs)
        goal = self.rs_min + number("threshold") * (self.rs_max - self.rs_min)
        success = (self.rs >= goal) & ~dropped
        left = number("max_sessions") - session
        reward = np.where(success, number("success_reward") + number("session_bonus") * left, 0.0)
        reward = np.where(dropped, number("dropout_reward"), reward)
        return Outcome(
            reward=reward,
            client=client,
            therapist=therapist,
            perceived=perceived,
            session=session.copy(),
            rs=self.rs.copy(),
            bond=self.bond.copy(),
            progress=self.progress,
            progress_before=before,
            success=success,
            dropped_out=dropped,
            max_reached=(left <= 0) & ~success & ~dropped,
        )
