"""skrl on a workload: PPO, RandomMemory, SequentialTrainer on Gymnasium's SyncVectorEnv."""

from __future__ import annotations

import gymnasium as gym
import torch
from clock import Clock, threads, workload
from flat_crop import make
from modules import body, layer
from skrl.agents.torch.ppo import PPO, PPO_CFG
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.models.torch import CategoricalMixin, DeterministicMixin, GaussianMixin, Model
from skrl.resources.preprocessors.torch import RunningStandardScaler
from skrl.trainers.torch import SequentialTrainer


class Gaussian(GaussianMixin, Model):
    """Actor for continuous actions."""

    def __init__(self, env, w) -> None:
        Model.__init__(
            self,
            observation_space=env.observation_space,
            action_space=env.action_space,
            device="cpu",
        )
        GaussianMixin.__init__(self, clip_actions=False)
        self.body, width = body(w.network, self.num_observations, w.hidden)
        self.head = layer(width, self.num_actions, 0.01)
        self.log_std = torch.nn.Parameter(torch.zeros(self.num_actions))

    def compute(self, inputs, role=""):
        return self.head(self.body(inputs["observations"])), {"log_std": self.log_std}


class Categorical(CategoricalMixin, Model):
    """Actor for discrete actions."""

    def __init__(self, env, w) -> None:
        Model.__init__(
            self,
            observation_space=env.observation_space,
            action_space=env.action_space,
            device="cpu",
        )
        CategoricalMixin.__init__(self)
        self.body, width = body(w.network, self.num_observations, w.hidden)
        self.head = layer(width, self.num_actions, 0.01)

    def compute(self, inputs, role=""):
        return self.head(self.body(inputs["observations"])), {}


class Value(DeterministicMixin, Model):
    """Critic."""

    def __init__(self, env, w) -> None:
        Model.__init__(
            self,
            observation_space=env.observation_space,
            action_space=env.action_space,
            device="cpu",
        )
        DeterministicMixin.__init__(self)
        self.body, width = body(w.network, self.num_observations, w.hidden)
        self.head = layer(width, 1, 1.0)

    def compute(self, inputs, role=""):
        return self.head(self.body(inputs["observations"])), {}


def main() -> None:
    """One measurement."""
    w, clock = workload(), Clock()
    threads(w.threads)
    torch.manual_seed(w.seed)
    env = wrap_env(gym.vector.SyncVectorEnv([lambda: make(w.env)] * w.num_envs))
    actor = Categorical if isinstance(env.action_space, gym.spaces.Discrete) else Gaussian
    models = {"policy": actor(env, w), "value": Value(env, w)}
    scaling = {}
    if w.normalize:
        scaling = {
            "observation_preprocessor": RunningStandardScaler,
            "observation_preprocessor_kwargs": {"size": env.observation_space, "device": "cpu"},
            "value_preprocessor": RunningStandardScaler,
            "value_preprocessor_kwargs": {"size": 1, "device": "cpu"},
        }
    config = PPO_CFG(
        rollouts=w.num_steps,
        learning_epochs=w.epochs,
        mini_batches=w.num_envs * w.num_steps // w.minibatch,
        discount_factor=w.gamma,
        gae_lambda=w.gae_lambda,
        learning_rate=w.learning_rate,
        grad_norm_clip=w.max_grad_norm,
        ratio_clip=w.clip,
        value_clip=0.0,
        entropy_loss_scale=w.entropy_coef,
        value_loss_scale=w.value_coef,
        **scaling,
    )
    agent = PPO(
        models=models,
        memory=RandomMemory(memory_size=w.num_steps, num_envs=w.num_envs, device="cpu"),
        cfg=config,
        observation_space=env.observation_space,
        action_space=env.action_space,
        device="cpu",
    )
    update = agent.update

    def watched(*, timestep: int, timesteps: int) -> None:
        update(timestep=timestep, timesteps=timesteps)
        clock.updated(w.num_steps * w.num_envs)

    agent.update = watched
    times = w.total_steps // w.num_envs
    trainer = SequentialTrainer(
        cfg={
            "timesteps": times,
            "headless": True,
            "disable_progressbar": True,
            "close_environment_at_exit": False,
        },
        env=env,
        agents=agent,
    )
    clock.start()
    trainer.train()
    differs = "advantages normalised per rollout; Adam's epsilon as PyTorch has it"
    if w.normalize:
        differs += "; values scaled in place of rewards"
    clock.finish(times * w.num_envs, differs)


if __name__ == "__main__":
    main()
