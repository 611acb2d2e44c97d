"""Evaluation: fixed shares and seeds, true episode ends, no trace in training, honest verdicts."""

import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from proximo.config.experiment import EnvConfig, PolicyConfig
from proximo.core.types import Act, EnvSpec, Final, NoiseSpec, Step
from proximo.envs.make import make_env
from proximo.errors import RunError
from proximo.policies.actor_critic import ActorCritic
from proximo.runs import evaluation
from proximo.runs.evaluation import (
    EvalResult,
    actor,
    copies,
    evaluate,
    play,
    random_actor,
    random_baseline,
    verdict,
)

CARTPOLE = EnvConfig(id="CartPole-v1")


class Scripted:
    """Episode k of copy i lasts `lengths[i][k]` steps and pays 1 a step; optionally resets in a step of its own."""

    def __init__(self, lengths, next_step=False, info=None):
        count = len(lengths)
        obs = {"obs": spaces.Box(-1, 1, (1,), np.float32)}
        self.spec = EnvSpec("Scripted", obs, spaces.Discrete(2), count, torch.device("cpu"))
        self.lengths, self.next_step, self.info = lengths, next_step, info or (lambda *_: {})
        self.t, self.k, self.over = [0] * count, [0] * count, [False] * count

    def reset(self, seed):
        return {"obs": torch.zeros(len(self.lengths), 1)}

    def step(self, action):
        valid = [not over for over in self.over]
        done = []
        for i, lengths in enumerate(self.lengths):
            if self.over[i]:
                self.over[i] = False
                done.append(False)
                continue
            self.t[i] += 1
            done.append(self.t[i] == lengths[self.k[i] % len(lengths)])
        info = {k: torch.tensor(v) for k, v in self.info(self.k, done).items()}
        for i, ended in enumerate(done):
            if ended:
                self.t[i], self.k[i], self.over[i] = 0, self.k[i] + 1, self.next_step
        end = torch.tensor(done)
        count = len(done)
        nothing = Final(torch.zeros(0, dtype=torch.int64), {})
        obs = {"obs": torch.zeros(count, 1)}
        return Step(obs, torch.ones(count), end, ~end & False, nothing, torch.tensor(valid), info)


def idle(obs, start):
    return torch.zeros(len(start), dtype=torch.int64)


@pytest.mark.parametrize("next_step", [False, True])
def test_each_copy_plays_its_share_whatever_the_lengths(next_step):
    env = Scripted([[1], [50], [3, 7]], next_step)
    result = play(env, idle, 5, seed=0)
    # Episodes 0, 1, 2 are the copies' first ones, 3 and 4 the second ones of copies 0 and 1.
    assert result.lengths == [1, 50, 3, 1, 50]
    assert result.returns == [1.0, 50.0, 3.0, 1.0, 50.0]


@pytest.mark.parametrize(
    ("next_step", "expected"),
    [(False, [1, 0, 1, 0, 1, 0, 1, 0]), (True, [1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 0])],
)
def test_memory_is_told_where_episodes_begin(next_step, expected):
    starts = []

    def act(obs, start):
        starts.append(int(start[0]))
        return idle(obs, start)

    play(Scripted([[2]], next_step), act, 4, seed=0)
    assert starts == expected


def test_reported_returns_and_ends_win():
    """A wrapper that ends episodes early reports the true return at every second end only."""

    def info(k, done):
        end = done[0] and k[0] % 2 == 1
        return {
            "episode_return": [100.0 if end else math.nan],
            "episode_length": [8.0 if end else math.nan],
        }

    result = play(Scripted([[4]], info=info), idle, 2, seed=0)
    assert (result.returns, result.lengths) == ([100.0, 100.0], [8, 8])


def test_success_and_info_are_means_over_episodes_that_tell():
    def info(k, done):
        told = done[0] and k[0] < 3
        return {
            "success": [float(k[0] == 0) if told else math.nan],
            "distance": [float(k[0]) if done[0] else math.nan],
        }

    result = play(Scripted([[2]], info=info), idle, 4, seed=0)
    assert result.success_rate == pytest.approx(1 / 3)
    assert result.info == {"distance": 1.5}
    assert play(Scripted([[2]]), idle, 1, seed=0).success_rate is None


def test_endless_episodes_are_cut_and_counted(monkeypatch):
    monkeypatch.setattr(evaluation, "EPISODE_LIMIT", 10)
    result = play(Scripted([[10_000], [5]]), idle, 4, seed=0)
    assert result.lengths == [10, 5, 10, 5]
    assert result.cut == 2


def test_numbers_of_a_result():
    result = EvalResult([1.0, 2.0, 3.0], [5, 5, 8])
    assert (result.return_mean, result.return_std, result.length_mean) == (2.0, 1.0, 6.0)
    assert result.return_ci95 == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-5)
    assert EvalResult([1.0], [1]).as_dict()["return_ci95"] is None


class Upright:
    """The textbook controller of CartPole; keeps a memory to prove that it is carried and reset."""

    noise = NoiseSpec("uniform", 1)

    def parameters(self):
        return iter(())

    def initial_state(self, num_envs):
        return {"seen": torch.zeros(num_envs)}

    def act(self, obs, state, start, noise):
        x, v, angle, spin = obs["obs"].T
        seen = torch.where(start, 0.0, state["seen"]) + 1
        assert seen.max() <= 500
        return Act((angle + 0.5 * spin + 0.02 * x + 0.05 * v > 0).long(), torch.zeros(len(x)), {"seen": seen})

    def to_env(self, action):
        return action


