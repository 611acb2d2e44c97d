"""Scripted therapists and how good one is: the same clients for each, so that comparisons are paired."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from proximo.config.registry import nearest
from proximo.envs.hashing import Floats, Ints
from proximo.envs.therapy.chance import Stream, draw_one
from proximo.envs.therapy.clients import Bools, Clients
from proximo.envs.therapy.octants import COMPLEMENT, OCTANTS, WARM
from proximo.envs.therapy.parameters import Parameters
from proximo.errors import UserError

Therapist = Callable[[Clients], Ints]
"""Answers every client `[N]` with an octant; it may look at all that the simulation knows, and changes nothing."""


def random(clients: Clients) -> Ints:
    """Any octant; drawn from the client's seed and session, so it is the same in every comparison."""
    u = draw_one(clients.seed, Stream.THERAPIST, clients.session)
    return (u * OCTANTS).astype(np.int64)


def complement(clients: Clients) -> Ints:
    """Always the complement of what the client shows."""
    return COMPLEMENT[clients.action]


def warm(clients: Clients) -> Ints:
    """Always warm."""
    return np.full(clients.count, WARM)


def omniscient(clients: Clients) -> Ints:
    """The answer that is worth most to this very client, by its true matrix.

    A reference, not a bound. Looking a session further through memory and mechanism (`Clients.foresee`) chose
    almost always the same; a few sampled futures per answer were too noisy and did worse.
    """
    answered = clients.utility[np.arange(clients.count), clients.action]
    chosen: Ints = answered.argmax(axis=1)
    return chosen


THERAPISTS: dict[str, Therapist] = {
    "random": random,
    "complement": complement,
    "warm": warm,
    "omniscient": omniscient,
}
"""Scripted therapists by name."""


@dataclass(frozen=True)
class Judgement:
    """How a therapist did, one entry per client, in the order of the seeds."""

    seeds: Ints
    success: Bools
    dropped_out: Bools
    sessions: Ints
    returns: Floats
    pattern: Ints
    """Index in `PATTERNS`."""
    complementary: Floats
    """Share of a client's sessions that were answered with the complement."""
    treated: Ints
    """Clients whose first, second, … session took place, one entry per session."""
    complements: Ints
    """Of these, how many were answered with the complement."""

    @property
    def success_rate(self) -> float:
        """Share of successes."""
        return float(self.success.mean())

    @property
    def dropout_rate(self) -> float:
        """Share of dropouts."""
        return float(self.dropped_out.mean())


def therapist(name: str) -> Therapist:
    """The scripted therapist of this name; raises UserError for an unknown one."""
    if name not in THERAPISTS:
        raise UserError(
            f"therapist {name!r} is none of {', '.join(THERAPISTS)}{nearest(name, list(THERAPISTS))}"
        )
    return THERAPISTS[name]


def judge(who: Therapist | str, clients: int | Ints, parameters: Parameters | None = None) -> Judgement:
    """Let a therapist treat one episode with each client: seeds 0 to `clients` - 1, or the given seeds `[N]`.

    The same seeds are the same clients whoever treats them. Those that have ended stay in the batch, uncounted.
    """
    acts = therapist(who) if isinstance(who, str) else who
    seeds = np.arange(clients) if isinstance(clients, int) else np.asarray(clients, np.int64)
    batch = Clients(len(seeds), Parameters() if parameters is None else parameters)
    batch.begin(seeds)
    n = len(seeds)
    pattern = batch.pattern.copy()
    success, dropped, over = (np.zeros(n, np.bool_) for _ in range(3))
    sessions, complementary, returns = np.zeros(n, np.int64), np.zeros(n), np.zeros(n)
    course: list[tuple[int, int]] = []
    while not over.all():
        outcome = batch.step(acts(batch))
        now = ~over
        sessions += now
        answered = now & (outcome.therapist == COMPLEMENT[outcome.client])
        complementary += answered
        course.append((int(now.sum()), int(answered.sum())))
        returns += np.where(now, outcome.reward, 0.0)
        success |= now & outcome.success
        dropped |= now & outcome.dropped_out
        over |= outcome.ended
    treated, complements = np.array(course).T
    return Judgement(
        seeds, success, dropped, sessions, returns, pattern, complementary / sessions, treated, complements
    )
