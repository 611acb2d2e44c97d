"""Intervals against printed tables and numbers worked out by hand."""

import math

import numpy as np
import pytest

from proximo.runs.statistics import difference_ci95, mean_ci95, paired_difference, t_quantile


@pytest.mark.parametrize(
    ("df", "t"),
    # Two-sided 95 % points as printed in tables of Student's t.
    [
        (1, 12.706205),
        (2, 4.302653),
        (3, 3.182446),
        (9, 2.262157),
        (19, 2.093024),
        (30, 2.042272),
        (120, 1.979930),
    ],
)
def test_quantiles_of_the_tables(df, t):
    assert t_quantile(df) == pytest.approx(t, abs=1e-6)


def test_two_degrees_of_freedom_in_closed_form():
    # For 2 degrees P(|T| <= t) = t / sqrt(2 + t^2).
    assert t_quantile(2, 0.9) == pytest.approx(math.sqrt(2 * 0.81 / (1 - 0.81)), rel=1e-12)


def test_many_degrees_become_normal():
    assert t_quantile(1e6) == pytest.approx(1.959964 + 2.372e-6, abs=1e-5)


def test_mean_interval_by_hand():
    low, high = mean_ci95([1.0, 2.0, 3.0])
    half = 4.302653 / math.sqrt(3)
    assert (low, high) == pytest.approx((2 - half, 2 + half), abs=1e-6)
    assert all(map(math.isnan, mean_ci95([5.0])))


def test_welch_by_hand():
    a, b = [1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 3.0]
    va, vb = (5 / 3) / 4, 3.0 / 3
    df = (va + vb) ** 2 / (va**2 / 3 + vb**2 / 2)
    half = t_quantile(df) * math.sqrt(va + vb)
    assert difference_ci95(a, b) == pytest.approx((1.5 - half, 1.5 + half))
    assert difference_ci95([2.0, 2.0], [1.0, 1.0]) == (1.0, 1.0)
    assert math.isnan(difference_ci95([1.0], [1.0, 2.0])[0])


def test_a_paired_difference_of_equals_is_nothing():
    same = [0.0, 1.0, 1.0, 0.0] * 20
    assert paired_difference(same, same) == (0.0, 0.0, 0.0)


def test_a_paired_interval_is_that_of_the_differences():
    """Near the normal interval of the mean difference, however far the pairs themselves spread."""
    drawn = np.random.default_rng(3)
    base = drawn.normal(0, 50, 400)
    better = base + drawn.normal(1.0, 2.0, 400)
    mean, low, high = paired_difference(better, base)
    half = 1.96 * np.std(better - base, ddof=1) / 20
    assert mean == pytest.approx(np.mean(better - base))
    assert low == pytest.approx(mean - half, abs=0.02)
    assert high == pytest.approx(mean + half, abs=0.02)


def test_a_paired_interval_of_successes_by_hand():
    """60 pairs of 100 agree, 30 are won and 10 lost: deviation of the mean √(0.4 − 0.2²) / 10 = 0.06."""
    a, b = [1.0] * 30 + [0.0] * 10 + [1.0] * 60, [0.0] * 30 + [1.0] * 10 + [1.0] * 60
    mean, low, high = paired_difference(a, b)
    assert mean == pytest.approx(0.2)
    assert (low, high) == pytest.approx((0.2 - 1.96 * 0.06, 0.2 + 1.96 * 0.06), abs=0.011)
    assert paired_difference(a, b) == (mean, low, high)


def test_one_pair_has_no_interval():
    mean, low, high = paired_difference([1.0], [0.0])
    assert mean == 1.0
    assert math.isnan(low)
    assert math.isnan(high)
