"""The environment doctor."""

from __future__ import annotations

import json

import pytest

from proximo.config.experiment import EnvConfig
from proximo.envs.check import check_env
from proximo.errors import UserError


def topics(report, level):
    return {finding.topic for finding in report.findings if finding.level == level}


def test_a_healthy_environment():
    report = check_env(EnvConfig(id="CartPole-v1"))
    assert report.ok
    assert not topics(report, "error") | topics(report, "warning")
    assert report.numbers["reward_min"] == report.numbers["reward_max"] == 1.0
    assert 15 < report.numbers["random_return_mean"] < 35
    assert report.numbers["random_return_mean"] == report.numbers["random_length_mean"]
    assert report.numbers["steps_per_second"] > 100
    assert {"seed", "resume", "speed", "random policy"} <= topics(report, "ok")
    assert json.loads(json.dumps(report.as_dict()))["ok"] is True
    assert str(report).endswith("ready to train")


@pytest.mark.parametrize(
    ("how", "topic"),
    [("raise", "exception"), ("reward", "reward"), ("obs", "observation obs"), ("shape", "observation obs")],
)
def test_what_breaks_training_is_an_error(how, topic):
    report = check_env(EnvConfig(id="env_toys:Broken", kwargs={"how": how}))
    assert not report.ok
    assert topic in topics(report, "error")
    assert "fix before training" in str(report)
    # What was cut short says nothing about speed or the length of episodes.
    assert "speed" not in topics(report, "ok")
    assert "episodes" not in topics(report, "warning")


def test_an_environment_that_does_not_repeat_itself_is_a_warning():
    report = check_env(EnvConfig(id="env_toys:Forgetful"))
    assert report.ok
    assert "seed" in topics(report, "warning")


def test_endless_episodes_missing_numbers_and_unbounded_actions():
    report = check_env(EnvConfig(id="env_toys:Multi", kwargs={"kind": "box"}, info=("speed",)))
    assert "episodes" in topics(report, "warning")
    assert any("'speed' never occurred" in f.text for f in report.findings)
    assert "action" in topics(report, "note")


def test_masks_and_nested_observations():
    report = check_env(EnvConfig(id="env_toys:Nested"))
    assert report.ok
    assert {"mask", "observation a.c", "observation t.1"} <= topics(report, "ok")
    masked = check_env(EnvConfig(id="env_toys:StrictMask"))
    assert masked.ok, str(masked)
    assert {"mask", "speed"} <= topics(masked, "ok")


def test_unsupported_spaces_are_an_error():
    report = check_env(EnvConfig(id="env_toys:Multi", kwargs={"kind": "dict"}))
    assert topics(report, "error") == {"spaces"}


def test_vector_environments_are_examined_too():
    report = check_env(EnvConfig(id="CartPole-v1", backend="vector"))
    assert report.ok
    assert "seed" in topics(report, "ok")
    assert "resume" in topics(report, "warning")


def test_what_cannot_be_made_is_refused():
    with pytest.raises(UserError, match="nearest: CartPole-v1"):
        check_env(EnvConfig(id="CartPol-v1"))
