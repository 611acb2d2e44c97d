"""How much a recorded action counts: which ones the present policy would hardly take.

Shapes: `[T, N]` throughout.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

REGION = 0.95
"""Share of the policy's own actions that lie within the limit."""
MIN_SURROGATE_WEIGHT = 0.01


@functools.cache
def limit(dim: int) -> float:
    """Mahalanobis distance within which a Gaussian of `dim` dimensions puts 95 % of its actions.

    The root of the chi-square quantile, by bisection of the incomplete gamma function: 3.549 for 6 dimensions.
    """
    low, high = 0.0, 10.0 * (dim + 10.0)
    half = torch.tensor(dim / 2.0, dtype=torch.float64)
    for _ in range(100):
        middle = (low + high) / 2.0
        inside = float(torch.special.gammainc(half, torch.tensor(middle / 2.0, dtype=torch.float64)))
        low, high = (middle, high) if inside < REGION else (low, middle)
    return math.sqrt((low + high) / 2.0)


def inlier_weight(distance: Tensor, dim: int) -> Tensor:
    """1 within the limit, limit / distance outside."""
    return (limit(dim) / distance.clamp_min(1e-12)).clamp_max(1.0)


def surrogate_weight(ratio: Tensor) -> Tensor:
    """clip(ratio, 0.01, 1): no recorded row counts for more than a fresh one, or for nothing."""
    return ratio.clamp(MIN_SURROGATE_WEIGHT, 1.0)