def test_a_good_policy_is_better_than_random_and_random_is_not():
    good = evaluate(Upright(), CARTPOLE, 20, seed=7)
    random = random_baseline(CARTPOLE, 20, seed=7)
    assert good.return_mean == 500
    assert 10 < random.return_mean < 40
    assert verdict(good, random) == "better than a random policy"
    assert verdict(random_baseline(CARTPOLE, 20, seed=8), random) == "not better than a random policy"
    assert verdict(random, good) == "not better than a random policy"
    assert verdict(EvalResult([500.0], [500]), random).startswith(
        "not better than a random policy (one episode"
    )
    assert random_baseline(CARTPOLE, 20, seed=7) is random


def policy_for(config) -> ActorCritic:
    env = make_env(config, num_envs=1)
    env.close()
    torch.manual_seed(0)
    return ActorCritic(env.spec, PolicyConfig())


def test_evaluation_is_repeatable_and_leaves_no_trace():
    policy = policy_for(CARTPOLE)
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    random_state = torch.get_rng_state()
    first = evaluate(policy, CARTPOLE, 6, seed=1, deterministic=False)
    again = evaluate(policy, CARTPOLE, 6, seed=1, deterministic=False)
    assert first.returns == again.returns
    assert first.returns != evaluate(policy, CARTPOLE, 6, seed=2, deterministic=False).returns
    assert first.returns != evaluate(policy, CARTPOLE, 6, seed=1, deterministic=True).returns
    assert torch.equal(random_state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in policy.state_dict().items())
    assert policy.training
    assert first.seconds > 0


def test_held_noise_is_drawn_every_few_steps():
    class Recorder(Upright):
        noise = NoiseSpec("normal", 3, every=4)

        def __init__(self):
            self.drawn = []

        def act(self, obs, state, start, noise):
            self.drawn.append(noise)
            return super().act(obs, state, start, noise)

    policy = Recorder()
    spec = make_env(CARTPOLE, num_envs=2).spec
    act = actor(policy, spec, seed=0, deterministic=False)
    for _ in range(8):
        act({"obs": torch.zeros(2, 4)}, torch.ones(2, dtype=torch.bool))
    assert all(torch.equal(policy.drawn[i], policy.drawn[i // 4 * 4]) for i in range(8))
    assert not torch.equal(policy.drawn[0], policy.drawn[4])
    assert policy.drawn[0].shape == (2, 3)
    assert not torch.equal(policy.drawn[0][0], policy.drawn[0][1])


class Masked(gym.Env):
    """Raises where the action was not allowed; the mask changes every step."""

    action_space = spaces.MultiDiscrete([3, 2], start=[0, 1])
    observation_space = spaces.Dict(
        {"x": spaces.Box(0, 1, (1,), np.float32), "action_mask": spaces.MultiBinary(5)}
    )

    def _obs(self):
        self.allowed = (self.t % 3, 1 + self.t % 2)
        mask = np.zeros(5, np.int8)
        mask[self.allowed[0]] = mask[2 + self.allowed[1]] = 1
        return {"x": np.zeros(1, np.float32), "action_mask": mask}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._obs(), {}

    def step(self, action):
        assert tuple(action) == self.allowed
        self.t += 1
        return self._obs(), 1.0, self.t == 7, False, {}


def test_random_actions_keep_to_the_mask():
    result = random_baseline(EnvConfig(id=f"{__file__}:Masked"), 3, seed=0)
    assert result.returns == [7.0] * 3


def test_episodes_end_where_an_outer_wrapper_ends_them(monkeypatch):
    monkeypatch.setattr(evaluation, "EPISODE_LIMIT", 20)
    clip = {"name": "ClipReward", "kwargs": {"max_reward": 0.5}}
    limit = {"name": "TimeLimit", "kwargs": {"max_episode_steps": 3}}
    result = random_baseline(EnvConfig(id=f"{__file__}:Masked", wrappers=(clip, limit)), 4, seed=0)
    assert (result.returns, result.lengths, result.cut) == ([3.0] * 4, [3] * 4, 0)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3, start=-1),
        spaces.MultiDiscrete([[2, 3], [4, 5]]),
        spaces.MultiBinary((2, 2)),
        spaces.Box(-2, 3, (2, 2), np.float32),
        spaces.Box(-np.inf, np.inf, (3,), np.float32),
    ],
)
def test_random_actions_are_of_the_space_and_differ_between_copies(space):
    spec = EnvSpec("x", {"obs": spaces.Discrete(2)}, space, 50, torch.device("cpu"))
    first, again = (random_actor(spec, seed=3)({}, torch.ones(50)) for _ in range(2))
    assert torch.equal(first, again)
    assert all(space.contains(np.asarray(a.numpy(), dtype=space.dtype)) for a in first)
    assert len({a.numpy().tobytes() for a in first}) > 2
    # The environment's own space draws nothing.
    assert space._np_random is None


def test_masked_samples_are_uniform_over_the_allowed():
    spec = EnvSpec(
        "x", {"mask": spaces.MultiBinary(4)}, spaces.Discrete(4, start=10), 2000, torch.device("cpu"), "mask"
    )
    mask = torch.tensor([0, 1, 0, 1]).expand(2000, 4)
    drawn = random_actor(spec, seed=0)({"mask": mask}, torch.ones(2000))
    assert set(drawn.tolist()) == {11, 13}
    assert 0.45 < (drawn == 11).float().mean() < 0.55
    with pytest.raises(RunError, match="mask allows nothing"):
        random_actor(spec, seed=0)({"mask": torch.zeros(2000, 4)}, torch.ones(2000))


def test_no_copy_idles_in_the_last_round():
    assert [copies(episodes) for episodes in (1, 10, 16, 17, 20, 32, 100)] == [1, 10, 16, 9, 10, 16, 15]
