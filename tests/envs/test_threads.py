"""MuJoCo stepped by threads: bit for bit what Gymnasium's environments do one after the other."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from proximo.config.experiment import EnvConfig
from proximo.core.engines.native.fleet import kernels
from proximo.core.engines.native.library import INSTALL
from proximo.envs import make as front
from proximo.envs.gym import SyncEnv
from proximo.envs.make import choose_backend, make_env
from proximo.envs.threads import ThreadedMujoco
from proximo.errors import RunError, UserError

pytest.importorskip("mujoco", reason="MuJoCo is not installed: pip install 'proximo[mujoco]'")
pytestmark = pytest.mark.skipif(kernels() is None, reason=f"the native kernels are not built: {INSTALL}")

TOYS = "mujoco_toys"
TASKS = sorted(
    name
    for name, spec in gym.registry.items()
    if str(spec.entry_point).startswith("gymnasium.envs.mujoco") and spec.version in (4, 5)
    # It needs a MuJoCo older than 3.
    if name != "Pusher-v4"
)


def make(env_id, backend, n=5, **config):
    return make_env(EnvConfig(id=env_id, num_envs=n, backend=backend, **config))


def actions(env, steps, seed=0):
    space, draw = env.spec.action_space, np.random.default_rng(seed)
    shape = (steps, env.spec.num_envs, *space.shape)
    return torch.from_numpy(draw.uniform(space.low, space.high, shape).astype(np.float32))


def assert_same(a, b):
    for name in ("reward", "terminated", "truncated", "valid"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    assert torch.equal(a.obs["obs"], b.obs["obs"])
    assert torch.equal(a.final.index, b.final.index)
    assert torch.equal(a.final.obs["obs"], b.final.obs["obs"])
    assert a.info.keys() == b.info.keys()
    for name, values in a.info.items():
        assert torch.equal(values.nan_to_num(7.0), b.info[name].nan_to_num(7.0)), name


@pytest.mark.parametrize("env_id", TASKS)
def test_every_task_is_bitwise_gymnasiums(env_id):
    config = {"max_episode_steps": 20, "info": ("x_position", "reward_ctrl")}
    one, many = make(env_id, "sync", **config), make(env_id, "threads", **config)
    assert type(one) is SyncEnv
    assert type(many) is ThreadedMujoco
    assert torch.equal(one.reset(3)["obs"], many.reset(3)["obs"])
    ends = 0
    for action in actions(one, 50):
        expected, got = one.step(action), many.step(action)
        assert_same(expected, got)
        ends += len(got.final.index)
    assert ends >= 10
    one.close()
    many.close()


def test_many_copies_over_many_steps():
    """More copies than threads, with episodes that end by themselves: whoever takes a copy, it is the same."""
    one, many = make("Hopper-v5", "sync", 23), make("Hopper-v5", "threads", 23)
    one.reset(0)
    many.reset(0)
    for action in actions(one, 100):
        assert_same(one.step(action), many.step(action))


@pytest.mark.parametrize("order", ["forwards", "backwards", "every second"])
def test_results_may_be_asked_for_in_any_order(order, monkeypatch):
    """Two spares for nine copies: what was computed too early for its turn is computed again."""
    from proximo.envs import threads

    monkeypatch.setattr(threads, "SPARES_A_THREAD", 1)
    one, many = make("Walker2d-v5", "sync", 9), make("Walker2d-v5", "threads", 9)
    one.reset(4)
    many.reset(4)
    asked = {"forwards": range(9), "backwards": range(8, -1, -1), "every second": range(0, 9, 2)}[order]
    for action in actions(one, 5):
        one.step(action)
        rows = action.numpy()
        many._begin(rows)
        for index in asked:
            base = many._bases[index]
            base.do_simulation(many._ahead[index], base.frame_skip)
        for index in asked:
            expected, got = one._copies.envs[index].unwrapped.data, many._bases[index].data
            assert np.array_equal(got.qpos, expected.qpos)
            assert np.array_equal(got.cfrc_ext, expected.cfrc_ext)


def test_copies_of_gymnasiums_own_share_a_model():
    """Half a megabyte each; a class or a wrapper of the user's may write to its model and so keeps it."""
    many = make("HalfCheetah-v5", "threads", 4)
    assert len({id(base.model) for base in many._bases}) == 1
    assert all(base.mujoco_renderer.model is base.model for base in many._bases)
    own = make(f"{TOYS}:Sloped", "threads", 4)
    assert len({id(base.model) for base in own._bases}) == 4
    wrapped = make("Hopper-v5", "threads", 4, wrappers=[{"name": f"{TOYS}:Looking"}])
    assert len({id(base.model) for base in wrapped._bases}) == 4


