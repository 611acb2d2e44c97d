"""The standard Atari preprocessing, against the emulator driven by hand."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

from proximo.config.experiment import EnvConfig
from proximo.envs.make import make_env
from proximo.envs.single import make_single
from proximo.errors import UserError

pytest.importorskip("ale_py")
cv2 = pytest.importorskip("cv2")

BREAKOUT = "BreakoutNoFrameskip-v4"


def test_shape_type_and_no_flag_needed():
    for env_id in ("ALE/Pong-v5", "PongNoFrameskip-v4"):
        env = make_env(EnvConfig(id=env_id, num_envs=2, backend="sync"))
        obs = env.reset(0)["obs"]
        assert obs.shape == (2, 4, 84, 84)
        assert obs.dtype == torch.uint8
        assert env.spec.obs_spaces["obs"].shape == (4, 84, 84)
        assert env.spec.mask_key is None


def by_hand(noops, actions):
    """Pictures and rewards of single frames, through Gymnasium's interface."""
    game = gymnasium.make(BREAKOUT, obs_type="grayscale", frameskip=1, disable_env_checker=True)
    screen, _ = game.reset(seed=0)
    for _ in range(noops):
        screen, *_ = game.step(0)
    pictures, rewards = [], []
    for action in actions:
        frames, total = [], 0.0
        for _ in range(4):
            screen, reward, *_ = game.step(action)
            frames.append(screen)
            total += reward
        both = np.maximum(frames[-1], frames[-2])
        pictures.append(cv2.resize(both, (84, 84), interpolation=cv2.INTER_AREA))
        rewards.append(total)
    return pictures, rewards


def test_pictures_and_rewards_are_those_of_the_emulator():
    env = make_single(EnvConfig(id=BREAKOUT), training=False)
    first, info = env.reset(seed=4)
    noops = 1 + int(np.random.Generator(np.random.PCG64(4)).random() * 30)
    actions = [2, 2, 3, 0, 3, 3, 2, 1] * 8
    pictures, rewards = by_hand(noops, [1, 2, *actions])
    assert info["lives"] == 5
    assert all((first[i] == pictures[1]).all() for i in range(4)), (
        "FIRE, then RIGHT, then the stack is filled"
    )
    expected = [pictures[1]] * 4
    for number, action in enumerate(actions):
        obs, reward, _, _, info = env.step(action)
        if info["lives"] < 5:
            break
        expected = [*expected[1:], pictures[2 + number]]
        np.testing.assert_array_equal(obs, np.stack(expected))
        assert reward == rewards[2 + number]
    assert number > 20


def test_a_lost_life_ends_the_episode_in_training_only():
    training, evaluation = (make_single(EnvConfig(id=BREAKOUT), training=flag) for flag in (True, False))
    training.reset(seed=1)
    evaluation.reset(seed=1)
    lives, total, ends, reports = 5, 0.0, 0, []
    for _ in range(2000):
        obs, reward, terminated, truncated, info = training.step(0)
        total += reward
        assert not truncated
        assert terminated == (info["lives"] < lives)
        lives = info["lives"]
        if terminated:
            ends += 1
            if "episode_return" in info:
                reports.append(info)
                break
            obs, info = training.reset(seed=99)
            assert (obs[0] == obs[3]).all()
            assert info["lives"] == lives, "the game goes on"
    assert ends == 5
    assert reports[0]["episode_length"] >= 5
    steps, terminated = 0, False
    while not terminated:
        *_, terminated, truncated, info = evaluation.step(3)
        assert "episode_return" not in info
        steps += 1
        assert steps < 500, "FIRE is pressed for the agent after a lost life"
    assert info["lives"] == 0


LIMIT = {"name": "TimeLimit", "kwargs": {"max_episode_steps": 3}}


@pytest.mark.parametrize("training", [True, False])
def test_an_end_from_above_is_the_games(training):
    env = make_single(EnvConfig(id=BREAKOUT, wrappers=(LIMIT,)), training=training)
    fresh = make_single(EnvConfig(id=BREAKOUT), training=training)
    env.reset(seed=1)
    for _ in range(3):
        *_, truncated, info = env.step(2)
    assert truncated
    assert info["lives"] == 5
    np.testing.assert_array_equal(env.reset(seed=8)[0], fresh.reset(seed=8)[0])


def test_an_end_from_above_is_reported_and_a_lost_life_is_not():
    env = make_env(EnvConfig(id=BREAKOUT, num_envs=1, backend="sync", wrappers=(LIMIT,)))
    env.reset(1)
    noop = torch.zeros(1, dtype=torch.int64)
    lengths = [env.step(noop).info["episode_length"].nan_to_num(-1.0).item() for _ in range(6)]
    assert lengths == [-1.0, -1.0, 3.0] * 2
    env = make_env(EnvConfig(id=BREAKOUT, num_envs=1, backend="sync"))
    env.reset(1)
    step = env.step(noop)
    while not step.terminated:
        step = env.step(noop)
    assert step.info["episode_length"].isnan().all()


