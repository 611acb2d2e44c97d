"""tianshou on a workload: PPO with its Collector on DummyVectorEnv (VectorEnvNormObs where the workload normalises)."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import torch
from clock import Clock, threads, workload
from modules import body, layer
from tianshou.algorithm import PPO
from tianshou.algorithm.modelfree.reinforce import ProbabilisticActorPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv, VectorEnvNormObs
from tianshou.trainer import OnPolicyTrainerParams
from tianshou.utils.net.common import ModuleWithVectorOutput
from tianshou.utils.net.continuous import ContinuousActorProbabilistic, ContinuousCritic
from tianshou.utils.net.discrete import DiscreteActor, DiscreteCritic
from torch.distributions import Categorical, Distribution, Independent, Normal


class Body(ModuleWithVectorOutput):
    """The layers below a head, as tianshou calls them."""

    def __init__(self, inputs: int, w) -> None:
        inside, width = body(w.network, inputs, w.hidden)
        super().__init__(width)
        self.inside = inside

    def forward(self, obs, state=None, info=None):
        return self.inside(torch.as_tensor(obs, dtype=torch.float32)), state


def gaussian(pair: tuple[torch.Tensor, torch.Tensor]) -> Distribution:
    """Diagonal Gaussian from mean and deviation."""
    return Independent(Normal(*pair, validate_args=False), 1, validate_args=False)


def categorical(logits: torch.Tensor) -> Distribution:
    """Categorical from logits."""
    return Categorical(logits=logits)


def main() -> None:
    """One measurement."""
    w, clock = workload(), Clock()
    threads(w.threads)
    torch.manual_seed(w.seed)
    single = gym.make(w.env)
    obs_space, action_space = single.observation_space, single.action_space
    env = DummyVectorEnv([lambda: gym.make(w.env) for _ in range(w.num_envs)])
    if w.normalize:
        env = VectorEnvNormObs(env)
    inputs = int(np.prod(obs_space.shape))
    if isinstance(action_space, gym.spaces.Discrete):
        actor = DiscreteActor(
            preprocess_net=Body(inputs, w), action_shape=int(action_space.n), softmax_output=False
        )
        critic, dist, last = DiscreteCritic(preprocess_net=Body(inputs, w)), categorical, actor.last
    else:
        actor = ContinuousActorProbabilistic(
            preprocess_net=Body(inputs, w), action_shape=action_space.shape, unbounded=True
        )
        critic, dist, last = ContinuousCritic(preprocess_net=Body(inputs, w)), gaussian, actor.mu
    final = [part for part in last.modules() if isinstance(part, torch.nn.Linear)][-1]
    final.weight.data.copy_(layer(final.in_features, final.out_features, 0.01).weight.data)
    policy = ProbabilisticActorPolicy(
        actor=actor,
        dist_fn=dist,
        action_space=action_space,
        observation_space=obs_space,
        action_scaling=not isinstance(action_space, gym.spaces.Discrete),
        action_bound_method=None if isinstance(action_space, gym.spaces.Discrete) else "clip",
    )
    algorithm = PPO(
        policy=policy,
        critic=critic,
        optim=AdamOptimizerFactory(lr=w.learning_rate, eps=w.adam_eps),
        eps_clip=w.clip,
        vf_coef=w.value_coef,
        ent_coef=w.entropy_coef,
        max_grad_norm=w.max_grad_norm,
        gae_lambda=w.gae_lambda,
        gamma=w.gamma,
        advantage_normalization=True,
        return_scaling=w.normalize,
    )
    rows = w.num_envs * w.num_steps
    collector = Collector(policy, env, VectorReplayBuffer(rows, w.num_envs))
    seen = 0

    def before(epoch: int, steps: int) -> None:
        nonlocal seen
        seen += 1
        if seen == 2:
            clock.updated(rows)

    clock.start()
    algorithm.run_training(
        OnPolicyTrainerParams(
            training_collector=collector,
            max_epochs=1,
            epoch_num_steps=w.total_steps,
            collection_step_num_env_steps=rows,
            update_step_num_repetitions=w.epochs,
            batch_size=w.minibatch,
            training_fn=before,
            verbose=False,
            show_progress=False,
        )
    )
    clock.finish(w.total_steps, "returns scaled in place of rewards" if w.normalize else "")


if __name__ == "__main__":
    main()
