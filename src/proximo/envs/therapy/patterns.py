"""What a client remembers when it comes: 50 pairs, drawn after one of seven patterns.

Shapes: `K` clients, `M` remembered pairs.
"""

from __future__ import annotations

import numpy as np

from proximo.envs.hashing import Floats, Ints
from proximo.envs.therapy.octants import COMPLEMENT, OCTANTS, Octets
from proximo.envs.therapy.parameters import PATTERNS

STUCK = {
    "cold_stuck": ((5, 6, 7), (1, 2, 3)),
    "dominant_stuck": ((0, 1, 7), (0, 1, 7)),
    "submissive_stuck": ((3, 4, 5), (3, 4, 5)),
}
"""The octants a client is stuck in, and those of therapists who answer it anticomplementarily."""
FIXED = {"cold_warm": (6, 2), "conflictual": (0, 0)}
PERFECT = (((1, 2, 3), 0.0, 0.7), ((0, 4), 0.7, 0.9), ((5, 6, 7), 0.9, 1.0))
"""Octants of a client whose past was complementary, and the range of a uniform number that picks them."""
STAYS = 0.8
LANES = 3
"""Uniform numbers that one pair is made of."""


def memories(pattern: Ints, u: Floats) -> Octets:
    """`[K, M]` pairs 8 · client + therapist, oldest first, from pattern indices `[K]` and uniforms `[K, M, LANES]`."""
    pairs = np.empty(u.shape[:2], np.uint8)
    for index in np.unique(pattern):
        rows = pattern == index
        client, therapist = _pairs(PATTERNS[index], u[rows])
        pairs[rows] = OCTANTS * client + therapist
    return pairs


def _pairs(name: str, u: Floats) -> tuple[Ints, Ints]:
    if name in FIXED:
        both = FIXED[name]
        return np.full(u.shape[:2], both[0]), np.full(u.shape[:2], both[1])
    if name == "complementary_perfect":
        client: Ints = np.zeros(u.shape[:2], np.int64)
        for octants, begin, end in PERFECT:
            client = np.where((begin <= u[..., 0]) & (u[..., 0] < end), _one_of(octants, u[..., 1]), client)
        return client, COMPLEMENT[client]
    anywhere = _one_of(tuple(range(OCTANTS)), u[..., 1])
    answer = _one_of(tuple(range(OCTANTS)), u[..., 2])
    if name == "mixed_random":
        return anywhere, answer
    stuck, anticomplement = STUCK[name]
    client = np.where(u[..., 0] < STAYS, _one_of(stuck, u[..., 1]), anywhere)
    # Also where it came there by the even draw: the octant decides, not how it was drawn.
    return client, np.where(np.isin(client, stuck), _one_of(anticomplement, u[..., 2]), answer)


def _one_of(octants: tuple[int, ...], u: Floats) -> Ints:
    return np.array(octants)[(u * len(octants)).astype(np.int64)]
