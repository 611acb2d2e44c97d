"""Bands against numbers by hand, grids, axes, words, and which runs are one arm."""

import math

import numpy as np
import pytest

from proximo.runs.report import write_report
from proximo.runs.report.arms import differences, environments
from proximo.runs.report.chart import axis
from proximo.runs.report.curves import GRID, average, curve, thinned
from proximo.runs.report.read import read_run
from proximo.runs.report.words import duration, fixed, interval, number, short
from proximo.runs.run import Run

# --- numbers ---


def test_band_is_students_interval_of_the_mean():
    steps = np.array([10.0, 20.0])
    band = average(
        [(steps, np.array([1.0, 5.0])), (steps, np.array([2.0, 5.0])), (steps, np.array([6.0, 5.0]))]
    )
    # By hand: mean 3, deviation √((4 + 1 + 9)/2) = √7, and t = 4.302653 for 2 degrees of freedom (a printed table).
    half = 4.302653 * math.sqrt(7 / 3)
    np.testing.assert_allclose(band.mean, [3.0, 5.0])
    np.testing.assert_allclose(band.low, [3.0 - half, 5.0], rtol=1e-6)
    np.testing.assert_allclose(band.high, [3.0 + half, 5.0], rtol=1e-6)
    assert band.count.tolist() == [3, 3]


def test_seeds_with_other_steps_are_interpolated_and_never_extrapolated():
    a = (np.array([0.0, 10.0, 20.0]), np.array([0.0, 10.0, 20.0]))
    b = (np.array([5.0, 15.0]), np.array([105.0, 115.0]))
    band = average([a, b])
    assert band.steps.tolist() == [0, 5, 10, 15, 20]
    assert band.count.tolist() == [1, 2, 2, 2, 1]
    np.testing.assert_allclose(band.mean, [0, 55, 60, 65, 20])
    assert np.isnan(band.low[[0, -1]]).all()
    # Two values 100 apart: the half-width is t(1) · 50√2/√2 with t(1) = 12.7062 (a printed table).
    np.testing.assert_allclose(band.high[1:4] - band.mean[1:4], 12.7062 * 50, rtol=1e-5)
    assert [(part.start, part.stop) for part in band.parts()] == [(0, 1), (1, 4), (4, 5)]


def test_many_rows_become_a_grid_that_keeps_the_ends_and_the_spikes():
    steps = np.arange(5000.0)
    values = np.sin(steps / 700)
    spiky = values.copy()
    spiky[1234] = 9.0
    band = average([(steps, values), (steps, values)])
    assert len(band.steps) == GRID
    assert (band.steps[0], band.steps[-1]) == (0.0, 4999.0)
    np.testing.assert_allclose(band.mean, np.interp(band.steps, steps, values))
    kept, seen = thinned(steps, spiky)
    assert len(kept) <= GRID + 2
    assert seen.max() == 9.0
    assert (np.diff(kept) > 0).all()


def test_a_single_seed_has_a_band_only_where_its_evaluations_have_an_interval(make):
    (env,) = environments([read_run(make())])
    training, evaluation = curve(env.arms[0], "return_mean"), curve(env.arms[0], "eval/return_mean")
    assert np.isnan(training.low).all()
    assert evaluation.over == "episodes"
    np.testing.assert_allclose(evaluation.low, [75, 155, 235])
    assert evaluation.steps.tolist() == [4000, 8000, 12000]


def test_wall_time_counts_every_row_by_its_speed_and_the_first_by_its_phases(make):
    run = read_run(make())
    assert run.seconds == pytest.approx(2.0 + 11 * 1000 / 500)
    assert run.phases["learn"] == 12.0
    slow = read_run(make(rows=1))
    assert "other" not in slow.phases


