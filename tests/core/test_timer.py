"""Nested phases share the wall time; none is counted twice."""

import time

import pytest

from proximo.core.timer import Timer


def test_nested_phases_add_up_to_the_wall_time(monkeypatch):
    clock = iter([0.0, 1.0, 4.0, 5.0, 7.0, 10.0, 20.0, 21.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    timer = Timer()
    with timer.phase("log"):
        with timer.phase("eval"):
            pass
        with timer.phase("log"):
            pass
    phases = timer.take()
    assert phases["eval"] == pytest.approx(3.0)
    assert phases["log"] == pytest.approx(7.0)
    assert sum(phases.values()) == pytest.approx(10.0)
    assert sum(timer.take().values()) == 0.0


def test_every_moment_of_an_open_phase_counts(monkeypatch):
    clock = iter([0.0, 2.0, 3.0, 8.0, 9.0, 12.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    timer = Timer()
    with timer.phase("log"):
        with timer.phase("act"):
            timer.split("env", 0.25)
        first = timer.take()
    second = timer.take()
    assert (first["act"], first["env"], first["log"]) == (0.75, 0.25, 7.0)
    assert sum(second.values()) == pytest.approx(1.0)
