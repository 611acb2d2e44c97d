"""The collector: acts in the environments and records a rollout.

Shapes: `T` = `num_steps`, `N` environments, `K` episodes that ended. Buffers are allocated once and overwritten
by the next collect.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from proximo.core import rng
from proximo.core.episodes import EpisodeCounter
from proximo.core.stepping import TORCH_STEPPING, Stepping
from proximo.core.tape import Tape
from proximo.core.timer import Timer
from proximo.core.types import Comparison, Correction, Obs, Policy, Rollout, State, VecEnv


class Collector:
    """A source of fresh rollouts: `num_steps` steps of every environment per collect.

    On-policy, so its correction is exactly 1. Noise is drawn outside the policy, keyed by global environment
    index and step, from the stream `action`.
    """

    fresh, off_policy = True, False

    def __init__(
        self,
        env: VecEnv,
        num_steps: int,
        seed: int,
        device: torch.device,
        *,
        name: str = "env",
        sequence_length: int | None = None,
        timer: Timer | None = None,
    ) -> None:
        self.env = env
        self.num_steps = num_steps
        self.seed = seed
        self.name = name
        self.device = device
        self.sequence_length = sequence_length or num_steps
        self.timer = timer or Timer()
        self.key = rng.stream_key(seed, "action")
        self.envs = torch.arange(env.spec.num_envs, device=device)
        self.episodes = EpisodeCounter(env.spec.num_envs)
        self.steps = 0
        """Vector steps taken since the start of training."""
        self.obs: Obs = {}
        self.state: State | None = None
        self.start = torch.ones(env.spec.num_envs, dtype=torch.bool, device=device)
        self.tape = Tape(num_steps, device)
        self.stepping: Stepping = TORCH_STEPPING

    def reset(self, seed: int | None = None) -> None:
        """Start all environments afresh, from the run's seed or another."""
        self.obs = self.move(self.env.reset(self.seed if seed is None else seed))
        self.start = torch.ones_like(self.start)
        self.state = None
        self.episodes = EpisodeCounter(self.env.spec.num_envs)

    def collect(self, policy: Policy) -> Rollout:
        """Act for `num_steps` steps with the policy as it is; its statistics do not move meanwhile."""
        with self.timer.phase("act"), torch.no_grad():
            if not self.obs:
                self.reset()
            if self.state is None:
                self.state = policy.initial_state(self.env.spec.num_envs)
            self.tape.begin()
            self.timer.split("env", self.stepping.run(self, policy, self._noise(policy)))
            self.steps += self.num_steps
            return self._rollout(policy)

    def correct(self, comparison: Comparison) -> Correction:
        """Fresh rows: exactly 1."""
        return Correction()

    def settle(self) -> None:
        """Nothing runs in the background."""

    def close(self) -> None:
        """Nothing to end; the environments stay open."""

    def state_dict(self) -> dict[str, Any]:
        """Counters, memory, observation, and the environments themselves where they can tell their state."""
        state: dict[str, Any] = {
            "steps": self.steps,
            "obs": dict(self.obs),
            "start": self.start,
            "memory": dict(self.state or {}),
            "episodes": self.episodes.state_dict(),
        }
        if hasattr(self.env, "state_dict"):
            state["env"] = self.env.state_dict()
        else:
            state["params"] = dict(getattr(self.env, "params", {}))
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; environments come back by their own means (state or replay)."""
        if hasattr(self.env, "load_state_dict"):
            self.env.load_state_dict(state["env"])
            self.obs = self.move(state["obs"])
            self.start = state["start"].to(self.device)
            self.state = self.move(state["memory"])
            self.episodes.load_state_dict(state["episodes"])
        else:
            if state["params"]:
                self.env.configure(state["params"])
            self.reset(rng.integer_seed(self.seed, "resume", int(state["steps"])))
        self.steps = int(state["steps"])

    def _noise(self, policy: Policy) -> Tensor:
        spec = policy.noise
        draw = rng.normal if spec.kind == "normal" else rng.uniform
        count = -(-self.num_steps // spec.every)
        return draw(self.key, self.envs, self.steps // spec.every, count, spec.dim)

    def move(self, obs: Obs) -> Obs:
        """Onto the policy's device."""
        return {key: entry.to(self.device) for key, entry in obs.items()}

    def _rollout(self, policy: Policy) -> Rollout:
        tape, buffers = self.tape, self.tape.buffers
        final_t, final_n, final_obs = tape.ended(self.obs)
        rollout = Rollout(
            source=self.name,
            obs={key: buffers[f"obs/{key}"] for key in self.obs},
            action=buffers["action"],
            logp_behavior=buffers["logp"],
            start=buffers["start"],
            reward=buffers["reward"],
            terminated=buffers["terminated"],
            truncated=buffers["truncated"],
            valid=buffers["valid"],
            final_t=final_t,
            final_n=final_n,
            final_obs=final_obs,
            # Copies: the environment may write into its memory before this rollout is learnt from.
            last_obs={key: entry.clone() for key, entry in self.obs.items()},
            last_start=self.start.clone(),
            state=tape.sequence_starts(),
            sequence_length=self.sequence_length,
            stats=policy.snapshot(),
            aux=tape.group("aux/"),
            info=tape.numbers(),
        )
        rollout.episodes = self.episodes.finished(rollout)
        return rollout


PRIME_STEPS_EACH = 16
"""At least this many steps of every copy: what does not vary at a reset would seem constant after one step."""


@torch.no_grad()
def prime(env: VecEnv, policy: Policy, steps: int, seed: int, device: torch.device) -> int:
    """Set the policy's observation statistics from a short rollout of noise-driven actions; returns its steps.

    Without it the first rollouts are acted on unscaled observations. Uses the initial policy, whose actions are
    nearly uniform, on a seed of its own; the environments must be reset afterwards.
    """
    count = max(PRIME_STEPS_EACH, -(-steps // env.spec.num_envs))
    every = policy.noise.every
    count = -(-count // every) * every
    collector = Collector(env, count, rng.integer_seed(seed, "prime"), device)
    rollout = collector.collect(policy)
    policy.prime(rollout)
    return int(rollout.valid.sum())