def test_rewards_are_signs_in_training_and_points_in_evaluation():
    points = make_single(EnvConfig(id="ALE/MsPacman-v5"), training=False)
    signs = make_single(EnvConfig(id="ALE/MsPacman-v5"), training=True)
    points.reset(seed=2)
    signs.reset(seed=2)
    pairs = []
    for number in range(130):
        action = (1, 2, 3, 4)[number // 5 % 4]
        pairs.append((points.step(action)[1], signs.step(action)[1]))
    assert max(a for a, _ in pairs) >= 10
    assert all(np.sign(a) == b for a, b in pairs)


def test_true_returns_reach_the_step_info():
    env = make_env(EnvConfig(id=BREAKOUT, num_envs=2))
    env.reset(3)
    generator = torch.Generator().manual_seed(0)
    raw, reports = torch.zeros(2), []
    for _ in range(450):
        step = env.step(torch.randint(0, 4, (2,), generator=generator))
        raw += step.reward
        done = ~step.info["episode_return"].isnan()
        assert not (done & ~step.terminated).any()
        for index in done.nonzero()[:, 0].tolist():
            # All of Breakout's first bricks are worth one point, so the signs add up to the points here.
            reports.append((step.info["episode_return"][index].item(), raw[index].item()))
            raw[index] = 0
    assert len(reports) >= 2
    assert all(a >= b for a, b in reports)
    assert "episode_return" not in make_env(EnvConfig(id=BREAKOUT, num_envs=1), training=False)._infos._blank


@pytest.mark.parametrize("env_id", ["ALE/Pong-v5", BREAKOUT])
def test_restored_bitwise(env_id):
    env, other = (make_env(EnvConfig(id=env_id, num_envs=2, backend="sync")) for _ in range(2))
    env.reset(5)
    generator = torch.Generator().manual_seed(1)
    for _ in range(80):
        env.step(torch.randint(0, 4, (2,), generator=generator))
    other.load_state_dict(env.state_dict())
    for _ in range(80):
        action = torch.randint(0, 4, (2,), generator=generator)
        a, b = env.step(action), other.step(action)
        assert torch.equal(a.obs["obs"], b.obs["obs"])
        assert torch.equal(a.reward, b.reward)
        assert torch.equal(a.terminated, b.terminated)


def test_a_game_restored_after_a_lost_life_goes_on():
    env, other = (make_single(EnvConfig(id=BREAKOUT)) for _ in range(2))
    env.reset(seed=1)
    terminated = False
    while not terminated:
        _, _, terminated, _, info = env.step(0)
    other.reset(seed=2)
    other.load_state_dict(env.state_dict())
    np.testing.assert_array_equal(env.reset(seed=3)[0], other.reset(seed=3)[0])
    assert info["lives"] == other.step(0)[4]["lives"] == 4


def test_the_last_picture_of_an_episode_is_restored_too():
    """A limit that falls into a step leaves the pictures of the step before."""
    config = EnvConfig(id=BREAKOUT, num_envs=4, backend="sync", max_episode_steps=12)
    env, other = make_env(config), make_env(config)
    env.reset(0)
    right, ends = torch.full((4,), 2), 0
    for _ in range(12):
        other.load_state_dict(env.state_dict())
        expected, got = env.step(right).final, other.step(right).final
        assert torch.equal(got.obs["obs"], expected.obs["obs"])
        ends += len(expected.index)
    assert ends >= 4


def test_sticky_actions_follow_the_id():
    sticky, plain = make_single(EnvConfig(id="ALE/Pong-v5")), make_single(EnvConfig(id="PongNoFrameskip-v4"))
    assert (sticky._sticky, plain._sticky) == (0.25, 0.0)
    own = make_single(EnvConfig(id="ALE/Pong-v5", kwargs={"repeat_action_probability": 0.1}))
    assert own._sticky == 0.1


def test_episodes_are_truncated_at_the_limit():
    env = make_single(EnvConfig(id="ALE/Pong-v5", max_episode_steps=20))
    env.reset(seed=0)
    truncated, steps = False, 0
    while not truncated:
        *_, terminated, truncated, info = env.step(0)
        assert not terminated
        steps += 1
    assert info["episode_length"] == steps <= 20


def test_ram_and_own_preprocessing_are_left_alone():
    assert make_env(EnvConfig(id="ALE/Pong-v5", num_envs=1, kwargs={"obs_type": "ram"})).reset(0)[
        "obs"
    ].shape == (1, 128)
    own = {"name": "AtariPreprocessing", "kwargs": {"screen_size": 42}}
    env = make_env(EnvConfig(id="PongNoFrameskip-v4", num_envs=1, wrappers=(own,)))
    assert env.reset(0)["obs"].shape == (1, 42, 42)
    with pytest.raises(UserError, match="frameskip"):
        make_env(EnvConfig(id="ALE/Pong-v5", kwargs={"frameskip": 2}))


def test_colour_pictures_are_rendered():
    env = make_env(EnvConfig(id="ALE/Pong-v5", num_envs=1), render_mode="rgb_array")
    env.reset(0)
    assert env.render().shape == (210, 160, 3)
