"""rl_games on a workload: its Runner on Gymnasium's SyncVectorEnv, registered as one of its vector environments."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
from clock import Clock, threads, workload
from rl_games.common import a2c_common, env_configurations, vecenv
from rl_games.common.ivecenv import IVecEnv
from rl_games.torch_runner import Runner


class Sync(IVecEnv):
    """Gymnasium's environments one by one, as rl_games calls them."""

    def __init__(self, w) -> None:
        mode = gym.vector.AutoresetMode.SAME_STEP
        makers = [lambda: gym.make(w.env) for _ in range(w.num_envs)]
        self.inside = gym.vector.SyncVectorEnv(makers, autoreset_mode=mode)
        self.seed = w.seed

    def step(self, actions):
        obs, reward, terminated, truncated, _ = self.inside.step(np.asarray(actions))
        infos = {"time_outs": truncated}
        return obs.astype(np.float32), reward.astype(np.float32), terminated | truncated, infos

    def reset(self):
        return self.inside.reset(seed=self.seed)[0].astype(np.float32)

    def get_env_info(self):
        return {
            "observation_space": self.inside.single_observation_space,
            "action_space": self.inside.single_action_space,
        }


def settings(w) -> dict:
    """A workload as rl_games' parameters."""
    discrete = isinstance(gym.make(w.env).action_space, gym.spaces.Discrete)
    space = (
        {"discrete": None}
        if discrete
        else {
            "continuous": {
                "mu_activation": "None",
                "sigma_activation": "None",
                "mu_init": {"name": "default"},
                "sigma_init": {"name": "const_initializer", "val": 0},
                "fixed_sigma": True,
            }
        }
    )
    mlp = {
        "units": w.hidden,
        "activation": "tanh",
        "initializer": {"name": "default"},
        "regularizer": {"name": "None"},
    }
    config = {
        "name": "bench",
        "env_name": "bench",
        "device": "cpu",
        "multi_gpu": False,
        "reward_shaper": {"scale_value": 1.0},
        "normalize_advantage": True,
        "normalize_input": w.normalize,
        "normalize_value": w.normalize,
        "value_bootstrap": True,
        "gamma": w.gamma,
        "tau": w.gae_lambda,
        "learning_rate": w.learning_rate,
        "lr_schedule": None,
        "score_to_win": 10**9,
        "grad_norm": w.max_grad_norm,
        "truncate_grads": True,
        "entropy_coef": w.entropy_coef,
        "e_clip": w.clip,
        "clip_value": False,
        # rl_games halves this coefficient.
        "critic_coef": 2 * w.value_coef,
        "bounds_loss_coef": 0.0,
        "num_actors": w.num_envs,
        "horizon_length": w.num_steps,
        "minibatch_size": w.minibatch,
        "mini_epochs": w.epochs,
        "max_epochs": w.total_steps // (w.num_envs * w.num_steps),
        "save_best_after": 10**9,
        "save_frequency": 0,
        "print_stats": False,
        # Compiling takes half a minute and gains little on a CPU at these sizes.
        "torch_compile": False,
    }
    return {
        "params": {
            "torch_threads": max(1, w.threads),
            "seed": w.seed,
            "algo": {"name": "a2c_discrete" if discrete else "a2c_continuous"},
            "model": {"name": "discrete_a2c" if discrete else "continuous_a2c_logstd"},
            "network": {"name": "actor_critic", "separate": True, "space": space, "mlp": mlp},
            "load_checkpoint": False,
            "config": config,
        }
    }


def main() -> None:
    """One measurement."""
    w, clock = workload(), Clock()
    threads(w.threads)
    vecenv.register("SYNC", lambda name, actors, **_: Sync(w))
    env_configurations.register("bench", {"vecenv_type": "SYNC", "env_creator": lambda **_: None})
    rows = w.num_envs * w.num_steps
    for base in (a2c_common.DiscreteA2CBase, a2c_common.ContinuousA2CBase):
        epoch = base.train_epoch

        def watched(self, epoch=epoch):
            result = epoch(self)
            clock.updated(rows)
            return result

        base.train_epoch = watched
    runner = Runner()
    parameters = settings(w)
    runner.load(parameters)
    clock.start()
    runner.run({"train": True})
    clock.finish(
        w.total_steps // rows * rows,
        "advantages normalised per rollout; Adam's epsilon 1e-8; not compiled"
        + ("; values scaled in place of rewards" if w.normalize else ""),
    )


if __name__ == "__main__":
    main()