def test_final_is_the_newest_of_result_and_row(make):
    path = make()
    assert read_run(path).final.mean == 240.0
    assert read_run(path).final.verdict == "better than a random policy"
    # Resumed and extended: the old result stays in the events, a later evaluation is in the rows.
    run = Run.open(path)
    progress = run.progress([])
    progress.write({"step": 16000, "return_mean": 1.0, "eval/return_mean": 7.0})
    final = read_run(path).final
    assert (final.step, final.mean, final.verdict) == (16000, 7.0, None)
    assert read_run(make(evals=False)).final.evaluated is False
    assert read_run(make(rows=0)).final is None


def test_a_resume_takes_back_what_came_after_its_checkpoint(tmp_path, make):
    path = make()
    Run(path).event("resume", 6000, {"overrides": ["ppo.total_steps=9000"]})
    run = read_run(path)
    assert [event["kind"] for event in run.events] == ["resume"]
    page = write_report([path], tmp_path / "report.html").read_text()
    assert "resume (overrides: ppo.total_steps=9000)" in page


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12345.678, "12,346"),
        (500.0, "500"),
        (-0.0063, "−0.0063"),
        (7.5e-5, "7.50e-5"),
        (math.nan, "–"),
        (None, "–"),
    ],
)
def test_numbers_as_people_read_them(value, text):
    assert number(value) == text


def test_words():
    assert interval(-131.934, -50.541) == "−131.9 to −50.5"
    assert interval(500.0, 500.0) == "500 to 500"
    assert interval(math.nan, math.nan) == "–"
    assert fixed(-0.0, 2) == "0.00"
    assert [short(v) for v in (0, 500, 20_000, 2_500_000)] == ["0", "500", "20k", "2.5M"]
    assert [duration(s) for s in (8.44, 200, 7500)] == ["8.4 s", "3 min 20 s", "2 h 05 min"]


@pytest.mark.parametrize(
    ("low", "high"), [(0, 41216), (-0.031, 0.004), (499.9, 500), (5, 5), (0, 0), (-3e7, 1e-9)]
)
def test_axes_have_round_ticks_inside(low, high):
    drawn = axis(low, high)
    assert drawn.low <= low <= high <= drawn.high
    assert 3 <= len(drawn.ticks) <= 7
    assert all(drawn.low - 1e-9 * abs(drawn.low) <= t <= drawn.high * (1 + 1e-9) + 1e-12 for t in drawn.ticks)
    assert all(float(f"{t:.{drawn.decimals}f}") == pytest.approx(t, abs=1e-12) for t in drawn.ticks)


# --- grouping ---


def test_runs_that_differ_in_seed_and_name_only_are_one_arm(make):
    paths = [make(seed=s, name=f"try {s}") for s in (1, 2, 3)]
    paths += [make(seed=s, name="fast", ppo={"learning_rate": 1e-3}) for s in (1, 2)]
    (env,) = environments([read_run(path) for path in paths])
    assert [len(arm.runs) for arm in env.arms] == [3, 2]
    assert [arm.label for arm in env.arms] == ["try 1 / try 2 / try 3", "fast"]
    assert differences(env.arms) == {"ppo.learning_rate": ["0.0003", "0.001"]}
    mean, low, high = env.arms[0].final
    assert mean == 242.0
    assert high - low == pytest.approx(2 * 4.302653 / math.sqrt(3), rel=1e-6)


def test_arms_of_the_same_name_are_told_apart_by_their_settings(make):
    paths = [make(ppo={"clip": clip}) for clip in (0.1, 0.2)]
    (env,) = environments([read_run(path) for path in paths])
    assert [arm.label for arm in env.arms] == ["base (clip=0.1)", "base (clip=0.2)"]


def test_environments_share_no_axis(tmp_path, make):
    paths = [make(), make(env="Acrobot-v1")]
    page = write_report(paths, tmp_path / "report.html").read_text()
    assert page.count('data-metric="return_mean"') == 2
    assert '<h2 class="env">Acrobot-v1</h2>' in page
