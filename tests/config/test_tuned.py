"""Tuned settings: the promised environments have them, they validate, and say where they come from."""

from __future__ import annotations

from importlib.resources import files

import gymnasium
import pytest

from proximo.config.load import load_experiment, load_traced, tuned_ids
from proximo.envs import nethack

PROMISED = [
    "CartPole-v1",
    "Acrobot-v1",
    "MountainCarContinuous-v0",
    "Pendulum-v1",
    "LunarLander-v3",
    "BipedalWalker-v3",
    "InvertedDoublePendulum-v5",
    "Hopper-v5",
    "Walker2d-v5",
    "HalfCheetah-v5",
    "Ant-v5",
    "Humanoid-v5",
    "MiniHack-Room-5x5-v0",
    "ALE/Pong-v5",
    "ALE/Breakout-v5",
]


def test_the_promised_environments_have_tuned_settings() -> None:
    assert set(PROMISED) <= set(tuned_ids())


@pytest.mark.parametrize("env_id", tuned_ids())
def test_settings_validate_and_are_found_by_the_id(env_id: str) -> None:
    loaded = load_traced(env_id)
    assert loaded.tuned == env_id
    assert loaded.experiment.env.id == env_id
    assert load_experiment(env_id, untuned=True).ppo != loaded.experiment.ppo


@pytest.mark.parametrize("env_id", tuned_ids())
def test_each_says_where_its_numbers_come_from_and_what_was_measured(env_id: str) -> None:
    file = files("proximo.config") / "tuned" / f"{env_id.replace('/', '_')}.yaml"
    head = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert head[0] == f"# {env_id}"
    assert sum(line.startswith("# Source: ") for line in head) == 1
    assert sum(line.startswith("# Measured here: ") for line in head) == 1


@pytest.mark.parametrize("env_id", [name for name in tuned_ids() if "/" not in name])
def test_minibatches_divide_the_rollout_and_the_id_exists(env_id: str) -> None:
    ppo, env = load_experiment(env_id).ppo, load_experiment(env_id).env
    rows = ppo.num_steps * env.num_envs
    assert ppo.total_steps >= rows
    assert rows % ppo.minibatch_size == 0, "the last minibatch would be smaller than the others"
    if nethack.looks_like(env_id):
        if not nethack.installed():
            pytest.skip("needs pip install 'proximo[nethack]'")
        nethack.register()
    assert env_id in gymnasium.registry
