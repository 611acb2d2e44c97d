"""Gymnasium's vector environments in all three autoreset modes."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from env_toys import Copying, Counter, InfoMasked, Nested, NoMode
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from proximo.config.experiment import EnvConfig
from proximo.core.collect import Collector
from proximo.core.rng import integer_seed
from proximo.core.types import VecEnv
from proximo.envs.make import make_env
from proximo.envs.vector import GymVectorEnv, autoreset_mode
from proximo.errors import RunError, UserError

CPU = torch.device("cpu")
MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED]


def vector(make, mode, n=2, **config):
    venv = SyncVectorEnv([make] * n, autoreset_mode=mode)
    return GymVectorEnv(venv, EnvConfig(id="env_toys:Counter", num_envs=n, **config), CPU)


def zeros(n=2):
    return torch.zeros(n, dtype=torch.int64)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gives_the_true_last_observation(mode):
    env = vector(lambda: Copying(length=2), mode, info=("level",))
    assert isinstance(env, VecEnv)
    assert env.reset(3)["obs"][:, 1].tolist() == [0, 0]
    first = env.step(zeros())
    assert first.final.index.tolist() == []
    assert first.final.obs["obs"].shape == (0, 2)
    end = env.step(zeros() + 2)
    assert end.terminated.tolist() == [True, True]
    assert end.valid.tolist() == [True, True]
    assert end.final.index.tolist() == [0, 1]
    assert end.final.obs["obs"][:, 1].tolist() == [2, 2]
    assert end.reward.tolist() == [2.0, 2.0]
    assert end.info["level"].tolist() == [2.0, 2.0]
    assert end.info["success"].tolist() == [1.0, 1.0]
    after = env.step(zeros())
    if mode is AutoresetMode.NEXT_STEP:
        assert end.obs["obs"][:, 1].tolist() == [2, 2]
        assert after.valid.tolist() == [False, False]
        assert after.obs["obs"][:, 1].tolist() == [0, 0]
        assert not (after.terminated | after.truncated).any()
    else:
        assert end.obs["obs"][:, 1].tolist() == [0, 0]
        assert after.valid.tolist() == [True, True]
        assert after.obs["obs"][:, 1].tolist() == [1, 1]


def test_copies_end_independently_in_next_step_mode():
    lengths = iter([1, 3])
    env = vector(lambda: Counter(length=next(lengths)), AutoresetMode.NEXT_STEP)
    env.reset(0)
    steps = [env.step(zeros()) for _ in range(6)]
    assert [s.valid.tolist() for s in steps] == [
        [True, True],
        [False, True],
        [True, True],
        [False, False],
        [True, True],
        [False, True],
    ]
    assert [s.final.index.tolist() for s in steps] == [[0], [], [0, 1], [], [0], []]


@pytest.mark.parametrize("env_id", ["CartPole-v1", "env_toys:Counter"])
def test_disabled_mode_is_bitwise_the_in_process_one(env_id):
    make = (lambda: gymnasium.make(env_id)) if env_id == "CartPole-v1" else Counter
    config = EnvConfig(id=env_id, num_envs=3, backend="sync")
    venv = SyncVectorEnv([make] * 3, autoreset_mode=AutoresetMode.DISABLED)
    ours, theirs = GymVectorEnv(venv, config, CPU), make_env(config)
    assert torch.equal(ours.reset(4)["obs"], theirs.reset(4)["obs"])
    generator = torch.Generator().manual_seed(0)
    ends = 0
    for _ in range(80):
        action = torch.randint(0, 2, (3,), generator=generator)
        a, b = ours.step(action), theirs.step(action)
        for key in ("reward", "terminated", "truncated", "valid"):
            assert torch.equal(getattr(a, key), getattr(b, key))
        assert torch.equal(a.obs["obs"], b.obs["obs"])
        assert torch.equal(a.final.index, b.final.index)
        assert torch.equal(a.final.obs["obs"], b.final.obs["obs"])
        ends += len(a.final.index)
    assert ends > 3


@pytest.mark.parametrize("mode", MODES)
def test_nested_observations_in_every_mode(mode):
    env = vector(Nested, mode)
    assert env.spec.mask_key == "action_mask"
    env.reset(0)
    for number in range(1, 5):
        step = env.step(zeros())
        assert step.final.index.tolist() == ([0, 1] if number == 4 else [])
    assert step.truncated.all()
    assert step.final.obs["a.c"].tolist() == [6, 6]
    assert step.final.obs["t.1"].shape == (2, 3, 3, 1)
    assert step.final.obs["action_mask"].tolist() == [[1, 0, 1]] * 2
    assert step.obs["a.c"].tolist() == ([6, 6] if mode is AutoresetMode.NEXT_STEP else [2, 2])


@pytest.mark.parametrize("mode", MODES)
def test_a_mask_in_info_in_every_mode(mode):
    env = vector(lambda: InfoMasked(length=2), mode)
    assert env.spec.mask_key == "action_mask"
    assert env.reset(0)["action_mask"].tolist() == [[1, 0, 0]] * 2
    assert env.step(zeros()).obs["action_mask"].tolist() == [[0, 1, 0]] * 2
    step = env.step(zeros())
    assert step.final.obs["action_mask"].tolist() == [[0, 0, 1]] * 2
    # The action after an end is thrown away in next-step mode: everything is allowed there.
    last = [1, 1, 1] if mode is AutoresetMode.NEXT_STEP else [1, 0, 0]
    assert step.obs["action_mask"].tolist() == [last] * 2


@pytest.mark.parametrize("mode", MODES)
def test_what_was_returned_never_changes(mode):
    env = vector(Counter, mode)
    kept = [env.reset(0)["obs"]]
    copies = [kept[0].clone()]
    for _ in range(7):
        step = env.step(zeros())
        kept += [step.obs["obs"], step.reward, step.valid]
        copies += [entry.clone() for entry in kept[-3:]]
    assert all(torch.equal(a, b) for a, b in zip(kept, copies, strict=True))


def test_gymnasiums_own_vectorised_cartpole():
    env = make_env(EnvConfig(id="CartPole-v1", num_envs=4, backend="vector"))
    assert isinstance(env, GymVectorEnv)
    twin = gymnasium.make_vec("CartPole-v1", 4, vectorization_mode="vector_entry_point")
    assert twin.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    raw, _ = twin.reset(seed=integer_seed(9, "env"))
    obs = env.reset(9)["obs"]
    done = np.zeros(4, bool)
    generator = torch.Generator().manual_seed(0)
    ends = 0
    for _ in range(120):
        np.testing.assert_array_equal(obs.numpy(), raw)
        action = torch.randint(0, 2, (4,), generator=generator)
        step = env.step(action)
        raw, reward, terminated, truncated, _ = twin.step(action.numpy())
        assert step.valid.tolist() == (~done).tolist()
        done = terminated | truncated
        assert step.final.index.tolist() == np.flatnonzero(done).tolist()
        np.testing.assert_array_equal(step.final.obs["obs"].numpy(), raw[done])
        np.testing.assert_array_equal(step.reward.numpy(), reward.astype(np.float32))
        obs, ends = step.obs["obs"], ends + int(done.sum())
    assert ends > 4


def test_time_limits_truncate():
    env = make_env(EnvConfig(id="CartPole-v1", num_envs=2, backend="vector", max_episode_steps=3))
    env.reset(0)
    steps = [env.step(zeros()) for _ in range(3)]
    assert [s.truncated.any().item() for s in steps] == [False, False, True]


def test_a_mode_that_is_not_told_is_not_guessed():
    with pytest.raises(UserError, match=r"NoMode: metadata\['autoreset_mode'\] is None"):
        GymVectorEnv(NoMode(), EnvConfig(id="env_toys:NoMode"), CPU)
    for given in (AutoresetMode.SAME_STEP, "SameStep", "SAME_STEP"):
        env = NoMode()
        env.metadata = {"autoreset_mode": given}
        assert autoreset_mode(env) is AutoresetMode.SAME_STEP


def test_a_vector_class_is_recognised():
    with pytest.raises(UserError, match="autoreset_mode"):
        make_env(EnvConfig(id="env_toys:NoMode", num_envs=2))


def test_wrong_requests():
    env = vector(Counter, AutoresetMode.SAME_STEP)
    with pytest.raises(RunError, match="reset must be called"):
        env.step(zeros())
    with pytest.raises(UserError, match="no configure method"):
        env.configure({"length": 2})
    with pytest.raises(RunError, match="render_mode"):
        env.render()
    with pytest.raises(UserError, match="no vectorised implementation"):
        make_env(EnvConfig(id="Acrobot-v1", backend="vector"))
    with pytest.raises(UserError, match=r"env\.wrappers"):
        make_env(EnvConfig(id="CartPole-v1", backend="vector", wrappers=({"name": "ClipReward"},)))


class Configured(NoMode):
    """A vector environment with a `configure` of its own, whose `close` fails."""

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_fps": 7}
    size = 1.0

    def configure(self, size):
        self.size = size

    def reset(self, *, seed=None, options=None):
        return np.full((self.num_envs, 1), self.size, np.float32), {}

    def step(self, action):
        obs = np.full((self.num_envs, 1), self.size, np.float32)
        never = np.zeros(self.num_envs, np.bool_)
        return obs, np.zeros(self.num_envs), never, never, {}

    def close(self, **kwargs):
        if self.closed:
            return
        # Gymnasium closes what nobody closed once more when it is collected.
        self.closed = True
        raise AssertionError("the door is stuck")


def test_what_was_configured_comes_back_with_a_checkpoint():
    """Episodes begin anew, but a curriculum must not fall back to the beginning."""
    config = EnvConfig(id="env_toys:Configured", num_envs=2)
    collectors = [Collector(GymVectorEnv(Configured(), config, CPU), 4, 0, CPU) for _ in range(2)]
    for collector in collectors:
        collector.reset()
    collectors[0].env.configure({"size": 5.0})
    collectors[1].load_state_dict(collectors[0].state_dict())
    for collector in collectors:
        collector.env._env.closed = True
    assert collectors[1].obs["obs"].tolist() == [[5.0], [5.0]]


def test_the_rate_of_pictures_and_a_failing_close_are_told():
    env = GymVectorEnv(Configured(), EnvConfig(id="env_toys:Configured", num_envs=2), CPU)
    assert env.metadata["render_fps"] == 7
    with pytest.raises(RunError, match=r"close\(\) raised .*the door is stuck"):
        env.close()


class Bad(Counter):
    def step(self, action):
        obs, _, terminated, truncated, info = super().step(action)
        if action == 1:
            raise ValueError("roof")
        return obs, np.nan if action == 2 else 0.0, terminated, truncated, info


@pytest.mark.parametrize(("action", "words"), [(1, "raised ValueError: roof"), (2, "gave the reward nan")])
def test_what_goes_wrong_is_named(action, words):
    env = vector(Bad, AutoresetMode.NEXT_STEP)
    env.reset(0)
    with pytest.raises(RunError, match=words):
        env.step(zeros() + action)


def test_observations_are_checked():
    class Infinite(Counter):
        def step(self, action):
            return np.array([np.inf, 0.0]), 0.0, False, False, {}

    env = vector(Infinite, AutoresetMode.NEXT_STEP)
    env.reset(0)
    with pytest.raises(RunError, match=r"environment 0.*NaN or infinity in the observation 'obs'"):
        env.step(zeros())


def test_actions_outside_the_space_are_still_refused():
    """Gymnasium's own tasks leave the check to the adapter."""
    config = EnvConfig(id="CartPole-v1", backend="vector")
    env = make_env(config, num_envs=2)
    env.reset(0)
    env.step(torch.tensor([0, 1]))
    with pytest.raises(RunError, match=r"actions \[0, 7\] are not in Discrete\(2\)"):
        env.step(torch.tensor([0, 7]))
    env.close()


@pytest.mark.parametrize(("place", "name"), [(0, "obs"), (1, "reward"), (2, "terminated")])
def test_one_row_for_all_copies_is_refused(place, name):
    """NumPy would give every copy the same numbers."""
    env = GymVectorEnv(vector_of("CartPole-v1"), EnvConfig(id="CartPole-v1", num_envs=2), CPU)
    env.reset(0)
    step = env._env.step

    def first_row(action):
        answer = list(step(action))
        answer[place] = answer[place][0]
        return tuple(answer)

    env._env.step = first_row
    with pytest.raises(RunError, match=f"gave '{name}' in shape"):
        env.step(torch.tensor([0, 1]))
    env.close()


def vector_of(env_id):
    return gymnasium.make_vec(env_id, num_envs=2, vectorization_mode="vector_entry_point")
