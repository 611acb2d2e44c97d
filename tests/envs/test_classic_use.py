"""BatchClassic as a backend: when it is chosen, what it refuses, pictures, many copies."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from classic_twin import gymnasiums, make

from proximo.config.experiment import EnvConfig
from proximo.core.engines.native.classic import kernels
from proximo.core.types import VecEnv
from proximo.envs.classic import BatchClassic
from proximo.envs.classic_tasks import TASKS
from proximo.envs.make import choose_backend, make_env
from proximo.errors import RunError, UserError

FLATTEN = ({"name": "FlattenObservation"},)
NATIVE = pytest.param(True, marks=pytest.mark.skipif(kernels() is None, reason="the kernels are not built"))
BOTH = pytest.mark.parametrize("native", [NATIVE, False])


def test_auto_takes_it_where_it_can():
    def chosen(**config):
        return choose_backend(EnvConfig(**config))[0]

    assert {chosen(id=env_id) for env_id in TASKS} == {"batch"}
    assert chosen(id="Pendulum-v1", kwargs={"g": 9.81}) == "batch"
    assert chosen(id="CartPole-v1", kwargs={"render_mode": "rgb_array"}) == "sync"
    assert chosen(id="CartPole-v1", wrappers=FLATTEN) == "sync"
    assert chosen(id="LunarLander-v3") == "sync"
    assert chosen(id="CartPole-v1", backend="sync") == "sync"


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"id": "LunarLander-v3"}, "CartPole-v1, Acrobot-v1"),
        ({"id": "CartPole-v1", "wrappers": FLATTEN}, "takes no env.wrappers"),
        (
            {"id": "CartPole-v1", "kwargs": {"gravity": 1}},
            "takes no env.kwargs.gravity; set env.backend=sync",
        ),
        ({"id": "CartPole-v1", "kwargs": {"g": 1}}, "CartPole-v1 has no such argument"),
    ],
)
def test_what_it_cannot_stand_in_for(config, why):
    with pytest.raises(UserError, match=why):
        make_env(EnvConfig(backend="batch", **config))


def test_another_environment_under_the_name_is_left_to_gymnasium(monkeypatch):
    other = gymnasium.envs.registration.EnvSpec("CartPole-v1", entry_point="env_toys:Counter")
    monkeypatch.setitem(gymnasium.registry, "CartPole-v1", other)
    assert choose_backend(EnvConfig(id="CartPole-v1"))[0] == "sync"


@pytest.mark.parametrize("env_id", TASKS)
def test_the_contract(env_id):
    env, twin = make_env(EnvConfig(id=env_id, num_envs=3)), gymnasiums(env_id)
    assert isinstance(env, BatchClassic)
    assert isinstance(env, VecEnv)
    assert env.spec.obs_spaces == {"obs": twin.observation_space}
    assert env.spec.action_space == twin.action_space
    assert env.spec.num_envs == 3
    assert env.metadata["render_fps"] == twin.metadata["render_fps"]
    obs = env.reset(0)["obs"]
    kept = obs.clone()
    shape = twin.action_space.shape
    action = torch.zeros((3, *shape), dtype=torch.float32 if shape else torch.int64)
    step = env.step(action)
    assert step.obs["obs"].dtype == step.reward.dtype == torch.float32
    assert step.terminated.dtype == step.truncated.dtype == step.valid.dtype == torch.bool
    assert step.final.index.dtype == torch.int64
    assert step.valid.all()
    assert set(step.info) == {"success"}
    seen = step.obs["obs"].clone()
    env.step(action)
    assert torch.equal(obs, kept)
    assert torch.equal(step.obs["obs"], seen)
    env.close()


@BOTH
def test_what_makes_no_sense_is_named(native):
    env = make("CartPole-v1", 2, native)
    with pytest.raises(RunError, match="reset must be called before step"):
        env.step(torch.zeros(2, dtype=torch.int64))
    env.reset(0)
    with pytest.raises(RunError, match="shape"):
        env.step(torch.zeros(3, dtype=torch.int64))
    with pytest.raises(RunError, match=r"environment 1 \(episode 0\): action 2 is none of 0 to 1"):
        env.step(torch.tensor([0, 2]))
    swing = make("Pendulum-v1", 2, native)
    swing.reset(0)
    with pytest.raises(RunError, match=r"environment 1 \(episode 0\), action \[nan\], gave NaN or infinity"):
        swing.step(torch.tensor([[0.0], [float("nan")]]))
    wild = make("Acrobot-v1", 2, native)
    wild.configure({"dt": 1e9})
    wild.reset(0)
    with pytest.raises(RunError, match=r"environment 0 .* gave NaN or infinity"):
        wild.step(torch.tensor([0, 2]))


@BOTH
@pytest.mark.parametrize("env_id", TASKS)
def test_many_copies(env_id, native):
    env = make(env_id, 4096, native)
    space = env.spec.action_space
    env.reset(0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        if isinstance(space, gymnasium.spaces.Discrete):
            action = torch.randint(0, int(space.n), (4096,), generator=generator)
        else:
            action = torch.rand((4096, 1), generator=generator) * 2 - 1
        step = env.step(action)
        box = env.spec.obs_spaces["obs"]
        assert step.obs["obs"].shape == (4096, *box.shape)
        assert bool((step.terminated | step.truncated)[step.final.index].all())
    ended = int(env.state_dict()["episode"].sum())
    assert ended > 4096 if env_id.startswith("CartPole") else ended == 0


def test_pictures_are_gymnasiums():
    pytest.importorskip("pygame", reason="needs the extra video")
    env = make_env(EnvConfig(id="CartPole-v1", num_envs=2), render_mode="rgb_array")
    with pytest.raises(RunError, match="before render"):
        env.render()
    env.reset(0)
    env.step(torch.tensor([1, 0]))
    twin = gymnasiums("CartPole-v1", render_mode="rgb_array")
    twin.unwrapped.state = env.state_dict()["state"][0].numpy()
    np.testing.assert_array_equal(env.render(), twin.render())
    for env_id in TASKS:
        other = make_env(EnvConfig(id=env_id, num_envs=1), render_mode="rgb_array")
        other.reset(0)
        assert np.ptp(other.render()) > 0
        other.close()
    with pytest.raises(RunError, match="nothing to render"):
        make("CartPole-v1").render()
