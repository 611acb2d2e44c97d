"""Toy problems that are solved only if one particular thing is right; each in seconds."""

from pathlib import Path

import numpy as np
import pytest
import torch

from proximo.build import build
from proximo.config.experiment import Experiment
from proximo.core.timer import Timer
from proximo.demos.dataset import Dataset
from proximo.rewards.terms import CustomReward
from proximo.runs.evaluation import evaluate

TOYS = str(Path(__file__).parents[1] / "toys.py")
CPU = torch.device("cpu")


def learn(env, steps, *, seed=1, policy=None, ppo=None, change=None, **rest):
    """Train on a toy; returns the parts and the mean return of the policy's mode over 50 episodes."""
    experiment = Experiment(
        env={"id": f"{TOYS}:{env}", "num_envs": 8},
        seed=seed,
        policy={"hidden_sizes": (32,), "normalize_obs": False, **(policy or {})},
        ppo={
            "total_steps": steps,
            "num_steps": 32,
            "epochs": 4,
            "minibatch_size": 64,
            "learning_rate": 5e-3,
            "normalize_reward": False,
            **(ppo or {}),
        },
        **rest,
    )
    built = build(experiment, CPU, Timer(), lambda line: None)
    if change is not None:
        change(built)
    while built.ppo.step < steps:
        metrics = built.ppo.iterate()
    built.env.close()
    result = evaluate(built.policy, experiment.env, 50, 7)
    return built, metrics, result.return_mean


def test_identity():
    _, _, value = learn("Identity", 6_000)
    assert value == 16.0


def test_continuous_identity():
    _, _, value = learn(
        "ContinuousIdentity", 16_000, policy={"head": {"type": "gaussian", "log_std_init": -1}}
    )
    assert value > -0.5


def test_bandit_learns_the_arm_and_its_value():
    built, _, value = learn("Bandit", 4_000)
    assert value == 1.0
    obs = {"obs": torch.zeros(1, 1)}
    with torch.no_grad():
        estimate = built.policy(obs, {}, torch.ones(1, dtype=torch.bool)).values["task"]
    # A bootstrap over the end of the episode would estimate far above 1.
    assert float(estimate) == pytest.approx(1.0, abs=0.1)


def test_delayed_reward():
    _, _, value = learn("Delayed", 6_000)
    assert value == 1.0


@pytest.mark.parametrize("memory", ["gru", "lstm"])
@pytest.mark.parametrize("env", ["Recall", "MaskedRecall"])
def test_memory(memory, env):
    policy = {"memory": {"type": memory, "size": 32}}
    ppo = {"minibatch_size": 128, "sequence_length": 16, "learning_rate": 2e-3, "entropy_coef": 0.01}
    _, _, value = learn(env, 40_000, policy=policy, ppo=ppo)
    assert value == 1.0


def test_memory_is_needed():
    _, _, value = learn("Recall", 12_000)
    assert value < 0.6


def test_masked():
    _, _, value = learn("Masked", 6_000)
    assert value == 8.0


def test_two_streams_each_learn_their_own_value():
    """The task stream pays nothing; a second stream pays for naming the digit with another discount."""

    class Curious:
        def __call__(self, rollout):
            return 0.5 * (rollout.action == rollout.obs["obs"].long()).float()

    def change(built):
        built.ppo.parts.terms = [
            *(term for term in built.ppo.parts.terms if term.name == "env"),
            CustomReward("curious", "extra", 1.0, Curious()),
        ]
        built.ppo.parts.terms[0].weight = 0.0

    streams = {"extra": {"gamma": 0.5, "gae_lambda": 0.9, "normalize_reward": False, "episodic": False}}
    rewards = {"curious": {"type": "env", "stream": "extra"}}
    _built, metrics, value = learn("Identity", 10_000, streams=streams, rewards=rewards, change=change)
    assert value == 16.0
    assert metrics["value_mean"] == pytest.approx(0.0, abs=0.05)
    # 0.5 a step, discount 0.5, running on over episode ends: a value of 1.
    assert metrics["extra/value_mean"] == pytest.approx(1.0, abs=0.1)


def chain_dataset(episodes=20):
    """Perfect episodes of the corridor."""
    cells = np.arange(11)
    obs = torch.tensor(np.tile(cells, episodes))
    terminated = torch.zeros(11 * episodes, dtype=torch.bool)
    terminated[10::11] = True
    return Dataset(
        obs={"obs": obs},
        action=obs % 3,
        reward=terminated.float(),
        terminated=terminated,
        truncated=torch.zeros_like(terminated),
        final_obs={"obs": torch.full((episodes,), 11)},
    )


@pytest.fixture
def expert(monkeypatch):
    """What `demos` of a configuration then gives."""
    monkeypatch.setattr("proximo.demos.make.load_demos", lambda names, **rest: chain_dataset())
    return lambda **given: {"expert": {"datasets": ["made/up/here-v0"], **given}}


def test_demonstrations_solve_what_chance_does_not(expert):
    losses = {"clone": {"type": "cloning", "weight": 0.1}}
    _, _, alone = learn("Chain", 8_000)
    _, metrics, value = learn("Chain", 8_000, losses=losses, demos=expert())
    assert alone == 0.0
    assert value == 1.0
    assert metrics["clone_loss"] < 0.3


def test_cloning_alone_needs_no_environment(expert):
    """Behaviour cloning is the same trainer with only the demonstrations and only the cloning term."""
    losses = {"clone": {"type": "cloning", "weight": 1.0}}
    built, metrics, value = learn(
        "Chain", 8_000, losses=losses, demos=expert(mix_ratio=1.0, segment=1), ppo={"surrogate": False}
    )
    assert value == 1.0
    assert built.collector.steps == 0
    assert "policy_loss" not in metrics
