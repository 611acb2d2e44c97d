"""Two half-batches in turn give the rollout that all environments together give."""

import pytest
import torch

from proximo.build import build
from proximo.config.experiment import Experiment
from proximo.core.halves import HALVES_STEPPING
from proximo.core.timer import Timer
from proximo.envs.make import make_env

WHOLE = ("start", "reward", "terminated", "truncated", "valid", "final_t", "final_n")


class Halved:
    """Two environments as the halves of one; notes the order of what is asked of them."""

    def __init__(self, config, spec):
        half = spec.num_envs // 2
        self.spec, self.halves = spec, (slice(0, half), slice(half, spec.num_envs))
        self.envs = [
            make_env(config, num_envs=rows.stop - rows.start, first_env=rows.start) for rows in self.halves
        ]
        self.sent, self.order = {}, []

    def reset(self, seed):
        first, second = (env.reset(seed) for env in self.envs)
        return {key: torch.cat([first[key], second[key]]) for key in first}

    def send(self, half, action):
        assert half not in self.sent
        self.order.append(("send", half))
        self.sent[half] = action

    def receive(self, half):
        self.order.append(("receive", half))
        assert len(self.sent) == 2 or self.order.count(("receive", 0)) % 24 == 0, (
            "the other half is under way"
        )
        return self.envs[half].step(self.sent.pop(half))


def rollouts(env, engine, halved, **policy):
    experiment = Experiment(
        env={"id": env, "num_envs": 5, "backend": "sync", "max_episode_steps": 9},
        policy={"hidden_sizes": (16,), **policy},
        ppo={"num_steps": 24, "minibatch_size": 20, "sequence_length": 8 if "memory" in policy else None},
        engine=engine,
    )
    built = build(experiment, torch.device("cpu"), Timer(), lambda line: None)
    if halved:
        built.collector.env = Halved(experiment.env, built.env.spec)
        built.collector.stepping = HALVES_STEPPING
    result = []
    for _ in range(3):
        rollout = built.collector.collect(built.ppo.parts.policy)
        kept = {name: getattr(rollout, name).clone() for name in WHOLE}
        near = {"action": rollout.action, "logp": rollout.logp_behavior, "last": rollout.last_obs["obs"]}
        near |= {"obs": rollout.obs["obs"], "final": rollout.final_obs["obs"], **rollout.state}
        kept["episodes"] = torch.tensor([[e.return_, e.length] for e in rollout.episodes])
        result.append((kept, {name: value.clone() for name, value in near.items()}))
        built.ppo.parts.policy.observe(rollout)
    return result, built.collector


@pytest.mark.parametrize("engine", ["eager", "native"])
@pytest.mark.parametrize(
    ("env", "policy"),
    [
        ("CartPole-v1", {}),
        ("Pendulum-v1", {"head": {"type": "gsde", "sample_freq": 4}}),
        ("CartPole-v1", {"memory": {"type": "gru", "size": 8}}),
    ],
    ids=["discrete", "gsde", "memory"],
)
def test_same_rollouts_as_all_together(env, policy, engine):
    """Everything discrete is equal; floats that the policy or the dynamics compute agree up to rounding."""
    if engine == "native" and policy:
        pytest.skip("the kernels do not know this policy")
    reference, _ = rollouts(env, engine, False, **policy)
    halves, collector = rollouts(env, engine, True, **policy)
    for (exact, near), (same, close) in zip(reference, halves, strict=True):
        for name, value in exact.items():
            if value.is_floating_point():
                assert torch.allclose(value, same[name], atol=1e-4), name
            else:
                assert torch.equal(value, same[name]), name
        for name, value in near.items():
            assert torch.allclose(value.float(), close[name].float(), atol=1e-4), name
    assert len(reference[-1][0]["final_t"]) > 0
    order = collector.env.order
    assert order[:2] == [("send", 0), ("send", 1)]
    assert order.count(("receive", 1)) == 3 * 24
