"""Finding and building one environment; every refusal is one line with its cure."""

from __future__ import annotations

import importlib.util
import os

import gymnasium
import pytest

from proximo.config.experiment import EnvConfig
from proximo.envs import single
from proximo.envs.make import BACKENDS, choose_backend, make_env
from proximo.envs.single import choose_mujoco_renderer, make_single
from proximo.errors import UserError


def refused(**config):
    with pytest.raises(UserError) as caught:
        make_env(EnvConfig(**{"num_envs": 1, **config}))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unknown_id_names_the_nearest():
    assert "CartPole-v1" in refused(id="Cartpol-v1")
    assert "CartPole-v1" in refused(id="CartPole-v7")
    assert "LunarLander-v3" in refused(id="LunarLander-v9")
    assert "not an environment id" in refused(id="what is this?")


@pytest.mark.parametrize(
    ("env_id", "module", "extra"),
    [
        ("LunarLander-v3", "Box2D", "box2d"),
        ("Hopper-v5", "mujoco", "mujoco"),
        ("ALE/Pong-v5", "ale_py", "atari"),
    ],
)
def test_a_missing_extra_says_what_to_install(env_id, module, extra, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else real(name))
    if extra == "atari":
        # As in a process that never imported ale_py.
        for name in [n for n in gymnasium.registry if n.startswith("ALE/Pong")]:
            monkeypatch.delitem(gymnasium.registry, name)
    text = refused(id=env_id)
    assert text == f"{env_id} needs {module}: pip install 'proximo[{extra}]'"


def test_ids_without_a_version_mean_the_newest():
    assert make_single(EnvConfig(id="CartPole")).spec.id == "CartPole-v1"


def test_wrong_arguments_are_named():
    assert "env.kwargs.sutton: CartPole-v1 has no such argument" in refused(
        id="CartPole-v1", kwargs={"sutton": True}
    )
    assert "did you mean length" in refused(id="env_toys:Counter", kwargs={"lenght": 2})
    pytest.importorskip("mujoco")
    assert "HalfCheetah-v5 could not be made" in refused(id="HalfCheetah-v5", kwargs={"xml_file": "no.xml"})


def test_a_class_a_file_and_a_module_that_registers(tmp_path):
    assert make_single(EnvConfig(id="env_toys:Counter", kwargs={"length": 9})).length == 9
    assert make_single(EnvConfig(id="env_toys:EnvToysCounter-v0")).spec.max_episode_steps == 2
    file = tmp_path / "mine.py"
    file.write_text("from env_toys import Counter\nclass Mine(Counter):\n    pass\n")
    assert type(make_single(EnvConfig(id=f"{file}:Mine"))).__name__ == "Mine"


def test_wrong_classes_are_named():
    assert "must be a subclass of gymnasium.Env" in refused(id="env_toys:Plain")
    assert "did you mean Counter" in refused(id="env_toys:Conter")
    assert "no module" in refused(id="no_such_module_at_all:Env-v0")
    with pytest.raises(UserError, match="takes no render_mode"):
        make_env(EnvConfig(id="env_toys:Nested"), render_mode="rgb_array")


def test_time_limits():
    for env_id in ("env_toys:Counter", "CartPole-v1", "env_toys:EnvToysCounter-v0"):
        env = make_single(EnvConfig(id=env_id, max_episode_steps=1))
        env.reset(seed=0)
        assert env.step(0)[3] is True


def test_wrappers_by_name_innermost_first():
    env = make_single(
        EnvConfig(
            id="CartPole-v1",
            wrappers=(
                {"name": "FrameStackObservation", "kwargs": {"stack_size": 3}},
                {"name": "FlattenObservation"},
            ),
        )
    )
    assert env.observation_space.shape == (12,)


def test_wrong_wrappers_are_named():
    assert "did you mean FlattenObservation" in refused(
        id="CartPole-v1", wrappers=({"name": "FlattenObservations"},)
    )
    assert "policy.normalize_obs" in refused(id="CartPole-v1", wrappers=({"name": "NormalizeObservation"},))
    assert "ppo.normalize_reward" in refused(id="CartPole-v1", wrappers=({"name": "NormalizeReward"},))
    assert "Autoreset" in refused(id="CartPole-v1", wrappers=({"name": "Autoreset"},))
    assert "env.wrappers[0].kwargs.size" in refused(
        id="CartPole-v1", wrappers=({"name": "FrameStackObservation", "kwargs": {"size": 3}},)
    )
    assert "must be a subclass of" in refused(id="CartPole-v1", wrappers=({"name": "env_toys:Plain"},))


def test_the_true_return_is_reported_where_a_wrapper_changes_rewards():
    import torch

    env = make_env(
        EnvConfig(
            id="env_toys:Counter",
            num_envs=1,
            kwargs={"length": 2},
            wrappers=({"name": "env_toys:Bonus", "kwargs": {"amount": 5.0}},),
        )
    )
    env.reset(0)
    one = torch.ones(1, dtype=torch.int64)
    first, second = env.step(one), env.step(one)
    assert first.reward.item() == 6.0
    assert first.info["episode_return"].isnan().all()
    assert second.info["episode_return"].item() == 2.0
    assert second.info["episode_length"].item() == 2.0


def test_the_true_return_is_reported_where_an_outer_wrapper_ends_the_episode():
    import torch

    limit = {"name": "TimeLimit", "kwargs": {"max_episode_steps": 2}}
    bonus = {"name": "env_toys:Bonus", "kwargs": {"amount": 5.0}}
    env = make_env(
        EnvConfig(id="env_toys:Counter", num_envs=1, kwargs={"length": 9}, wrappers=(bonus, limit))
    )
    env.reset(0)
    steps = [env.step(torch.tensor([action])) for action in (1, 2, 0, 1)]
    assert [step.truncated.item() for step in steps] == [False, True, False, True]
    assert [step.info["episode_return"].nan_to_num(-1.0).item() for step in steps] == [-1.0, 3.0, -1.0, 1.0]
    assert steps[3].info["episode_length"].item() == 2.0


def test_backends():
    assert refused(id="CartPole-v1", backend="horses").startswith(
        "env.backend: 'horses' is none of auto, sync"
    )
    assert choose_backend(EnvConfig(id="LunarLander-v3"))[0] == "sync"
    assert choose_backend(EnvConfig(id="CartPole-v1"))[0] == "batch"
    assert choose_backend(EnvConfig(id="CartPole-v1", backend="vector"))[0] == "vector"
    assert set(BACKENDS) >= {"sync", "vector"}
    with pytest.raises(UserError, match="at least 1"):
        make_env(EnvConfig(id="CartPole-v1"), num_envs=0)


@pytest.mark.parametrize("env_id", ["Hopper-v4", "Hopper-v5", "HalfCheetah-v4", "Walker2d-v5"])
def test_mujoco_versions_without_a_word(env_id, capfd):
    pytest.importorskip("mujoco")
    make_single(EnvConfig(id=env_id)).reset(seed=0)
    assert capfd.readouterr().err == ""


def test_egl_only_without_a_display(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    choose_mujoco_renderer()
    assert "MUJOCO_GL" not in os.environ
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(single.ctypes, "CDLL", lambda name: None)
    choose_mujoco_renderer()
    assert os.environ["MUJOCO_GL"] == "egl"
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    choose_mujoco_renderer()
    assert os.environ["MUJOCO_GL"] == "osmesa"
