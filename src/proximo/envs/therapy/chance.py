"""The simulation's random numbers: a function of (episode's seed, stream, session, lane).

So a client is the same alone, in a batch, after a resume and under another therapist.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from proximo.envs.hashing import Floats, Ints, coordinate, mix, uniforms


class Stream(IntEnum):
    """Independent of each other: a longer memory, say, leaves the matrix and the client's choices as they are."""

    MATRIX = 1
    MEMORY = 2
    CLIENT = 3
    PERCEPTION = 4
    THERAPIST = 5
    """For scripted therapists, so that theirs move nothing of the client's."""


_STREAM_STEP = 0xD1B54A32D192ED03
_OFFSETS = {stream: np.uint64(stream * _STREAM_STEP % 2**64) for stream in Stream}


def draw(seeds: Ints, stream: Stream, session: Ints, lanes: int) -> Floats:
    """`[K, lanes]` uniforms in [0, 1) for the episodes `seeds` `[K]` at their sessions `[K]`."""
    return uniforms(mix(mix(coordinate(seeds) + _OFFSETS[stream]) + coordinate(session)), lanes)


def draw_one(seeds: Ints, stream: Stream, session: Ints) -> Floats:
    """`[K]` uniforms: lane 0 of `draw`."""
    return draw(seeds, stream, session, 1)[:, 0]
