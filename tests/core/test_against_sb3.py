"""One whole update against Stable-Baselines3's numbers (benchmarks/golden/sb3.py wrote them).

The same rollout, weights and order of rows must give the same values, advantages, first gradient and parameters
after three epochs of minibatches.
"""

from pathlib import Path

import pytest
import torch
from gymnasium import spaces
from safetensors.torch import load_file

from proximo.build import build_policy
from proximo.config.experiment import Experiment
from proximo.core import batching
from proximo.core.batching import RowBatches
from proximo.core.engines.eager import Eager, Plan
from proximo.core.engines.native import Native
from proximo.core.engines.native.library import INSTALL, library
from proximo.core.evaluate import evaluate
from proximo.core.losses import EntropyLoss, PolicyLoss, ValueLoss
from proximo.core.optim import Optimizer
from proximo.core.streams import Stream
from proximo.core.types import Correction, EnvSpec, Rollout
from proximo.rewards.terms import EnvReward

STEPS, ENVS, MINIBATCH, EPOCHS = 32, 4, 32, 3
SPACES = {"categorical": spaces.Discrete(3), "gaussian": spaces.Box(-1.0, 1.0, (2,))}
NAMES = {
    "actor_layers.0": "mlp_extractor.policy_net.0",
    "actor_layers.2": "mlp_extractor.policy_net.2",
    "critic_layers.0": "mlp_extractor.value_net.0",
    "head.linear": "action_net",
    "value_heads.on_task": "value_net",
    "head": "",
}
"""Our modules and SB3's; `head.log_std` is `log_std` there."""
GOLDEN = load_file(Path(__file__).with_name("sb3_golden.safetensors"))


class Given:
    """A source of the recorded rollout."""

    name, fresh, off_policy = "env", True, False

    def correct(self, comparison):
        return Correction()


def theirs(name):
    module, _, kind = name.rpartition(".")
    return f"{NAMES[module]}.{kind}".lstrip(".")


def prepared(case):
    golden = {k.removeprefix(f"{case}/"): v for k, v in GOLDEN.items() if k.startswith(f"{case}/")}
    experiment = Experiment(
        env={"id": "unused"},
        policy={"hidden_sizes": (8, 6), "value_hidden_sizes": (7,), "normalize_obs": False},
    )
    cpu = torch.device("cpu")
    box = spaces.Box(-float("inf"), float("inf"), (5,))
    policy = build_policy(experiment, EnvSpec("unused", {"obs": box}, SPACES[case], ENVS, cpu), cpu)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            parameter.copy_(golden[f"before/{theirs(name)}"])
    terminated, truncated = golden["terminated"], golden["truncated"]
    final_t, final_n = (terminated | truncated).nonzero(as_tuple=True)
    rollout = Rollout(
        source="env",
        obs={"obs": golden["obs"]},
        action=golden["action"].squeeze(-1) if case == "categorical" else golden["action"],
        logp_behavior=golden["logp"],
        start=golden["start"].bool(),
        reward=golden["reward"],
        terminated=terminated,
        truncated=truncated,
        valid=torch.ones_like(terminated),
        final_t=final_t,
        final_n=final_n,
        final_obs={"obs": golden["successor"][final_t, final_n]},
        last_obs={"obs": golden["last_obs"]},
        last_start=(terminated | truncated)[-1],
        state={},
        sequence_length=STEPS,
        stats={},
    )
    rollout.rewards = {"env": rollout.reward}
    stream = Stream("task", 1.0, 0.97, 0.9)
    return golden, policy, evaluate(policy, rollout, Given(), [stream], [EnvReward()])


@pytest.mark.parametrize("case", SPACES)
def test_values_and_advantages(case):
    golden, policy, data = prepared(case)
    assert data.rollout.truncated.any()
    assert data.rollout.terminated.any()
    close = {"atol": 2e-6, "rtol": 1e-5}
    torch.testing.assert_close(data.value["task"], golden["value"], **close)
    torch.testing.assert_close(data.advantage, golden["advantage"], **close)
    torch.testing.assert_close(data.target["task"], golden["target"], **close)
    with torch.no_grad():
        logp = policy.compute(data.obs, {}, data.rollout.start).dist.log_prob(data.rollout.action)
    torch.testing.assert_close(logp, golden["logp"], **close)


def test_first_gradient():
    for case in SPACES:
        golden, policy, data = prepared(case)
        rows = golden["orders"][0][:MINIBATCH]
        parts = RowBatches(MINIBATCH, {}, 0)
        units = parts.units(data)
        units.fields = {name: entry[rows] for name, entry in units.fields.items()}
        units.count = MINIBATCH
        (batch,) = parts.epoch([units])
        output = policy.compute(batch.obs, batch.state, batch.start)
        terms = [PolicyLoss(0.1, True), ValueLoss(0.7, None), EntropyLoss(0.02)]
        total = sum(term.weight * term(output, batch)[0] for term in terms)
        total.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
        for name, parameter in policy.named_parameters():
            expected = golden[f"gradient/{theirs(name)}"]
            torch.testing.assert_close(parameter.grad, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("case", SPACES)
@pytest.mark.parametrize("engine", ["eager", "native"])
def test_a_whole_update(case, engine, monkeypatch):
    if engine == "native" and library() is None:
        pytest.skip(f"the native kernels are not built: {INSTALL}")
    golden, policy, data = prepared(case)
    monkeypatch.setattr(batching, "permutation", lambda key, index, rows, device: golden["orders"][index])
    chosen = Eager() if engine == "eager" else Native(policy)
    rows = RowBatches(MINIBATCH, {}, 0)
    metrics = chosen.learn(
        policy,
        Optimizer(policy, 3e-3, "constant", 0.01, 0.5, 1e-5, 0.0),
        [PolicyLoss(0.1, True), ValueLoss(0.7, None), EntropyLoss(0.02)],
        rows,
        [rows.units(data)],
        Plan(EPOCHS),
    )
    for name, parameter in policy.named_parameters():
        expected = golden[f"after/{theirs(name)}"]
        assert (expected - golden[f"before/{theirs(name)}"]).abs().max() > 1e-3
        torch.testing.assert_close(parameter.detach(), expected, atol=2e-6, rtol=0, msg=name)
    for ours, name in {
        "policy_loss": "policy_gradient_loss",
        "value_loss": "value_loss",
        "entropy_loss": "entropy_loss",
        "clip_fraction": "clip_fraction",
    }.items():
        assert metrics[ours] == pytest.approx(float(golden[f"metric/{name}"]), abs=1e-5, rel=1e-5)
    assert metrics["clip_fraction"] > 0.01
