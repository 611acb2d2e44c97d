"""`proximo/Therapy-v0` as a Gymnasium environment."""

from __future__ import annotations

import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from proximo.envs.therapy.env import TherapyEnv
from proximo.envs.therapy.octants import CODES
from proximo.envs.therapy.omniscient import Omniscient
from proximo.envs.therapy.parameters import MECHANISMS, PATTERNS
from proximo.errors import RunError, UserError


def test_gymnasiums_checker_has_nothing_to_say():
    check_env(gymnasium.make("proximo/Therapy-v0", render_mode="rgb_array").unwrapped)


@pytest.mark.parametrize("first", ["proximo", "gymnasium"])
def test_it_is_registered_in_either_order_of_imports(first):
    second = {"proximo": "gymnasium", "gymnasium": "proximo"}[first]
    lines = [
        f"import sys, {first}",
        f"assert {second!r} not in sys.modules",
        f"import {second}, gymnasium",
        "print(gymnasium.spec('proximo/Therapy-v0').entry_point, type(gymnasium.__loader__).__name__)",
    ]
    code = "\n".join(lines)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["proximo.envs.therapy.env:TherapyEnv", "SourceFileLoader"]


def test_a_seed_is_a_client():
    env = TherapyEnv(patterns=PATTERNS)
    seen = []
    for seed in (5, 5, 6):
        obs, info = env.reset(seed=seed)
        trail = [(int(obs["client_action"]), info["initial_rs"], info["pattern"])]
        for action in range(8):
            obs, _, _, _, info = env.step(action)
            trail.append((int(obs["client_action"]), info["rs"], info["perceived_action"]))
        seen.append(trail)
    assert seen[0] == seen[1]
    assert seen[0] != seen[2]
    unseeded = [env.reset()[1]["episode_seed"] for _ in range(3)]
    assert len(set(unseeded)) == 3
    env.reset(seed=6)
    assert [env.reset()[1]["episode_seed"] for _ in range(3)] == unseeded


def test_what_it_tells():
    env = TherapyEnv(patterns="cold_stuck", threshold=0.45, max_sessions=50)
    obs, info = env.reset(seed=1)
    names = {"pattern", "entropy", "rs_threshold", "initial_rs", "initial_bond", "episode_seed"}
    assert set(info) == names
    assert (info["pattern"], info["entropy"], info["episode_seed"]) == ("cold_stuck", 0.5, 1)
    ended, told = False, 0
    while not ended:
        shown = int(obs["client_action"])
        obs, reward, terminated, truncated, step = env.step((4 - shown) % 8 if shown < 5 else 12 - shown)
        told += 1
        assert (step["session"], step["client_action"]) == (told, shown)
        ended = terminated or truncated
        assert ("is_success" in step) == ended
    assert step["success"] is True
    assert step["rs"] >= info["rs_threshold"]
    assert reward == 100 + 2 * (50 - told)
    assert obs in env.observation_space


