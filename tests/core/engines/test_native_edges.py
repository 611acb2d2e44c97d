"""The kernels at the edges: few rows, numbers that are not finite, early stops."""

import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from proximo.build import build
from proximo.config.experiment import Experiment
from proximo.core.batching import Units
from proximo.core.engines.eager import Eager
from proximo.core.engines.native import Native
from proximo.core.engines.native.library import INSTALL, library
from proximo.core.evaluate import evaluate
from proximo.core.timer import Timer

pytestmark = pytest.mark.skipif(library() is None, reason=f"the native kernels are not built: {INSTALL}")

MINIBATCH = 64


def learnt(kind, env="CartPole-v1", activation="Tanh", rows=None, spoil=None, **ppo):
    """Metrics, parameters and number of drawn permutations after one update on the same rollout."""
    experiment = Experiment(
        env={"id": env, "num_envs": 4},
        policy={"activation": activation},
        engine="eager",
        ppo={"num_steps": 32, "minibatch_size": MINIBATCH, "epochs": 3, **ppo},
    )
    built = build(experiment, torch.device("cpu"), Timer(), lambda line: None)
    parts = built.ppo.parts
    rollout = parts.sources[0].collect(built.policy)
    rollout.rewards = {term.name: term(rollout) for term in parts.terms}
    data = evaluate(built.policy, rollout, parts.sources[0], parts.streams, parts.terms)
    units = parts.batching.units(data)
    if rows is not None:
        units = Units({name: entry[:rows].clone() for name, entry in units.fields.items()}, rows, True, 0)
    if spoil is not None:
        units.fields[spoil][3] = math.nan
    engine = Eager() if kind == "eager" else Native(built.policy)
    metrics = engine.learn(built.policy, parts.optimizer, parts.losses, parts.batching, [units], parts.plan)
    vector = torch.cat([parameter.detach().flatten() for parameter in built.policy.parameters()])
    return metrics, vector, parts.batching.drawn


def check_equal(**case):
    (metrics, vector, drawn), (other, parameters, used) = learnt("eager", **case), learnt("native", **case)
    torch.testing.assert_close(parameters, vector, atol=1e-5, rtol=1e-4)
    assert used == drawn
    for name, value in metrics.items():
        assert other[name] == pytest.approx(value, abs=1e-4, rel=1e-3), name
    return metrics


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize("rows", [1, 2, 40, MINIBATCH - 1, MINIBATCH + 1])
def test_fewer_rows_than_a_minibatch(env, rows):
    """Rows that only reset an environment are left out, which may leave less than one minibatch."""
    check_equal(env=env, rows=rows)


def test_minibatches_of_one_row():
    check_equal(minibatch_size=1, rows=5)


def test_a_stop_by_kl_leaves_the_same_permutations():
    assert check_equal(target_kl=0.0005, learning_rate=1e-2)["kl_stop"] == 1.0


@pytest.mark.parametrize("activation", ["Tanh", "ReLU", "ELU", "SiLU", "LeakyReLU", "Sigmoid"])
@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_nan_reaches_the_losses(env, activation):
    """The NaN guard reads the losses: an activation must not turn NaN into a number."""
    metrics, parameters, _ = learnt("native", env=env, activation=activation, spoil="obs/obs")
    assert math.isnan(metrics["policy_loss"])
    assert math.isnan(metrics["value_loss"])
    assert parameters.isnan().all()


class Shaped(gym.Env):
    """Observations and actions of unusual shape or offset; the reward tells which action arrived."""

    observation_space = spaces.Box(-np.inf, np.inf, (2, 3), np.float32)

    def __init__(self, action_space):
        self.action_space = action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(2, 7))
        return self.np_random.normal(size=(2, 3)).astype(np.float32), {}

    def step(self, action):
        self.left -= 1
        obs = self.np_random.normal(size=(2, 3)).astype(np.float32)
        return obs, float(np.sum(action)), False, self.left == 0, {}


class Offset(Shaped):
    def __init__(self):
        super().__init__(spaces.Discrete(3, start=5))


class Boxes(Shaped):
    def __init__(self):
        super().__init__(spaces.Box(-0.3, 0.5, (2, 2), np.float32))


class Unbounded(Shaped):
    def __init__(self):
        super().__init__(spaces.Box(-np.inf, np.inf, (2,), np.float32))


@pytest.mark.parametrize("kind", [Offset, Boxes, Unbounded])
def test_both_steppings_record_the_same(kind):
    """Over several rollouts, as the first one goes the reference's way in either."""
    tapes = []
    for engine in ("eager", "native"):
        experiment = Experiment(
            env={"id": f"{__file__}:{kind.__name__}", "num_envs": 3},
            engine=engine,
            ppo={"num_steps": 16, "minibatch_size": 16},
        )
        built = build(experiment, torch.device("cpu"), Timer(), lambda line: None)
        parts = built.ppo.parts
        rollouts = []
        for _ in range(3):
            rollout = parts.sources[0].collect(parts.policy)
            names = ("action", "logp_behavior", "reward", "start", "truncated", "final_t", "final_n")
            fields = {name: getattr(rollout, name) for name in names}
            fields |= {"obs": rollout.obs["obs"], "final": rollout.final_obs["obs"]}
            rollouts.append({name: entry.clone() for name, entry in fields.items()})
        tapes.append(rollouts)
    for eager, native in zip(*tapes, strict=True):
        for name, entry in eager.items():
            torch.testing.assert_close(native[name], entry, atol=1e-5, rtol=1e-5, msg=name)
