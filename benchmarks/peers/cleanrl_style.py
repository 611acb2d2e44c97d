"""PPO as one flat script in plain PyTorch, in the style that CleanRL made known; written for this benchmark.

    python benchmarks/peers/cleanrl_style.py '{"name": "W1", …}'

Gymnasium's `SyncVectorEnv` (ALE's own vector environment for Atari), float32 buffers, Adam as PyTorch has it.
"""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import torch
from clock import Clock, threads, workload
from flat_crop import make as single
from modules import body, layer
from torch import Tensor, nn
from torch.distributions import Categorical, Normal


class Agent(nn.Module):
    """Actor and critic."""

    def __init__(self, inputs: int, action_space: gym.Space, w) -> None:
        super().__init__()
        self.shared = w.network == "cnn"
        self.discrete = isinstance(action_space, gym.spaces.Discrete)
        self.actor_body, width = body(w.network, inputs, w.hidden)
        self.critic_body = self.actor_body if self.shared else body(w.network, inputs, w.hidden)[0]
        outputs = int(action_space.n) if self.discrete else int(np.prod(action_space.shape))
        self.actor, self.critic = layer(width, outputs, 0.01), layer(width, 1, 1.0)
        self.log_std = None if self.discrete else nn.Parameter(torch.zeros(outputs))

    def forward(self, obs: Tensor, action: Tensor | None = None):
        """Action, its log-probability, entropy, value."""
        latent = self.actor_body(obs)
        value = self.critic(latent if self.shared else self.critic_body(obs)).flatten()
        out = self.actor(latent)
        dist = (
            Categorical(logits=out)
            if self.log_std is None
            else Normal(out, self.log_std.exp().expand_as(out))
        )
        action = dist.sample() if action is None else action
        logp, entropy = dist.log_prob(action), dist.entropy()
        if not self.discrete:
            logp, entropy = logp.sum(1), entropy.sum(1)
        return action, logp, entropy, value

    def value(self, obs: Tensor) -> Tensor:
        """The critic alone."""
        return self.critic(self.critic_body(obs)).flatten()


class Moments:
    """Running mean and variance, all environments at once."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.mean, self.variance, self.count = np.zeros(shape), np.ones(shape), 1e-4

    def update(self, rows: np.ndarray) -> None:
        count = self.count + len(rows)
        delta = rows.mean(0) - self.mean
        mass = self.variance * self.count + rows.var(0) * len(rows)
        self.variance = (mass + delta**2 * self.count * len(rows) / count) / count
        self.mean, self.count = self.mean + delta * len(rows) / count, count


class Scaled:
    """Observations and rewards scaled by running moments, clipped at 10 deviations."""

    def __init__(self, env: gym.vector.VectorEnv, w) -> None:
        self.env, self.on, self.gamma = env, w.normalize, w.gamma
        self.obs_moments = Moments(env.single_observation_space.shape)
        self.return_moments, self.returns = Moments(()), np.zeros(w.num_envs)

    def observe(self, obs: np.ndarray) -> Tensor:
        if self.on:
            self.obs_moments.update(obs)
            obs = (obs - self.obs_moments.mean) / np.sqrt(self.obs_moments.variance + 1e-8)
            obs = obs.clip(-10, 10)
        return torch.as_tensor(obs, dtype=torch.float32)

    def step(self, action: np.ndarray):
        obs, reward, terminated, truncated, _ = self.env.step(action)
        done = terminated | truncated
        if self.on:
            self.returns = self.returns * self.gamma + reward
            self.return_moments.update(self.returns)
            self.returns[done] = 0.0
            reward = (reward / np.sqrt(self.return_moments.variance + 1e-8)).clip(-10, 10)
        return self.observe(obs), reward, done


def make(w) -> gym.vector.VectorEnv:
    """The vector environment."""
    if w.network == "cnn":
        from ale_py.vector_env import AtariVectorEnv

        # ALE/Pong-v5 as it is registered: a frame repeats the last action with probability ¼.
        options = {"reward_clipping": True, "episodic_life": True, "repeat_action_probability": 0.25}
        return AtariVectorEnv(game="pong", num_envs=w.num_envs, **options)
    mode = gym.vector.AutoresetMode.SAME_STEP
    return gym.vector.SyncVectorEnv([lambda: single(w.env) for _ in range(w.num_envs)], autoreset_mode=mode)


def main() -> None:
    """Collect, estimate, learn, until the steps are done."""
    w, clock = workload(), Clock()
    threads(w.threads)
    torch.manual_seed(w.seed)
    rng = np.random.default_rng(w.seed)
    env = make(w)
    clock.start()
    scaled, space = Scaled(env, w), env.single_action_space
    shape = env.single_observation_space.shape
    agent = Agent(int(np.prod(shape)), space, w)
    optimizer = torch.optim.Adam(agent.parameters(), lr=w.learning_rate, eps=w.adam_eps)
    times, copies = w.num_steps, w.num_envs
    obs = torch.zeros((times, copies, *shape))
    actions = torch.zeros(
        (times, copies, *space.shape), dtype=torch.int64 if agent.discrete else torch.float32
    )
    logps, rewards, dones, values = (torch.zeros((times, copies)) for _ in range(4))
    rows, steps = times * copies, 0
    now, done = scaled.observe(env.reset(seed=w.seed)[0]), torch.zeros(copies)
    while steps < w.total_steps:
        for t in range(times):
            obs[t], dones[t] = now, done
            with torch.no_grad():
                action, logps[t], _, values[t] = agent(now)
            actions[t] = action
            command = action.numpy()
            if not agent.discrete:
                command = command.clip(space.low, space.high)
            now, reward, ended = scaled.step(command)
            rewards[t], done = torch.as_tensor(reward), torch.as_tensor(ended, dtype=torch.float32)
        steps += rows
        advantages, last = torch.zeros_like(rewards), torch.zeros(copies)
        with torch.no_grad():
            following = agent.value(now)
        for t in reversed(range(times)):
            going = 1.0 - (done if t == times - 1 else dones[t + 1])
            after = following if t == times - 1 else values[t + 1]
            last = rewards[t] + w.gamma * after * going - values[t] + w.gamma * w.gae_lambda * going * last
            advantages[t] = last
        flat = (obs.flatten(0, 1), actions.flatten(0, 1), logps.flatten(), advantages.flatten())
        targets = (advantages + values).flatten()
        for _ in range(w.epochs):
            order = rng.permutation(rows)
            for begin in range(0, rows, w.minibatch):
                chosen = order[begin : begin + w.minibatch]
                o, a, old, advantage = (part[chosen] for part in flat)
                _, logp, entropy, value = agent(o, a)
                ratio = (logp - old).exp()
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                surrogate = torch.min(
                    ratio * advantage, ratio.clamp(1 - w.clip, 1 + w.clip) * advantage
                ).mean()
                value_loss = (value - targets[chosen]).pow(2).mean()
                loss = w.value_coef * value_loss - surrogate - w.entropy_coef * entropy.mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), w.max_grad_norm)
                optimizer.step()
        clock.updated(steps)
    clock.finish(steps)


if __name__ == "__main__":
    main()