def test_the_omniscient_wrapper_shows_what_is_hidden():
    env = Omniscient(TherapyEnv(mechanism="conditional_amplifier", entropy=0.7, baseline_accuracy=0.2))
    obs, info = env.reset(seed=2)
    assert obs in env.observation_space
    assert (obs["last_actual"], obs["last_perceived"]) == (8, 8)
    clients = env.unwrapped.clients
    assert obs["utility"].min() == 0
    assert obs["utility"].max() == 1
    order = np.argsort(clients.utility[0].ravel())
    assert (np.diff(obs["utility"][order]) >= 0).all()
    assert obs["rs"][0] == pytest.approx(info["initial_rs"], rel=1e-6)
    assert obs["bond"][0] == pytest.approx(info["initial_bond"], rel=1e-6)
    assert obs["entropy"][0] == pytest.approx(0.7)
    assert obs["mechanism"].tolist() == [float(name == "conditional_amplifier") for name in MECHANISMS]
    assert obs["distortion_rate"][0] == pytest.approx(0.8)
    assert obs["distortion_on"] == 1
    obs, _, _, _, info = env.step(3)
    assert obs["last_actual"] == 3
    assert obs["last_perceived"] == info["perceived_action"]
    clear = Omniscient(TherapyEnv(enable_perception=False))
    assert clear.reset(seed=0)[0]["distortion_on"] == 0
    with pytest.raises(UserError, match="not CartPoleEnv"):
        Omniscient(gymnasium.make("CartPole-v1"))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"patterns": ["cold_stock"]}, "patterns: 'cold_stock' is none of .*did you mean cold_stuck"),
        ({"patterns": []}, "patterns must name one or more of"),
        ({"patterns": ["cold_warm", "cold_warm"]}, "cold_warm is named twice"),
        ({"mechanism": "frequency"}, "mechanism: 'frequency' is none of bond_only"),
        ({"threshold": 0}, r"threshold must be a number in \(0, 1\], not 0"),
        ({"threshold": 1.01}, r"threshold must be a number in \(0, 1\], not 1.01"),
        ({"threshold": "high"}, "threshold must be a number .* not 'high'"),
        ({"threshold": float("nan")}, "threshold must be a number .* not nan"),
        ({"threshold": True}, "threshold must be .* not True"),
        ({"max_sessions": 0}, "max_sessions must be a whole number of 1 or more, not 0"),
        ({"max_sessions": 10.5}, "max_sessions must be a whole number"),
        ({"entropy": 0}, "entropy must be a positive number"),
        ({"baseline_accuracy": 1.5}, "baseline_accuracy must be a probability"),
        ({"enable_perception": "yes"}, "enable_perception must be true or false"),
        ({"history_pairs": 51}, "history_pairs: 51 pairs are longer than the client's memory of 50"),
        ({"perception_window": 11, "memory_size": 10, "history_pairs": 5}, "perception_window: 11 is longer"),
        ({"treshold": 0.5}, "treshold: the therapy client has no such parameter; did you mean threshold"),
        ({"render_mode": "human"}, "render_mode 'human' is none of ansi, rgb_array"),
    ],
)
def test_bad_arguments_are_one_clear_line(arguments, line):
    with pytest.raises(UserError, match=line) as caught:
        TherapyEnv(**arguments)
    assert "\n" not in str(caught.value)


def test_parameters_change_from_the_next_reset_on():
    env = TherapyEnv(threshold=0.9)
    env.reset(seed=0)
    env.configure(threshold=0.01, max_sessions=7)
    assert not env.step(0)[2]
    env.reset(seed=0)
    obs, reward, terminated, *_ = env.step(0)
    assert terminated
    assert reward == 100 + 2 * 6
    assert obs["session_number"][0] == pytest.approx(1 / 7)
    with pytest.raises(UserError, match="threshold must be"):
        env.configure(threshold=2)
    with pytest.raises(UserError, match="history_pairs fixes the shape"):
        env.configure(history_pairs=10)


def test_steps_that_make_no_sense():
    env = TherapyEnv()
    with pytest.raises(RunError, match="reset must be called before step"):
        env.step(0)
    env.reset(seed=0)
    with pytest.raises(RunError, match="action 8 is none of 0 to 7"):
        env.step(8)
    with pytest.raises(RunError, match="nothing to render"):
        env.render()


def test_pictures_and_text_follow_the_episode():
    env = TherapyEnv(render_mode="rgb_array", enable_perception=False)
    env.reset(seed=0)
    pictures = [env.render()]
    for action in (0, 2, 4):
        env.step(action)
        pictures.append(env.render())
    assert {p.shape for p in pictures} == {(320, 640, 3)}
    assert {p.dtype for p in pictures} == {np.dtype(np.uint8)}
    assert len({p.tobytes() for p in pictures}) == 4
    # The therapist's marker: up for D, right for W, down for S.
    for picture, (row, column) in zip(pictures[1:], [(74, 160), (172, 258), (270, 160)], strict=True):
        orange = picture[row - 9 : row + 10, column - 9 : column + 10].reshape(-1, 3)
        assert (orange == (214, 104, 24)).all(axis=1).sum() > 100
    text = TherapyEnv(render_mode="ansi", patterns="cold_warm", enable_perception=False)
    obs, _ = text.reset(seed=0)
    assert text.render().startswith("session 0 of 100  cold_warm, frequency_amplifier\n")
    shown = CODES[obs["client_action"]]
    text.step(2)
    assert "session 1 of 100" in text.render()
    assert f"client {shown}, therapist W" in text.render()
    assert all(code in text.render() for code in CODES)
