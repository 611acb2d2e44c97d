"""What the therapist sees as one short vector: plain dense networks read it, and the kernels run those.

Shapes: `K` clients.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from proximo.envs.hashing import Ints
from proximo.envs.therapy import mechanisms as mech
from proximo.envs.therapy.clients import ALL, Clients, Rows
from proximo.envs.therapy.env import TherapyEnv
from proximo.envs.therapy.octants import NOBODY, OCTANTS, Octets
from proximo.errors import UserError

Numbers = npt.NDArray[np.float32]
LATELY = 15
"""Pairs of which the therapist's octants are counted apart: a client's habit, as far as the therapist can know."""
SEEN = OCTANTS + 1 + OCTANTS * OCTANTS + OCTANTS
HIDDEN = OCTANTS * OCTANTS + OCTANTS + 2 + 2 * OCTANTS
"""Width of what is seen and of what is hidden."""
_ONE_HOT = np.eye(OCTANTS, dtype=np.float32)


def seen(clients: Clients, rows: Rows = ALL) -> Numbers:
    """`[K, SEEN]`, a function of the observation alone; all in [0, 1].

    In this order: the client's octant (one-hot); the share of sessions used; how often each pair occurs in the
    history, and each octant of the therapist in its latest `LATELY` pairs, as shares of what these could hold.
    """
    history, session = clients.history[rows], clients.session[rows]
    client, therapist = history[:, ::2], history[:, 1::2]
    width, cells = client.shape[1], OCTANTS**2
    age = np.arange(width + 1)[:, None] - np.arange(width)
    lately = ((age > 0) & (age <= LATELY))[np.minimum(session, width)]
    result = np.zeros((len(history), SEEN), np.float32)
    result[np.arange(len(history)), clients.action[rows]] = 1.0
    result[:, OCTANTS] = session / clients.number("max_sessions", rows)
    after = OCTANTS + 1 + cells
    # One level more than is kept: for what has not been yet.
    result[:, OCTANTS + 1 : after] = _count(np.minimum(OCTANTS * client + therapist, cells), cells) / width
    result[:, after:] = _count(np.where(lately, therapist, np.uint8(NOBODY)), OCTANTS) / LATELY
    return result


def known(clients: Clients, rows: Rows = ALL) -> Numbers:
    """`[K, HIDDEN]`, what only the simulation knows.

    In this order: U from the client's worst (0) to its best (1), and its row of the octant shown; satisfaction
    likewise; bond; the share of each therapist's octant in the client's memory, by weight; its habit (one-hot).
    """
    low, high = clients.rs_min[rows, None, None], clients.rs_max[rows, None, None]
    utility = (clients.utility[rows] - low) / (high - low)
    # As the mechanisms: sums in a fixed order, whatever the number of clients.
    weights = mech.pair_weights(clients.memory[rows], clients.weight)
    shares = sum(weights[:, i] for i in range(OCTANTS)) / clients.weight.sum()
    parts = (
        utility.reshape(len(utility), OCTANTS**2),
        utility[np.arange(len(utility)), clients.action[rows]],
        clients.progress[rows, None],
        clients.bond[rows, None],
        shares,
        _ONE_HOT[clients.habit(rows)],
    )
    return np.concatenate(parts, axis=1).astype(np.float32)


def _count(codes: Octets, levels: int) -> Ints:
    """How often each of `levels` occurs in every row; the code `levels` itself is left out."""
    rows = len(codes)
    numbered = codes + (np.arange(rows) * (levels + 1))[:, None]
    counts = np.bincount(numbered.ravel(), minlength=rows * (levels + 1))
    return counts.reshape(rows, levels + 1)[:, :levels]


class Summary(gym.ObservationWrapper[Numbers, Any, dict[str, Any]]):
    """The observation of `proximo/Therapy-v0` as one vector (`seen`), with `omniscient` also what is hidden (`known`).

    In a configuration: `env.wrappers: [{name: "proximo.envs.therapy.summary:Summary"}]`; the batch backend knows
    this wrapper. Raises UserError around any other environment.
    """

    def __init__(self, env: gym.Env[Any, Any], omniscient: bool = False) -> None:
        super().__init__(env)
        inner = env.unwrapped
        if not isinstance(inner, TherapyEnv):
            raise UserError(f"Summary wraps proximo/Therapy-v0, not {type(inner).__name__}")
        self._clients, self._omniscient = inner.clients, omniscient
        self.observation_space = spaces.Box(0.0, 1.0, (SEEN + omniscient * HIDDEN,), np.float32)

    def observation(self, observation: Any) -> Numbers:
        """`[F]`."""
        row: Numbers = vector(self._clients, ALL, self._omniscient)[0]
        return row


def vector(clients: Clients, rows: Rows, omniscient: bool) -> Numbers:
    """`[K, F]`: what a `Summary` shows of some clients."""
    shown = seen(clients, rows)
    return np.concatenate([shown, known(clients, rows)], axis=1) if omniscient else shown
