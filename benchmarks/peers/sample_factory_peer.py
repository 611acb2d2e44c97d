"""sample-factory on a workload: APPO in its serial, synchronous mode, so that it learns from what others learn from."""

from __future__ import annotations

import tempfile

import flat_crop
import gymnasium as gym
from clock import Clock, threads, workload
from sample_factory.algo.learning.learner import Learner
from sample_factory.cfg.arguments import parse_full_cfg, parse_sf_args
from sample_factory.envs.env_utils import register_env
from sample_factory.train import run_rl


def make(name, cfg=None, env_config=None, render_mode=None) -> gym.Env:
    """An environment, as sample-factory asks for one."""
    return flat_crop.make(name)


def main() -> None:
    """One measurement."""
    w, clock = workload(), Clock()
    threads(w.threads)
    rows = w.num_envs * w.num_steps
    settings = {
        "algo": "APPO",
        "env": w.env,
        "experiment": "bench",
        "device": "cpu",
        "seed": w.seed,
        "serial_mode": True,
        "async_rl": False,
        "batched_sampling": True,
        "num_workers": 1,
        "num_envs_per_worker": w.num_envs,
        "worker_num_splits": 1,
        "rollout": w.num_steps,
        "recurrence": 1,
        "use_rnn": False,
        "batch_size": w.minibatch,
        "num_batches_per_epoch": rows // w.minibatch,
        "num_epochs": w.epochs,
        "shuffle_minibatches": True,
        "gamma": w.gamma,
        "gae_lambda": w.gae_lambda,
        "learning_rate": w.learning_rate,
        "ppo_clip_ratio": w.clip,
        "ppo_clip_value": 1e6,
        "exploration_loss_coeff": w.entropy_coef,
        "value_loss_coeff": w.value_coef,
        "max_grad_norm": w.max_grad_norm,
        "adam_eps": w.adam_eps,
        "with_vtrace": False,
        "normalize_input": w.normalize,
        "normalize_returns": w.normalize,
        "nonlinearity": "tanh",
        "actor_critic_share_weights": False,
        "adaptive_stddev": False,
        "train_for_env_steps": w.total_steps,
        "save_every_sec": 100_000,
        "decorrelate_experience_max_seconds": 0,
        "decorrelate_envs_on_one_worker": False,
        "set_workers_cpu_affinity": False,
    }
    register_env(w.env, make)
    updates = 0
    train = Learner._train

    def watched(self, *args):
        nonlocal updates
        result = train(self, *args)
        updates += 1
        clock.updated(rows)
        return result

    Learner._train = watched
    with tempfile.TemporaryDirectory() as folder:
        words = [f"--{key}={value}" for key, value in {**settings, "train_dir": folder}.items()]
        words += ["--encoder_mlp_layers", *map(str, w.hidden)]
        parser, _ = parse_sf_args(words)
        config = parse_full_cfg(parser, words)
        clock.start()
        run_rl(config)
        clock.finish(updates * rows, "serial, synchronous mode")


if __name__ == "__main__":
    main()
