"""How a collector goes through the steps of a rollout: a slot, so that an engine can do it its own way."""

from __future__ import annotations

import time
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from proximo.core.tape import Tape
from proximo.core.types import EnvSpec, Final, Obs, Policy, State, VecEnv

Array = np.ndarray[Any, Any]


class Recorder(Protocol):
    """What a way through the steps may use of a collector: its tape, and where the environments stand.

    `N` environments.
    """

    env: VecEnv
    device: torch.device
    """The policy's."""
    num_steps: int
    sequence_length: int
    """Every so many steps the memory goes onto the tape."""
    tape: Tape
    obs: Obs
    """`[N, ...]` what the next action is chosen for."""
    state: State | None
    """`[N, F]` per entry, the memory before that action; None only between a reset and the next rollout."""
    start: Tensor
    """`[N]` bool: `obs` begins an episode."""

    def move(self, obs: Obs) -> Obs:
        """Onto the policy's device."""


class Stepping(Protocol):
    """Fills the collector's tape with `num_steps` steps and leaves it where the next rollout goes on."""

    def run(self, collector: Recorder, policy: Policy, noise: Tensor) -> float:
        """`noise` is `[T / every, N, dim]`. Returns the seconds that the environments took."""


class WritingEnv(Protocol):
    """An environment that can step into its caller's memory."""

    spec: EnvSpec

    def step_into(
        self,
        given: Array,
        obs: dict[str, Array],
        reward: Array,
        terminated: Array,
        truncated: Array,
        valid: Array,
    ) -> tuple[Final, dict[str, Tensor]]:
        """`given` `[N, ...]` in the action space's type, an array of its own; the rest `[N, ...]` to be filled.

        `obs` is left alone until the next call.
        """


class TorchStepping:
    """The reference: any policy, any environment, one step after the other."""

    def run(self, collector: Recorder, policy: Policy, noise: Tensor) -> float:
        """Act, step, record."""
        clock, waited = time.perf_counter, 0.0
        assert collector.state is not None
        for t in range(collector.num_steps):
            if policy.recurrent and t % collector.sequence_length == 0:
                collector.tape.states.append({key: entry.clone() for key, entry in collector.state.items()})
            act = policy.act(collector.obs, collector.state, collector.start, noise[t // policy.noise.every])
            action = policy.to_env(act.action)
            acted = clock()
            step = collector.env.step(action)
            waited += clock() - acted
            collector.tape.write(t, collector.obs, collector.start, act, step)
            collector.obs = collector.move(step.obs)
            collector.state = act.state
            collector.start = (step.terminated | step.truncated | ~step.valid).to(collector.device)
        return waited


TORCH_STEPPING = TorchStepping()
