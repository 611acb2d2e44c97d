"""rsl_rl on a workload: OnPolicyRunner on Gymnasium's SyncVectorEnv behind its VecEnv (continuous actions only)."""

from __future__ import annotations

import tempfile

import gymnasium as gym
import numpy as np
import torch
from clock import Clock, threads, workload
from rsl_rl.env import VecEnv
from rsl_rl.runners import OnPolicyRunner
from tensordict import TensorDict


class Sync(VecEnv):
    """Gymnasium's environments one by one, as rsl_rl calls them."""

    def __init__(self, w) -> None:
        mode = gym.vector.AutoresetMode.SAME_STEP
        makers = [lambda: gym.make(w.env) for _ in range(w.num_envs)]
        self.inside = gym.vector.SyncVectorEnv(makers, autoreset_mode=mode)
        self.space = self.inside.single_action_space
        self.num_envs, self.num_actions = w.num_envs, int(np.prod(self.space.shape))
        self.max_episode_length = gym.spec(w.env).max_episode_steps
        self.episode_length_buf = torch.zeros(w.num_envs, dtype=torch.long)
        self.device, self.cfg = "cpu", {}
        self.obs = self._told(self.inside.reset(seed=w.seed)[0])

    def _told(self, obs: np.ndarray) -> TensorDict:
        rows = torch.as_tensor(obs, dtype=torch.float32)
        return TensorDict({"policy": rows}, batch_size=[self.num_envs])

    def get_observations(self) -> TensorDict:
        return self.obs

    def step(self, actions: torch.Tensor):
        clipped = actions.numpy().clip(self.space.low, self.space.high)
        obs, reward, terminated, truncated, _ = self.inside.step(clipped)
        self.obs = self._told(obs)
        done = torch.as_tensor(terminated | truncated)
        self.episode_length_buf = (self.episode_length_buf + 1) * ~done
        extras = {"time_outs": torch.as_tensor(truncated)}
        return self.obs, torch.as_tensor(reward, dtype=torch.float32), done.long(), extras


def main() -> None:
    """One measurement."""
    w, clock = workload(), Clock()
    threads(w.threads)
    torch.manual_seed(w.seed)
    network = {
        "class_name": "MLPModel",
        "hidden_dims": w.hidden,
        "activation": "tanh",
        "obs_normalization": w.normalize,
    }
    distribution = {"class_name": "GaussianDistribution", "init_std": 1.0, "std_type": "log"}
    settings = {
        "num_steps_per_env": w.num_steps,
        "save_interval": 1_000_000,
        "obs_groups": {"actor": ["policy"], "critic": ["policy"]},
        "logger": "tensorboard",
        "actor": {**network, "distribution_cfg": distribution},
        "critic": network,
        "algorithm": {
            "class_name": "PPO",
            "num_learning_epochs": w.epochs,
            "num_mini_batches": w.num_envs * w.num_steps // w.minibatch,
            "clip_param": w.clip,
            "gamma": w.gamma,
            "lam": w.gae_lambda,
            "value_loss_coef": w.value_coef,
            "entropy_coef": w.entropy_coef,
            "learning_rate": w.learning_rate,
            "max_grad_norm": w.max_grad_norm,
            "use_clipped_value_loss": False,
            "schedule": "fixed",
            "normalize_advantage_per_mini_batch": True,
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        runner = OnPolicyRunner(Sync(w), settings, log_dir=folder, device="cpu")
        update, rows = runner.alg.update, w.num_envs * w.num_steps

        def watched():
            losses = update()
            clock.updated(rows)
            return losses

        runner.alg.update = watched
        clock.start()
        runner.learn(w.total_steps // rows)
        clock.finish(w.total_steps // rows * rows, "rewards not scaled; Adam's epsilon as PyTorch has it")


if __name__ == "__main__":
    main()
