"""Writes tests/core/sb3_golden.safetensors: one PPO update as Stable-Baselines3 computes it, step by step.

tests/core/test_against_sb3.py feeds the same rollout, weights and minibatch order to our engines and compares
values, advantages, the first gradient and the parameters afterwards; SB3 itself is needed only here.

    pip install "stable-baselines3>=2.9" && python benchmarks/golden/sb3.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from safetensors.torch import save_file
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

TARGET = Path(__file__).parents[2] / "tests" / "core" / "sb3_golden.safetensors"
STEPS, ENVS, MINIBATCH, EPOCHS = 32, 4, 32, 3
SETTINGS = {
    "learning_rate": 3e-3,
    "gamma": 0.97,
    "gae_lambda": 0.9,
    "clip_range": 0.1,
    "ent_coef": 0.02,
    "vf_coef": 0.7,
    "max_grad_norm": 0.5,
}
SPACES: dict[str, spaces.Space[Any]] = {
    "categorical": spaces.Discrete(3),
    "gaussian": spaces.Box(-1.0, 1.0, (2,), np.float32),
}


class Scripted(gym.Env[Any, Any]):
    """Random observations and rewards; episodes end after 5 to 12 steps, by termination or truncation."""

    observation_space = spaces.Box(-np.inf, np.inf, (5,), np.float32)

    def __init__(self, action_space: spaces.Space[Any], seed: int) -> None:
        self.action_space = action_space
        self.random = np.random.default_rng(seed)
        self.left = 0
        self.record: list[tuple[bool, bool, np.ndarray[Any, Any]]] = []

    def _observe(self) -> np.ndarray[Any, Any]:
        return self.random.normal(size=5).astype(np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """A new length."""
        self.left = int(self.random.integers(5, 13))
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Nothing depends on the action: only the arithmetic matters."""
        self.left -= 1
        over = self.left == 0
        terminated = over and bool(self.random.random() < 0.5)
        truncated = over and not terminated
        obs, reward = self._observe(), float(np.float32(self.random.normal()))
        self.record.append((terminated, truncated, obs))
        return obs, reward, terminated, truncated, {}


def parameters(policy: Any) -> dict[str, torch.Tensor]:
    """Copies by SB3's names."""
    return {name: p.detach().clone() for name, p in policy.named_parameters()}


def update(name: str) -> dict[str, torch.Tensor]:
    """One rollout and one update; everything that a comparison needs."""
    envs = [Scripted(SPACES[name], seed) for seed in range(ENVS)]
    vector = DummyVecEnv([lambda env=env: env for env in envs])
    model = PPO(
        "MlpPolicy",
        vector,
        n_steps=STEPS,
        batch_size=MINIBATCH,
        n_epochs=EPOCHS,
        seed=0,
        device="cpu",
        policy_kwargs={"net_arch": {"pi": [8, 6], "vf": [7]}},
        **SETTINGS,
    )
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    rewards = []
    plain = vector.step_wait

    def step_wait() -> Any:
        result = plain()
        rewards.append(result[1].copy())
        return result

    vector.step_wait = step_wait  # type: ignore[method-assign]
    out = {f"before/{key}": value for key, value in parameters(model.policy).items()}
    model._setup_learn(STEPS * ENVS, None)
    for env in envs:
        env.record.clear()
    assert model.collect_rollouts(model.env, _nothing(model), model.rollout_buffer, STEPS)
    buffer = model.rollout_buffer
    for key, entry in {
        "obs": buffer.observations,
        "action": buffer.actions,
        "start": buffer.episode_starts,
        "logp": buffer.log_probs,
        "value": buffer.values,
        "advantage": buffer.advantages,
        "target": buffer.returns,
        "reward": np.stack(rewards),
        "last_obs": model._last_obs,
        "terminated": np.array([[row[0] for row in env.record] for env in envs]).T,
        "truncated": np.array([[row[1] for row in env.record] for env in envs]).T,
        "successor": np.stack([[row[2] for row in env.record] for env in envs], axis=1),
    }.items():
        out[key] = torch.from_numpy(np.ascontiguousarray(entry)).clone()
    _learn(model, out)
    return out


def _learn(model: Any, out: dict[str, torch.Tensor]) -> None:
    orders: list[Any] = []
    shuffle, step = np.random.permutation, model.policy.optimizer.step

    def permutation(count: int) -> Any:
        orders.append(shuffle(count))
        return orders[-1]

    def first_step(*arguments: Any) -> Any:
        if "gradient/action_net.weight" not in out:
            for key, parameter in model.policy.named_parameters():
                out[f"gradient/{key}"] = parameter.grad.clone()
        return step(*arguments)

    np.random.permutation, model.policy.optimizer.step = permutation, first_step
    try:
        model.train()
    finally:
        np.random.permutation = shuffle
    # SB3 counts rows environment by environment; the file counts them step by step.
    rows = np.stack(orders)
    out["orders"] = torch.from_numpy(rows % STEPS * ENVS + rows // STEPS)
    out |= {f"after/{key}": value for key, value in parameters(model.policy).items()}
    logged = model.logger.name_to_value
    for key in ("policy_gradient_loss", "value_loss", "entropy_loss", "approx_kl", "clip_fraction"):
        out[f"metric/{key}"] = torch.tensor(float(logged[f"train/{key}"]))


def _nothing(model: Any) -> Any:
    from stable_baselines3.common.callbacks import CallbackList

    callback = CallbackList([])
    callback.init_callback(model)
    callback.on_training_start({}, {})
    return callback


if __name__ == "__main__":
    save_file(
        {f"{name}/{key}": value.contiguous() for name in SPACES for key, value in update(name).items()},
        TARGET,
    )
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")
