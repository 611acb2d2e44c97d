"""An exported policy decides as the policy does, whatever it is made of."""

from pathlib import Path

import numpy as np
import pytest
import torch

from proximo import Experiment, load, train
from proximo.agent import Agent
from proximo.build import build_policy
from proximo.cli.main import main
from proximo.envs.make import make_env
from proximo.errors import UserError
from proximo.share.onnx import export_onnx

onnxruntime = pytest.importorskip("onnxruntime", reason="needs pip install 'proximo[onnx]'")

TOYS = str(Path(__file__).parents[1] / "toys.py")
OWN = """
import torch
from proximo import BaseFeaturesExtractor

class Own(BaseFeaturesExtractor):
    def __init__(self, observation_space, features_dim=8):
        super().__init__(observation_space, features_dim)
        self.net = torch.nn.Sequential(torch.nn.LayerNorm(observation_space.shape[0]),
                                       torch.nn.Linear(observation_space.shape[0], features_dim), torch.nn.GELU())
    def forward(self, observations):
        return self.net(observations)
"""
CASES = {
    "plain": ("CartPole-v1", {}),
    "gaussian": ("Pendulum-v1", {}),
    "squashed": ("Pendulum-v1", {"head": {"type": "squashed_gaussian"}}),
    "gsde": ("Pendulum-v1", {"head": {"type": "gsde"}}),
    "gru": ("CartPole-v1", {"memory": {"type": "gru", "size": 8}}),
    "masked lstm": (f"{TOYS}:MaskedRecall", {"memory": {"type": "lstm", "size": 8}}),
    "one-hot": (f"{TOYS}:Identity", {}),
}


def agent_of(env, policy):
    """An untrained agent with observation statistics that are not trivial."""
    experiment = Experiment(env={"id": env}, policy=policy)
    made = make_env(experiment.env, num_envs=1, training=False)
    torch.manual_seed(1)
    network = build_policy(experiment, made.spec, torch.device("cpu"))
    for part in network.normalizer.by_key.values():
        part.update(3.0 * torch.randn(50, *part.mean.shape) + 1.0)
    return Agent(network, experiment, _space(experiment), made.spec)


def _space(experiment):
    from proximo.agent import observation_space

    return observation_space(experiment.env)


@pytest.mark.parametrize("case", CASES)
def test_the_file_decides_as_the_policy_does(tmp_path, case):
    agent = agent_of(*CASES[case])
    written = export_onnx(agent, tmp_path / "policy.onnx")
    assert written.difference < 1e-5
    session = onnxruntime.InferenceSession(str(written.path))
    assert [entry.name for entry in session.get_inputs()] == list(written.inputs)


def test_an_encoder_of_the_users_own_is_exported_after_training(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN)
    experiment = Experiment(
        env={"id": "CartPole-v1", "num_envs": 2},
        policy={"encoder": {"type": "own.py:Own"}},
        ppo={"total_steps": 256, "num_steps": 64, "minibatch_size": 64, "prime_steps": 32},
        eval={"num_evals": 0},
    )
    run = train(experiment, verbosity=-1).run
    assert main(["export", str(run), "--onnx", "out/policy.onnx"]) == 0
    assert "obs → action" in capsys.readouterr().out
    session = onnxruntime.InferenceSession("out/policy.onnx")
    agent = load(run)
    rng = np.random.default_rng(0)
    for _ in range(20):
        obs = rng.normal(size=4).astype(np.float32)
        (action,) = session.run(None, {"obs": obs[None]})
        assert int(action[0]) == agent.act(obs)


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"proximo\[onnx\]"):
        export_onnx(agent_of(*CASES["plain"]), tmp_path / "x.onnx")
