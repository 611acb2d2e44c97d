"""Uniform numbers as a hash of their own coordinates, in NumPy: what `core.rng` does for tensors.

The mixing is the 64-bit finaliser of splitmix64 (Steele, Lea & Flood 2014), applied once per coordinate, so the
numbers of a row do not depend on which other rows are drawn with it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

STEP, _M1, _M2 = (np.uint64(x) for x in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def mix(x: Words) -> Words:
    """The finaliser of splitmix64, elementwise."""
    x = (x ^ (x >> np.uint64(30))) * _M1
    x = (x ^ (x >> np.uint64(27))) * _M2
    return x ^ (x >> np.uint64(31))


def coordinate(index: Ints) -> Words:
    """What an index (-1 or more) adds to a hash before it is mixed."""
    return (index + 1).astype(np.uint64) * STEP


def uniforms(words: Words, lanes: int) -> Floats:
    """`[K, lanes]` uniforms in [0, 1) of 53 bits from `[K]` mixed words."""
    lane = np.arange(1, lanes + 1, dtype=np.uint64) * STEP
    return (mix(words[:, None] + lane) >> np.uint64(11)).astype(np.float64) * 2.0**-53
