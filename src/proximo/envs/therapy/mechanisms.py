"""From memory to behaviour: satisfaction, bond, expectation, choice, perception; pure functions of arrays.

Shapes: `K` clients, `M` remembered pairs. A row's numbers are bit for bit the same whatever `K`: sums run in a
fixed order, never in one that NumPy chooses by the shape.
"""

from __future__ import annotations

import numpy as np

from proximo.envs.hashing import Floats, Ints
from proximo.envs.therapy.octants import OCTANTS, Octets

PAIRS = OCTANTS * OCTANTS


def distinct(values: Floats) -> Floats:
    """The values that occur; quick where it is one."""
    return values[:1] if (values == values[:1]).all() else np.unique(values)


def recency(memory_size: int) -> Floats:
    """Weight of each remembered pair, `[M]`: 1 for the oldest, 2 for the newest, growing as a square root."""
    return 1.0 + np.sqrt(np.arange(memory_size) / (memory_size - 1))


def pair_weights(memory: Octets, weight: Floats) -> Floats:
    """Summed weight of every (client, therapist) pair in memories `[K, M]`; `[K, 8, 8]`."""
    rows = len(memory)
    cells = memory + (np.arange(rows) * PAIRS)[:, None]
    counted = np.bincount(cells.ravel(), np.broadcast_to(weight, cells.shape).ravel(), rows * PAIRS)
    # Already float64 (weights make it so); said for the type checker.
    return counted.astype(np.float64, copy=False).reshape(rows, OCTANTS, OCTANTS)


def satisfaction(utility: Floats, weights: Floats, total: float) -> Floats:
    """Weighted mean utility of the remembered pairs, `[K]`."""
    worth: Floats = np.einsum("kij,kij->k", utility, weights)
    return worth / total


def bond(rs: Floats, low: Floats, high: Floats, alpha: Floats, offset: Floats) -> Floats:
    """Sigmoid of the normalised satisfaction, `[K]`."""
    x = 2.0 * alpha * ((rs - low) / (high - low) - offset)
    # Beyond this the exponential overflows and the bond is 0 in any case.
    return 1.0 / (1.0 + np.exp(np.minimum(-x, 700.0)))


def expectation(
    mechanism: int, utility: Floats, weights: Floats, total: float, k: Floats, laplace: Floats
) -> Floats:
    """Utilities as the client expects them, `[K, 8, 8]`; `k` `[K]` is its amplification, bond included."""
    if mechanism == 0:
        return utility.copy()
    if mechanism in (1, 3):
        count = weights[:, 0].copy()
        for i in range(1, OCTANTS):
            count += weights[:, i]
        return utility * (1.0 + count * (k / total)[:, None])[:, None, :]
    count = weights[:, :, 0].copy()
    for j in range(1, OCTANTS):
        count += weights[:, :, j]
    share = (weights + laplace[:, None, None]) / (count + OCTANTS * laplace[:, None])[:, :, None]
    share *= k[:, None, None]
    share += 1.0
    share *= utility
    return share


def amplification(mechanism: int, k: Floats, trust: Floats, power: Floats) -> Floats:
    """What frequencies are multiplied with: `k`, in the bond-weighted mechanisms times bond^power; `[K]`."""
    return k * trust**power if mechanism >= 3 else k


def payoffs(expected: Floats, trust: Floats) -> Floats:
    """Expected payoff of each client octant, `[8, K]`: its sorted row read at 7 · bond. Sorts `expected` in place."""
    expected.sort(axis=-1)
    position = (OCTANTS - 1) * trust
    below = np.minimum(position.astype(np.int64), OCTANTS - 2)
    rows = np.arange(len(expected))
    low, high = expected[rows, :, below], expected[rows, :, below + 1]
    result: Floats = np.ascontiguousarray((low + (position - below)[:, None] * (high - low)).T)
    return result


def choice_weights(payoff: Floats, temperature: Floats) -> Floats:
    """Unnormalised softmax, `[8, K]`: 1 for the best octant."""
    weights: Floats = np.exp((payoff - payoff.max(axis=0)) / temperature)
    return weights


def choose(weights: Floats, u: Floats) -> Ints:
    """Octants `[K]`, drawn in proportion to `weights` `[8, K]` by uniforms `[K]`."""
    # Accumulation goes one by one whatever the shape, unlike a sum.
    edges = np.cumsum(weights, axis=0)
    chosen: Ints = (edges[:-1] <= u * edges[-1]).sum(axis=0)
    return chosen


def habitual(memory: Octets, window: int) -> Ints:
    """The most frequent therapist octant of the latest `window` memories, `[K]`; of equals the most recent."""
    rows = len(memory)
    cells = (memory[:, -window:] % OCTANTS) + (np.arange(rows) * OCTANTS)[:, None]
    # Whole parts count; the bits below say when, and of two sets of moments the larger number has the latest.
    moment = 1.0 + 2.0 ** np.arange(-window, 0)
    # With every moment set the bits stay below 1, so they never add up to one more count.
    score = np.bincount(cells.ravel(), np.broadcast_to(moment, cells.shape).ravel(), rows * OCTANTS)
    found: Ints = score.reshape(rows, OCTANTS).argmax(axis=1)
    return found
