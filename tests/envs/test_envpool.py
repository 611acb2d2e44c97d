"""EnvPool as a backend."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from proximo import Experiment, resume, train
from proximo.config.experiment import EnvConfig
from proximo.core.types import VecEnv
from proximo.envs import envpool
from proximo.envs.make import make_env
from proximo.errors import UserError

needs_envpool = pytest.mark.skipif(
    importlib.util.find_spec("envpool") is None,
    reason="EnvPool is not installed: pip install 'proximo[envpool]' (962 MB, not part of `all`)",
)


def make(env_id="Pendulum-v1", n=3, **config):
    return make_env(EnvConfig(id=env_id, num_envs=n, backend="envpool", **config))


def zeros(env):
    space = env.spec.action_space
    dtype = torch.float32 if space.shape else torch.int64
    return torch.zeros(env.spec.num_envs, *space.shape, dtype=dtype)


def test_where_it_is_absent_one_line_names_the_extra(monkeypatch):
    monkeypatch.setattr(envpool.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'proximo\[envpool\]'") as error:
        make()
    assert "\n" not in str(error.value)


@needs_envpool
@pytest.mark.parametrize("env_id", ["Pendulum-v1", "CartPole-v1", "FrozenLake-v1", "HalfCheetah-v5"])
def test_rows_that_only_reset_are_not_valid(env_id):
    env = make(env_id, max_episode_steps=4)
    assert isinstance(env, VecEnv)
    first = env.reset(0)["obs"]
    for _ in range(3):
        step = env.step(zeros(env))
        if step.terminated.any():
            pytest.skip("it ended by itself")
        assert step.valid.all()
        assert not step.truncated.any()
    end = env.step(zeros(env))
    assert end.truncated.all()
    assert torch.equal(end.final.obs["obs"], end.obs["obs"])
    after = env.step(zeros(env))
    assert not after.valid.any()
    assert after.obs["obs"].shape == first.shape
    assert env.step(zeros(env)).valid.all()
    env.close()


@needs_envpool
def test_a_seed_gives_the_same_episodes_also_to_fewer_copies():
    few, many = make(n=2), make(n=4)
    a, b = few.reset(5), many.reset(5)
    assert torch.equal(a["obs"], b["obs"][:2])
    assert len(b["obs"].unique(dim=0)) == 4
    for _ in range(5):
        assert torch.equal(few.step(zeros(few)).obs["obs"], many.step(zeros(many)).obs["obs"][:2])
    assert not torch.equal(few.reset(6)["obs"], a["obs"])
    assert torch.equal(few.reset(5)["obs"], a["obs"])


@needs_envpool
def test_named_numbers_and_pictures():
    env = make("HalfCheetah-v5", info=("x_velocity",))
    env.reset(0)
    assert torch.isfinite(env.step(zeros(env)).info["x_velocity"]).all()
    pytest.importorskip("pygame", reason="drawing CartPole needs pygame")
    drawn = make_env(EnvConfig(id="CartPole-v1", num_envs=1, backend="envpool"), render_mode="rgb_array")
    drawn.reset(0)
    assert drawn.render().shape[2] == 3


@needs_envpool
def test_what_it_cannot_do_is_told_in_one_line():
    for config, why in [
        ({"env_id": "HalfCheeta-v5"}, "no such environment; did you mean HalfCheetah-v5"),
        ({"kwargs": {"nonsense": 1}}, "unexpected keyword argument 'nonsense'"),
        ({"env_id": "ALE/Pong-v5"}, "true returns are Proximo's own"),
        ({"wrappers": [{"name": "ClipAction"}]}, "takes no env.wrappers"),
    ]:
        with pytest.raises(UserError, match=why) as error:
            make(**config)
        assert "\n" not in str(error.value)


@needs_envpool
def test_a_resumed_run_says_that_episodes_start_afresh(tmp_path, capsys):
    experiment = Experiment(
        env={"id": "Pendulum-v1", "num_envs": 2, "backend": "envpool"},
        policy={"hidden_sizes": (8,)},
        ppo={"num_steps": 16, "minibatch_size": 16, "epochs": 1, "total_steps": 128, "prime_steps": 0},
        eval={"num_evals": 0},
        checkpoint={"every": 32},
        runs_dir=str(tmp_path),
    )
    run = train(experiment, verbosity=-1).run
    capsys.readouterr()
    resume(run, overrides=["ppo.total_steps=192"])
    assert "env.backend: envpool cannot restore episodes; they start afresh" in capsys.readouterr().out
