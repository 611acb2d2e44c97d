"""Confidence intervals of a mean and of a difference of means (Student, Welch), without SciPy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)


@lru_cache(maxsize=256)
def t_quantile(df: float, level: float = 0.95) -> float:
    """The t with P(|T| ≤ t) = `level` for Student's distribution with `df` > 0 degrees of freedom.

    With t = √df · tan θ the density becomes cos^(df−1) θ up to a constant, which Gauss–Legendre integrates to
    machine precision; the angle is found by bisection.
    """
    constant = math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2)) / math.sqrt(math.pi)
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        nodes = angle / 2 * (_NODES + 1)
        inside = 2 * constant * angle / 2 * float(np.sum(_WEIGHTS * np.cos(nodes) ** (df - 1)))
        low, high = (angle, high) if inside < level else (low, angle)
    return math.sqrt(df) * math.tan((low + high) / 2)


def mean_ci95(values: Sequence[float]) -> tuple[float, float]:
    """Student's 95 % interval of the mean; (nan, nan) for fewer than two values."""
    count = len(values)
    if count < 2:
        return math.nan, math.nan
    mean, std = float(np.mean(values)), float(np.std(values, ddof=1))
    half = t_quantile(count - 1) * std / math.sqrt(count)
    return mean - half, mean + half


def difference_ci95(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Welch's 95 % interval of mean(a) − mean(b); (nan, nan) where one has fewer than two values.

    Source: Welch 1947, degrees of freedom after Satterthwaite 1946.
    """
    if min(len(a), len(b)) < 2:
        return math.nan, math.nan
    difference = float(np.mean(a) - np.mean(b))
    va, vb = float(np.var(a, ddof=1)) / len(a), float(np.var(b, ddof=1)) / len(b)
    if va + vb == 0.0:
        return difference, difference
    df = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    half = t_quantile(df) * math.sqrt(va + vb)
    return difference - half, difference + half


RESAMPLES = 10_000


def paired_difference(
    a: Sequence[float] | npt.NDArray[Any], b: Sequence[float] | npt.NDArray[Any], seed: int = 0
) -> tuple[float, float, float]:
    """Mean of a − b over pairs, and its 95 % interval: percentiles of 10,000 bootstrap samples of the pairs.

    The same numbers each time; (mean, nan, nan) for a single pair. Source: Efron and Tibshirani 1993, chapter 13.
    """
    difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    count = len(difference)
    if count < 2:
        return float(difference.mean()), math.nan, math.nan
    values, times = np.unique(difference, return_counts=True)
    # How often each distinct difference is drawn: as good as drawing the pairs, and much faster where few differ.
    drawn = np.random.default_rng(seed).multinomial(count, times / count, RESAMPLES)
    low, high = np.percentile(drawn @ values / count, (2.5, 97.5))
    return float(difference.mean()), float(low), float(high)
