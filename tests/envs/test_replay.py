"""Saving and restoring: the next steps are bitwise what they would have been."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from env_toys import Forgetful

from proximo.config.experiment import EnvConfig
from proximo.envs.check import random_action
from proximo.envs.make import make_env
from proximo.envs.replay import ActionHistory
from proximo.errors import RunError

HERE = Path(__file__).parent


def play(env, steps, seed):
    generator = torch.Generator().manual_seed(seed)
    taken = [env.step(random_action(env, generator)) for _ in range(steps)]
    return [
        tensor.clone()
        for step in taken
        for tensor in (*step.obs.values(), step.reward, step.terminated, step.truncated, step.final.index)
    ]


def saved_after(env_id, steps, n=2, **options):
    env = make_env(EnvConfig(id=env_id, num_envs=n, **options))
    env.reset(11)
    play(env, steps, 1)
    return env, env.state_dict()


def same(ours, theirs):
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(
    ("env_id", "steps"),
    [
        ("CartPole-v1", 133),
        ("CartPole-v1", 0),
        ("Pendulum-v1", 250),
        ("env_toys:Counter", 8),
        ("env_toys:Counter", 9),
        ("env_toys:InfoMasked", 7),
        ("env_toys:Nested", 6),
        ("env_toys:Multi", 6),
        ("env_toys:Savable", 6),
        ("Taxi", 20),
    ],
)
def test_goes_on_as_if_never_stopped(env_id, steps):
    env, state = saved_after(env_id, steps)
    other = make_env(EnvConfig(id=env_id, num_envs=2))
    other.load_state_dict(state)
    again = other.state_dict()
    assert same(play(env, 30, 2), play(other, 30, 2))
    third = make_env(EnvConfig(id=env_id, num_envs=2))
    third.load_state_dict(again)
    assert same(play(env, 5, 3), play(other, 5, 3))
    assert same(play(third, 35, 2)[:10], play(restored(env_id, state), 35, 2)[:10])


def restored(env_id, state):
    env = make_env(EnvConfig(id=env_id, num_envs=2))
    env.load_state_dict(state)
    return env


FAMILIES = (
    ("BipedalWalker-v3", "Box2D", 700),
    ("LunarLander-v3", "Box2D", 300),
    ("HalfCheetah-v5", "mujoco", 150),
    ("Hopper-v4", "mujoco", 150),
)


def test_in_a_fresh_process(tmp_path):
    present = [(name, steps) for name, module, steps in FAMILIES if importlib.util.find_spec(module)]
    if not present:
        pytest.skip("neither Box2D nor MuJoCo is installed")
    for name, steps in present:
        env, state = saved_after(name, steps)
        torch.save([state, play(env, 50, 2)], tmp_path / f"{name}.pt")
    code = (
        "import sys, torch; sys.path.insert(0, sys.argv[1]); from test_replay import restored, play, same\n"
        "for name in sys.argv[3:]:\n"
        "    state, expected = torch.load(f'{sys.argv[2]}/{name}.pt', weights_only=True)\n"
        "    assert same(play(restored(name, state), 50, 2), expected), name"
    )
    command = [sys.executable, "-c", code, str(HERE), str(tmp_path), *(name for name, _ in present)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_box2d_episodes_do_not_depend_on_earlier_ones():
    pytest.importorskip("Box2D")
    used, fresh = (make_env(EnvConfig(id="BipedalWalker-v3", num_envs=1)) for _ in range(2))
    used.reset(1)
    play(used, 500, 5)
    used.reset(2)
    fresh.reset(2)
    assert same(play(used, 300, 6), play(fresh, 300, 6))


def test_an_environment_that_does_not_repeat_itself_is_named():
    _, state = saved_after("env_toys:Forgetful", 2)
    other = make_env(EnvConfig(id="env_toys:Forgetful", num_envs=2))
    before = Forgetful.resets
    with pytest.raises(RunError, match=r"environment 0 .*observation 'obs' differs.*state_dict"):
        other.load_state_dict(state)
    assert Forgetful.resets == before + 1


def test_an_episode_that_ends_early_is_named():
    _, state = saved_after("env_toys:Counter", 2)
    other = make_env(EnvConfig(id="env_toys:Counter", num_envs=2, kwargs={"length": 2}))
    with pytest.raises(RunError, match=r"environment 0 .*ended it at step 2 of 2"):
        other.load_state_dict(state)


def test_another_number_of_environments_is_refused():
    _, state = saved_after("env_toys:Counter", 2)
    with pytest.raises(RunError, match=r"holds 2 environments, but env\.num_envs is 3"):
        make_env(EnvConfig(id="env_toys:Counter", num_envs=3)).load_state_dict(state)


def test_a_time_limit_goes_on_counting_around_an_environment_that_saves_itself():
    _, state = saved_after("env_toys:Savable", 3, max_episode_steps=5)
    other = make_env(EnvConfig(id="env_toys:Savable", num_envs=2, max_episode_steps=5))
    other.load_state_dict(state)
    assert state["actions"] == []
    ends = [other.step(torch.zeros(2, 1)).truncated.tolist() for _ in range(2)]
    assert ends == [[False, False], [True, True]]


def test_parameters_come_back_with_the_episodes_that_have_them():
    env = make_env(EnvConfig(id="env_toys:Counter", num_envs=2, kwargs={"length": 4}))
    env.reset(0)
    env.configure({"gain": 3.0})
    play(env, 5, 1)
    env.configure({"gain": 7.0})
    other = make_env(EnvConfig(id="env_toys:Counter", num_envs=2, kwargs={"length": 4}))
    other.load_state_dict(env.state_dict())
    for twin in (env, other):
        one = torch.ones(2, dtype=torch.int64)
        assert [twin.step(one).reward[0].item() for _ in range(4)] == [3.0, 3.0, 3.0, 7.0]


@pytest.mark.parametrize("env_id", ["env_toys:Configured", "env_toys:Defaulting"])
def test_what_the_constructor_was_given_stays_where_nothing_was_configured(env_id):
    env, state = saved_after(env_id, 2, kwargs={"length": 5})
    other = make_env(EnvConfig(id=env_id, num_envs=2, kwargs={"length": 5}))
    other.load_state_dict(state)
    assert same(play(env, 9, 2), play(other, 9, 2))


def test_wrapped_frames_are_restored():
    stack = ({"name": "FrameStackObservation", "kwargs": {"stack_size": 3}},)
    env, state = saved_after("CartPole-v1", 40, wrappers=stack)
    other = make_env(EnvConfig(id="CartPole-v1", num_envs=2, wrappers=stack))
    other.load_state_dict(state)
    assert same(play(env, 20, 4), play(other, 20, 4))


def test_saved_state_is_tensors_and_json():
    _, state = saved_after("Pendulum-v1", 3)

    def plain(value):
        if isinstance(value, dict):
            return all(isinstance(key, str) and plain(entry) for key, entry in value.items())
        if isinstance(value, list):
            return all(plain(entry) for entry in value)
        return value is None or isinstance(value, (bool, int, float, str, torch.Tensor))

    assert plain(state)


def test_history_holds_running_episodes_only():
    generator = np.random.default_rng(0)
    history, expected = ActionHistory(3), [[], [], []]
    for number in range(200):
        row = np.array([number, -number, 2 * number])
        history.append(row)
        for index in range(3):
            expected[index].append(row[index])
        for index in range(3):
            if generator.random() < 0.1:
                history.begin(index)
                expected[index] = []
    for index in range(3):
        assert [int(a) for a in history.of(index)] == expected[index]
        assert history.length(index) == len(expected[index])
    assert len(history._rows) == max(map(len, expected))
    other = ActionHistory(3)
    other.restore([np.array(rows, dtype=np.int64) for rows in expected])
    for index in range(3):
        assert [int(a) for a in other.of(index)] == expected[index]
