"""Spares: few, each for the copy that will probably end first, and never for another episode than it was reset for."""

import numpy as np
import pytest

from proximo.envs.ahead import Spares, spares_for
from proximo.errors import RunError

PARAMS: dict[str, object] = {}


def spares(count=1, copies=3):
    return Spares([f"spare {i}" for i in range(count)], {"obs": np.arange(copies, dtype=np.float32)[:, None]})


def prepare(pool, index, seed=7, params=PARAMS, error=None):
    with pool.preparing(index, seed, params):
        if error is not None:
            raise error


def test_one_spare_for_four_copies():
    assert [spares_for(copies) for copies in (1, 4, 5, 8, 9)] == [1, 1, 2, 2, 3]


def test_the_longest_running_episode_is_prepared_for_first():
    pool = spares(2)
    assert pool.waiting(PARAMS, [3, 9, 5]) == 1
    prepare(pool, 1)
    assert pool.waiting(PARAMS, [3, 9, 5]) == 2
    prepare(pool, 2)
    assert pool.waiting(PARAMS, [3, 9, 5]) is None


def test_spare_and_copy_take_turns():
    pool = spares()
    prepare(pool, 2)
    assert pool.ready(2, 7, PARAMS)
    assert not pool.ready(2, 8, PARAMS)
    assert not pool.ready(1, 7, PARAMS)
    obs = {"obs": np.zeros((3, 1), np.float32)}
    assert pool.take(2, "used", obs) == "spare 0"
    assert obs["obs"].tolist() == [[0.0], [0.0], [2.0]]
    assert pool.envs == ["used"]
    assert pool.waiting(PARAMS, [1, 0, 0]) == 0


def test_other_parameters_prepare_anew():
    pool, other = spares(), {"size": 3}
    prepare(pool, 1)
    assert not pool.ready(1, 7, other)
    assert pool.waiting(other, [5, 1, 5]) == 1
    prepare(pool, 1, params=other)
    assert pool.ready(1, 7, other)
    assert pool.envs == ["spare 0"]


def test_a_failed_reset_is_told_when_its_episode_begins():
    pool = spares()
    prepare(pool, 0, error=RunError("no"))
    assert pool.ready(0, 7, PARAMS)
    with pytest.raises(RunError, match="no"):
        pool.take(0, "used", {})
    assert pool.envs == ["spare 0"]


def test_what_was_prepared_can_be_forgotten():
    pool = spares(2)
    prepare(pool, 0)
    pool.forget()
    assert not pool.ready(0, 7, PARAMS)
    assert sorted(pool.envs) == ["spare 0", "spare 1"]
