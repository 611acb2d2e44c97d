"""BatchClassic: step for step what Gymnasium's classic-control tasks do, by the kernels and as an array program."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from classic_twin import gymnasiums, make, put, sampler, scattered, seen_by, states, twin_steps

from proximo.core import rng
from proximo.core.engines.native.classic import kernels
from proximo.envs.classic_tasks import TASKS, draws
from proximo.errors import RunError, UserError

IDS = list(TASKS)
NATIVE = pytest.param(True, marks=pytest.mark.skipif(kernels() is None, reason="the kernels are not built"))
BOTH = pytest.mark.parametrize("native", [NATIVE, False])
needs_kernels = pytest.mark.skipif(kernels() is None, reason="the kernels are not built")


@BOTH
@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("kind", ["played", "scattered"])
def test_every_step_is_gymnasiums(env_id, native, kind):
    count, generator = 20, np.random.default_rng(1)
    env, twin = make(env_id, count, native), gymnasiums(env_id).unwrapped
    env.reset(3)
    sample, ended = sampler(env), 0
    for _ in range(200):
        if kind == "scattered":
            put(env, scattered(env_id, count, generator))
        before, action = states(env).copy(), sample()
        step = env.step(action)
        seen = seen_by(step)
        for i, (obs, reward, terminated) in enumerate(twin_steps(twin, env_id, before, action)):
            np.testing.assert_allclose(seen[i], obs, rtol=1e-6, atol=1e-6)
            assert step.reward[i].item() == pytest.approx(np.float32(reward), rel=2e-7, abs=1e-9)
            assert step.terminated[i].item() == terminated
            ended += terminated
    if env_id == "Pendulum-v1":
        assert ended == 0
    elif kind == "scattered" or env_id.startswith("CartPole"):
        assert ended > 50


@pytest.mark.parametrize("env_id", IDS)
def test_rewards_in_double_precision(env_id):
    state, task = scattered(env_id, 300, np.random.default_rng(2)), TASKS[env_id]
    env = make(env_id, 300, native=False)
    env.reset(0)
    action, twin = sampler(env)(), gymnasiums(env_id).unwrapped
    columns = tuple(env.state_dict()["parameters"].numpy().T[: len(task.parameters)])
    _, reward, _ = task.step(tuple(state.T), action.numpy(), columns)
    wanted = [float(row[1]) for row in twin_steps(twin, env_id, state, action)]
    np.testing.assert_allclose(reward, wanted, rtol=0, atol=1e-9)


@needs_kernels
@pytest.mark.parametrize("env_id", IDS)
def test_kernels_equal_the_array_program(env_id):
    ours, theirs = make(env_id, 16, first_env=5), make(env_id, 16, native=False, first_env=5)
    assert ours.native is not None
    assert theirs.native is None
    assert torch.equal(ours.reset(9)["obs"], theirs.reset(9)["obs"])
    sample, worst = sampler(ours), 0.0
    for _ in range(1000):
        action = sample()
        a, b = ours.step(action), theirs.step(action)
        for key in ("reward", "terminated", "truncated"):
            torch.testing.assert_close(getattr(a, key), getattr(b, key), rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(a.obs["obs"], b.obs["obs"], rtol=1e-6, atol=1e-7)
        assert a.final.index.tolist() == b.final.index.tolist()
        torch.testing.assert_close(a.final.obs["obs"], b.final.obs["obs"], rtol=1e-6, atol=1e-7)
        worst = max(worst, np.abs(states(ours) - states(theirs)).max())
        # Acrobot is chaotic: what sine and cosine differ by in the last digit would grow.
        put(theirs, states(ours).copy())
    assert worst <= 1e-12
    assert torch.equal(ours.state_dict()["episode"], theirs.state_dict()["episode"])


def test_draws_are_the_hash_of_the_random_numbers_module():
    key = rng.stream_key(4, "env")
    got = draws(key, np.array([3, 4]), np.array([6, 6]))
    assert got.shape == (2, 4)
    bits = rng.bits(key, torch.tensor([3, 4]), 6, 1, 4)[0].numpy().view(np.uint64)
    np.testing.assert_array_equal(got, (bits >> np.uint64(11)).astype(np.float64) / 2**53)


RANGES = {
    "Acrobot-v1": [(-0.1, 0.1)] * 4,
    "Pendulum-v1": [(-np.pi, np.pi), (-1, 1)],
    "MountainCar-v0": [(-0.6, -0.4)],
    "MountainCarContinuous-v0": [(-0.6, -0.4)],
}


@BOTH
@pytest.mark.parametrize("env_id", IDS)
def test_first_states_fill_their_ranges(env_id, native):
    env = make(env_id, 4096, native)
    env.reset(0)
    state, ranges = states(env), RANGES.get(env_id, [(-0.05, 0.05)] * 4)
    for k, (low, high) in enumerate(ranges):
        # Evenly: the standard deviation of an even spread is its width / √12; 4096 of them, 5 sigma.
        assert low <= state[:, k].min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < state[:, k].max() <= high
        assert abs(state[:, k].mean() - (low + high) / 2) < 5 * (high - low) / 12**0.5 / 64
        assert state[:, k].std() == pytest.approx((high - low) / 12**0.5, rel=0.05)
    assert (state[:, len(ranges) :] == 0).all()
    off = np.corrcoef(state[:, : len(ranges)].T) - np.eye(len(ranges)) if len(ranges) > 1 else np.zeros(1)
    assert np.abs(off).max() < 5 / 64


@BOTH
def test_first_states_differ_by_copy_episode_and_seed_and_repeat(native):
    env = make("CartPole-v1", 8, native, max_episode_steps=1)
    first = env.reset(1)["obs"]
    second = env.step(torch.zeros(8, dtype=torch.int64)).obs["obs"]
    seen = torch.cat([first, second, env.reset(2)["obs"]])
    assert len(torch.unique(seen, dim=0)) == 24
    assert torch.equal(env.reset(1)["obs"], first)
    assert torch.equal(make("CartPole-v1", 4, native, first_env=4).reset(1)["obs"], first[4:])


@BOTH
@pytest.mark.parametrize(
    ("env_id", "limit"), [("CartPole-v0", 200), ("MountainCar-v0", 200), ("Pendulum-v1", 7)]
)
def test_time_limits_and_last_observations(env_id, limit, native):
    options = {"max_episode_steps": limit} if env_id == "Pendulum-v1" else {}
    env = make(env_id, 3, native, **options)
    obs, sample = env.reset(0)["obs"], sampler(env)
    if env_id == "CartPole-v0":
        env.configure({"force_mag": 0.0, "gravity": 0.0})
        obs = env.reset(0)["obs"]
    for t in itertools.count(1):
        before, step = obs, env.step(sample())
        obs = step.obs["obs"]
        assert bool(step.truncated.all()) == bool(step.truncated.any()) == (t % limit == 0)
        assert not step.terminated.any()
        if t % limit == 0:
            assert step.final.index.tolist() == [0, 1, 2]
            near = (step.final.obs["obs"] - before).abs().max()
            assert near < 2.0
            assert not torch.equal(step.final.obs["obs"], obs)
        else:
            assert step.final.index.shape == (0,)
            assert step.final.obs["obs"].shape == (0, env.spec.obs_spaces["obs"].shape[0])
        if t == 2 * limit:
            break
    assert env.state_dict()["episode"].tolist() == [2, 2, 2]


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize(
    ("before", "after"), [(NATIVE, NATIVE), (NATIVE, False), (False, NATIVE), (False, False)]
)
def test_saved_and_loaded_it_goes_on_bitwise(env_id, before, after):
    first = make(env_id, 5, before, max_episode_steps=60)
    first.reset(6)
    sample = sampler(first)
    for _ in range(50):
        first.step(sample())
    first.configure({"max_speed": 0.06} if "Mountain" in env_id else {})
    saved = {key: v.clone() if isinstance(v, torch.Tensor) else v for key, v in first.state_dict().items()}
    actions = [sample() for _ in range(100)]
    wanted = [first.step(action) for action in actions]
    second = make(env_id, 5, after, max_episode_steps=60)
    second.load_state_dict(saved)
    for action, want in zip(actions, wanted, strict=True):
        got = second.step(action)
        assert torch.equal(got.obs["obs"], want.obs["obs"])
        assert torch.equal(got.reward, want.reward)
        assert torch.equal(got.truncated | got.terminated, want.truncated | want.terminated)


def test_a_checkpoint_of_something_else_is_refused():
    env = make("CartPole-v1", 2)
    env.load_state_dict({"seed": None})
    other = make("CartPole-v1", 3)
    other.reset(0)
    with pytest.raises(RunError, match="holds 3 environments"):
        env.load_state_dict(other.state_dict())
    with pytest.raises(RunError, match="not made with env"):
        env.load_state_dict({"seed": 1, "episode": [0, 0], "actions": []})


CONFIGURED = {
    "CartPole-v1": {"gravity": 3.0, "length": 0.7, "x_threshold": 1.0, "kinematics_integrator": "other"},
    "Acrobot-v1": {"LINK_MASS_2": 1.5, "LINK_MOI": 0.8, "MAX_VEL_1": 2.0, "book_or_nips": "nips", "dt": 0.1},
    "MountainCar-v0": {"force": 0.002, "goal_position": 0.2, "max_speed": 0.03},
    "MountainCarContinuous-v0": {"power": 0.003, "goal_velocity": 0.01, "min_action": -0.5},
    "Pendulum-v1": {"g": 4.0, "m": 1.3, "l": 0.8, "max_torque": 1.0, "dt": 0.02, "max_speed": 5},
}


@BOTH
@pytest.mark.parametrize("env_id", CONFIGURED)
def test_parameters_apply_from_the_next_reset_on_as_attributes(env_id, native):
    params, count = CONFIGURED[env_id], 10
    env, old = make(env_id, count, native), make(env_id, count, native)
    for e in (env, old):
        e.reset(0)
    env.configure(params)
    action = sampler(env)()
    assert torch.equal(env.step(action).obs["obs"], old.step(action).obs["obs"])
    env.reset(0)
    twin = gymnasiums(env_id).unwrapped
    for name, value in params.items():
        setattr(twin, name, value)
    generator, sample = np.random.default_rng(0), sampler(env)
    for _ in range(20):
        put(env, scattered(env_id, count, generator))
        before, action = states(env).copy(), sample()
        step = env.step(action)
        seen = seen_by(step)
        for i, (obs, _, terminated) in enumerate(twin_steps(twin, env_id, before, action)):
            np.testing.assert_allclose(seen[i], obs, rtol=1e-6, atol=1e-6)
            assert step.terminated[i].item() == terminated


def test_parameters_that_do_not_exist():
    env = make("CartPole-v1", 1)
    with pytest.raises(UserError, match="no parameter 'gravitty'; did you mean 'gravity'"):
        env.configure({"force_mag": 1.0, "gravitty": 3.0})
    with pytest.raises(UserError, match="must be a number"):
        env.configure({"gravity": "low"})
    assert env.state_dict() == {"seed": None}


@BOTH
def test_constructor_arguments(native):
    env = make("CartPole-v1", 2, native, kwargs={"sutton_barto_reward": True}, max_episode_steps=500)
    env.reset(0)
    rewards = {(step.reward[0].item(), step.terminated[0].item()) for step in play(env, 100)}
    assert rewards == {(0.0, False), (-1.0, True)}
    moon = make("Pendulum-v1", 2, native, kwargs={"g": 1.6})
    assert not torch.equal(last(moon), last(make("Pendulum-v1", 2, native)))


def play(env, steps):
    sample = sampler(env)
    return [env.step(sample()) for _ in range(steps)]


def last(env):
    env.reset(0)
    return play(env, 20)[-1].obs["obs"]
