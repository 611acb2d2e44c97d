"""The console: few plain lines without a terminal, a live table on one, nothing when quiet."""

import io
import math

import pytest

from proximo.runs.console import NORMAL, QUIET, VERBOSE, Console, clock, number

METRICS = {"return_mean": 12.345, "success_rate": math.nan, "steps_per_second": 12_345.6, "kl": 0.001}
PHASES = {"act": 0.2, "learn": 0.6, "log": 0.0}


def run(verbosity, updates=200):
    out = io.StringIO()
    console = Console(20_000, verbosity, file=out)
    for i in range(1, updates + 1):
        console.update(i * 100, METRICS, PHASES)
    console.line("run: runs/[x]/y")
    console.close()
    return out.getvalue()


def test_plain_lines_are_few_and_say_what_counts():
    lines = run(NORMAL).splitlines()
    assert 18 <= len(lines) <= 22
    assert "20,000 of 20,000 steps" in lines[-2]
    assert "return 12.35" in lines[-2]
    assert "12,346 steps/s" in lines[-2]
    assert "left" in lines[-2]
    assert "kl" not in lines[-2]
    assert "success" not in lines[-2]
    assert lines[-1] == "run: runs/[x]/y"
    assert "\x1b" not in run(NORMAL)


def test_verbose_has_every_update_with_losses_and_phases():
    lines = run(VERBOSE).splitlines()
    assert len(lines) == 201
    assert "kl 1.00e-03" in lines[0]
    assert "learn 75 % · act 25 %" in lines[0]


def test_quiet_prints_nothing_but_warnings(capsys):
    assert run(QUIET) == ""
    Console(10, QUIET).warn("careful")
    assert capsys.readouterr().err == "warning: careful\n"


def test_terminal_shows_a_table_with_bar_and_time_left(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    text = run(NORMAL)
    for part in (
        "progress",
        "━",
        "20,000 of 20,000 (100 %)",
        "time left",
        "return",
        "time goes to",
        "runs/[x]/y",
    ):
        assert part in text


def test_a_long_line_is_not_broken():
    out = io.StringIO()
    Console(10, file=out).line("x" * 500)
    assert out.getvalue() == "x" * 500 + "\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-1.5, "-1.5"),
        (123.456, "123.5"),
        (1e-5, "1.00e-05"),
        (123_456.0, "123,456"),
        (1e9, "1.00e+09"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(5.2, "5 s"), (125, "2:05 min"), (7_500, "2:05 h")])
def test_durations(seconds, text):
    assert clock(seconds) == text
