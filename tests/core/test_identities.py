"""Statements that hold exactly: learning rate 0, fresh rows, replay of memory, frozen statistics."""

from pathlib import Path

import pytest
import torch

from proximo.build import build
from proximo.config.experiment import Experiment
from proximo.core.collect import prime
from proximo.core.timer import Timer

TOYS = str(Path(__file__).parents[1] / "toys.py")


def parts(env, policy=None, **ppo):
    experiment = Experiment(
        env={"id": env, "num_envs": 4},
        policy={"hidden_sizes": (16,), **(policy or {})},
        ppo={"num_steps": 32, "minibatch_size": 32, "epochs": 2, **ppo},
    )
    return build(experiment, torch.device("cpu"), Timer(), lambda line: None)


CASES = [
    ("CartPole-v1", {}),
    ("Pendulum-v1", {}),
    ("Pendulum-v1", {"head": {"type": "gsde"}}),
    ("Pendulum-v1", {"head": {"type": "squashed_gaussian"}}),
    ("CartPole-v1", {"memory": {"type": "gru", "size": 8}}),
    ("CartPole-v1", {"memory": {"type": "lstm", "size": 8}, "share_encoder": True}),
    (f"{TOYS}:MaskedRecall", {"memory": {"type": "gru", "size": 8}}),
]


@pytest.mark.parametrize(("env", "policy"), CASES)
def test_learning_rate_zero_changes_nothing(env, policy):
    """Fresh data must look exactly on-policy, rollout after rollout, with moving observation statistics."""
    built = parts(env, policy)
    built.ppo.parts.optimizer.set_rate(0.0)
    built.ppo.parts.optimizer.base_rate = 0.0
    prime(built.env, built.policy, 64, 0, built.device)
    for _ in range(3):
        metrics = built.ppo.iterate()
        assert abs(metrics["kl"]) < 1e-6
        assert metrics["clip_fraction"] == 0.0


@pytest.mark.parametrize(("env", "policy"), CASES)
def test_replay_gives_the_rollouts_log_probabilities(env, policy):
    built = parts(env, policy)
    for _ in range(2):
        rollout = built.collector.collect(built.policy)
        obs = built.policy.normalize(rollout.obs, rollout.stats)
        state = {key: entry[0] for key, entry in rollout.state.items()}
        again = built.policy.compute(obs, state, rollout.start).dist.log_prob(rollout.action)
        assert (again - rollout.logp_behavior).abs().max() < 1e-5
        built.policy.observe(rollout)


def test_a_wrong_reset_of_the_memory_would_be_seen():
    """The replay test can fail: shifting the episode starts by one step breaks it."""
    built = parts(f"{TOYS}:Recall", {"memory": {"type": "gru", "size": 8}})
    rollout = built.collector.collect(built.policy)
    obs = built.policy.normalize(rollout.obs, rollout.stats)
    state = {key: entry[0] for key, entry in rollout.state.items()}
    wrong = built.policy.compute(obs, state, rollout.start.roll(1, 0)).dist.log_prob(rollout.action)
    assert (wrong - rollout.logp_behavior).abs().max() > 1e-5
