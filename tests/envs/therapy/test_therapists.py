"""Scripted therapists do as well as was measured when the simulation was specified."""

from __future__ import annotations

import numpy as np
import pytest

from proximo.envs.therapy.parameters import PATTERNS, Parameters
from proximo.envs.therapy.therapists import THERAPISTS, judge
from proximo.errors import UserError

# Success of `complement` and `random`: 200 clients, the specified share ± 3 deviations of two such samples.
BANDS = {
    0.5: ((0.97, 1.0), (0.43, 0.70)),
    0.6: ((0.94, 1.0), (0.0, 0.12)),
    0.7: ((0.48, 0.76), (0.0, 0.03)),
    0.8: ((0.05, 0.24), (0.0, 0.02)),
}


@pytest.mark.parametrize("threshold", BANDS)
def test_success_lies_in_its_band(threshold):
    parameters = Parameters(patterns=("cold_stuck",), threshold=threshold)
    for name, (low, high) in zip(("complement", "random"), BANDS[threshold], strict=True):
        assert low <= judge(name, 200, parameters).success_rate <= high, name


def test_warmth_alone_drives_cold_clients_away():
    result = judge("warm", 200, Parameters(patterns=("cold_stuck",)))
    assert result.success_rate == 0
    assert 0.25 <= result.dropout_rate <= 0.80


def test_without_distortion_complement_does_well():
    parameters = Parameters(patterns=("cold_stuck",), threshold=0.8, enable_perception=False)
    assert 0.74 <= judge("complement", 200, parameters).success_rate <= 0.94


def test_who_knows_everything_is_no_worse_than_complement():
    parameters = Parameters(patterns=("cold_stuck",), threshold=0.7)
    omniscient, complement = (judge(name, 200, parameters) for name in ("omniscient", "complement"))
    assert omniscient.success_rate >= complement.success_rate
    assert omniscient.complementary.mean() < 1


def test_clients_are_paired_and_counted_once():
    seeds = np.array([3, 9, 4, 3])
    parameters = Parameters(patterns=PATTERNS, threshold=0.55, max_sessions=30)
    first, second = judge("random", seeds, parameters), judge("complement", seeds, parameters)
    np.testing.assert_array_equal(first.pattern, second.pattern)
    assert first.returns[0] == first.returns[3]
    assert (second.complementary == 1).all()
    for result in (first, second, judge("random", 300, parameters)):
        gain = 100 + 2 * (30 - result.sessions)
        np.testing.assert_array_equal(
            result.returns, np.where(result.success, gain, np.where(result.dropped_out, -150, 0))
        )
        assert (result.sessions[~result.success & ~result.dropped_out] == 30).all()
        assert (result.sessions[result.dropped_out] == 10).all()
        assert (result.sessions[result.success] <= 30).all()


def test_unknown_therapists_are_named():
    with pytest.raises(UserError, match=r"'complementary' is none of random, .*did you mean complement"):
        judge("complementary", 2)
    assert list(THERAPISTS) == ["random", "complement", "warm", "omniscient"]
