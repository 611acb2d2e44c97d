"""Stable-Baselines3 on a workload: its PPO, DummyVecEnv, VecNormalize where the workload normalises."""

from __future__ import annotations

import gymnasium as gym
import torch
from clock import Clock, threads, workload
from flat_crop import make
from modules import TwoLayers
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_atari_env, make_vec_env
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecFrameStack, VecNormalize


class Encoder(BaseFeaturesExtractor):
    """The user's module of workload W5."""

    def __init__(self, observation_space: gym.Space, width: int = 64) -> None:
        super().__init__(observation_space, width)
        self.inside = TwoLayers(observation_space.shape[0], width)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.inside(observations)


class FirstUpdate(BaseCallback):
    """Reads the clock when the second rollout begins, and at the end."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.num_timesteps:
            self.clock.updated(self.num_timesteps)

    def _on_training_end(self) -> None:
        self.clock.updated(self.num_timesteps)


def main() -> None:
    """One measurement."""
    w, clock = workload(), Clock()
    threads(w.threads)
    if w.network == "cnn":
        import ale_py  # noqa: F401  (registers its environments)

        env = VecFrameStack(make_atari_env("PongNoFrameskip-v4", n_envs=w.num_envs, seed=w.seed), 4)
    else:
        env = make_vec_env(lambda: make(w.env), n_envs=w.num_envs, seed=w.seed)
    if w.normalize:
        env = VecNormalize(env, gamma=w.gamma)
    networks = {
        "mlp": {"net_arch": {"pi": w.hidden, "vf": w.hidden}},
        "module": {"net_arch": [], "features_extractor_class": Encoder, "share_features_extractor": False},
        "cnn": {},
    }
    model = PPO(
        "CnnPolicy" if w.network == "cnn" else "MlpPolicy",
        env,
        learning_rate=w.learning_rate,
        n_steps=w.num_steps,
        batch_size=w.minibatch,
        n_epochs=w.epochs,
        gamma=w.gamma,
        gae_lambda=w.gae_lambda,
        clip_range=w.clip,
        ent_coef=w.entropy_coef,
        vf_coef=w.value_coef,
        max_grad_norm=w.max_grad_norm,
        policy_kwargs={**networks[w.network], "optimizer_kwargs": {"eps": w.adam_eps}},
        seed=w.seed,
        device="cpu",
    )
    clock.start()
    model.learn(w.total_steps, callback=FirstUpdate(clock))
    clock.finish(model.num_timesteps)


if __name__ == "__main__":
    main()