def test_copies_with_different_bodies_are_refused():
    """One's memory is too small for another's state."""
    with pytest.raises(UserError, match="different bodies; use sync"):
        make(f"{TOYS}:EveryOtherAnother", "threads", 3)


def test_the_threads_do_the_physics(monkeypatch):
    many = make("HalfCheetah-v5", "threads", 3)
    many.reset(0)

    def never(*args):
        raise AssertionError("simulated in Python")

    for base in many._bases:
        monkeypatch.setattr(base, "_step_mujoco_simulation", never)
    for action in actions(many, 3):
        many.step(action)


def test_running_episodes_come_back_bitwise():
    """Replayed without the threads, resumed with them."""
    many, other = make("Walker2d-v5", "threads", 3), make("Walker2d-v5", "threads", 3)
    many.reset(1)
    steps = actions(many, 60)
    for action in steps[:40]:
        many.step(action)
    other.load_state_dict(many.state_dict())
    for action in steps[40:]:
        assert_same(many.step(action), other.step(action))


def test_a_curriculum_that_changes_the_frames_of_a_step():
    one, many = (make("Hopper-v5", name, 4, max_episode_steps=9) for name in ("sync", "threads"))
    for env in (one, many):
        env.reset(0)
    for number, action in enumerate(actions(one, 40)):
        if number == 5:
            one.configure({"frame_skip": 2})
            many.configure({"frame_skip": 2})
        assert_same(one.step(action), many.step(action))


def test_an_error_in_one_copy_leaves_the_threads_in_order():
    from mujoco_toys import Stumbling

    many, one = make(f"{TOYS}:Stumbling", "threads", 4), make("Hopper-v5", "sync", 4)
    many.reset(2)
    one.reset(2)
    step = actions(many, 2)
    Stumbling.left = 2
    with pytest.raises(RunError, match=r"environment 1 .*ArithmeticError: stumbled"):
        many.step(step[0])
    many.reset(2)
    assert_same(one.step(step[1]), many.step(step[1]))


def test_subclasses_that_keep_gymnasiums_step():
    one, many = make(f"{TOYS}:Sloped", "sync", 3), make(f"{TOYS}:Sloped", "threads", 3)
    one.reset(0)
    many.reset(0)
    for action in actions(one, 30):
        assert_same(one.step(action), many.step(action))


def test_what_threads_cannot_step_is_refused_in_one_line_and_left_to_sync():
    wrapped = {"wrappers": [{"name": f"{TOYS}:Doubling"}]}
    for env_id, config, why in [
        (f"{TOYS}:Pushed", {}, "a step of its own"),
        ("Hopper-v5", wrapped, "Doubling may change actions"),
        ("MountainCarContinuous-v0", {}, "MujocoEnv and its subclasses only"),
        ("LunarLander-v3", {}, "MujocoEnv and its subclasses only"),
    ]:
        with pytest.raises(UserError, match=why) as error:
            make(env_id, "threads", 2, **config)
        assert "\n" not in str(error.value)
    name, reason = choose_backend(EnvConfig(id=f"{TOYS}:Pushed"))
    assert name == "sync"
    assert "a step of its own" in reason


def test_another_simulation_than_the_threads_is_found_out(monkeypatch):
    import mujoco

    own = mujoco.mj_step
    monkeypatch.setattr(mujoco, "mj_step", lambda model, data, nstep: own(model, data, nstep=nstep + 1))
    with pytest.raises(UserError, match="simulates in another way"):
        make("Hopper-v5", "threads", 2)


def test_auto_takes_threads_where_two_cores_and_two_copies_are(monkeypatch):
    monkeypatch.setattr(front, "cores", lambda: 2)
    assert choose_backend(EnvConfig(id="Ant-v5"))[0] == "threads"
    assert choose_backend(EnvConfig(id="Ant-v5", num_envs=1))[0] == "sync"
    monkeypatch.setattr(front, "cores", lambda: 1)
    assert choose_backend(EnvConfig(id="Ant-v5"))[0] == "sync"
    assert type(make("Ant-v5", "threads", 1)) is SyncEnv
