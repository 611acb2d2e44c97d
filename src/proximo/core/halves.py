"""Two half-batches in turn: the policy acts on one half of the environments while the other half is stepped.

For environments that offer `halves` (two slices of their rows), `send(half, action)` and `receive(half)`. Every
environment gets the same noise as ever (it is keyed by environment and step) and the policy's parameters stand
still during a rollout; only the number of rows in one call of the policy differs, which may move the last bit of
a float.
"""

from __future__ import annotations

import time
from typing import Any, Protocol

import torch
from torch import Tensor

from proximo.core.stepping import TORCH_STEPPING, Recorder, Stepping
from proximo.core.types import Act, Final, Obs, Policy, State, Step, VecEnv


class HalvedEnv(Protocol):
    """What an environment offers to be stepped half by half."""

    halves: tuple[slice, slice]

    def send(self, half: int, action: Tensor) -> None: ...
    def receive(self, half: int) -> Step: ...


class HalvesStepping:
    """Any policy on an environment that steps its halves while nobody waits for them."""

    def run(self, collector: Recorder, policy: Policy, noise: Tensor) -> float:
        """The reference's numbers, up to the rounding of the policy's own arithmetic."""
        env: Any = collector.env
        actors = [_Actor(collector, policy, noise, half, rows) for half, rows in enumerate(env.halves)]
        clock, waited = time.perf_counter, 0.0
        for actor in actors:
            actor.act(0)
        for t in range(collector.num_steps):
            moments = [actor.moment for actor in actors]
            steps = []
            for actor in actors:
                asked = clock()
                step = env.receive(actor.half)
                waited += clock() - asked
                actor.took(step, collector)
                steps.append(step)
                if t + 1 < collector.num_steps:
                    actor.act(t + 1)
            if policy.recurrent and t % collector.sequence_length == 0:
                collector.tape.states.append(_joined([moment.state for moment in moments]))
            obs, start = _joined([m.obs for m in moments]), torch.cat([m.start for m in moments])
            collector.tape.write(
                t, obs, start, _acts([m.given for m in moments]), join_steps(steps, env.halves)
            )
        collector.obs = _joined([actor.obs for actor in actors])
        collector.state = _joined([actor.state for actor in actors])
        collector.start = torch.cat([actor.start for actor in actors])
        return waited


class _Moment:
    """What one half saw and did at one step."""

    def __init__(self, obs: Obs, state: State, start: Tensor, given: Act) -> None:
        self.obs, self.state, self.start, self.given = obs, state, start, given


class _Actor:
    """The policy's memory and observations of one half."""

    def __init__(self, collector: Recorder, policy: Policy, noise: Tensor, half: int, rows: slice) -> None:
        assert collector.state is not None
        self.env: Any = collector.env
        self.policy, self.noise, self.half = policy, noise[:, rows], half
        self.obs = {key: entry[rows] for key, entry in collector.obs.items()}
        self.state = {key: entry[rows] for key, entry in collector.state.items()}
        self.start = collector.start[rows]

    def act(self, t: int) -> None:
        """Choose and send off the actions of step `t`."""
        noise = self.noise[t // self.policy.noise.every]
        given = self.policy.act(self.obs, self.state, self.start, noise)
        self.env.send(self.half, self.policy.to_env(given.action))
        self.moment = _Moment(self.obs, self.state, self.start, given)

    def took(self, step: Step, collector: Recorder) -> None:
        """Go on from where the step led."""
        self.obs = collector.move(step.obs)
        self.state = self.moment.given.state
        self.start = (step.terminated | step.truncated | ~step.valid).to(collector.device)


def _joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    first, second = parts
    return {key: torch.cat([entry, second[key]]) for key, entry in first.items()}


def _acts(parts: list[Act]) -> Act:
    first, second = parts
    action, logp = torch.cat([first.action, second.action]), torch.cat([first.logp, second.logp])
    return Act(action, logp, _joined([first.state, second.state]), _joined([first.aux, second.aux]))


def join_steps(steps: list[Step], halves: tuple[slice, slice]) -> Step:
    """The steps of both halves as one of all environments."""
    first, second = steps
    index = torch.cat([first.final.index, second.final.index + halves[1].start])
    return Step(
        obs=_joined([first.obs, second.obs]),
        reward=torch.cat([first.reward, second.reward]),
        terminated=torch.cat([first.terminated, second.terminated]),
        truncated=torch.cat([first.truncated, second.truncated]),
        final=Final(index, _joined([first.final.obs, second.final.obs])),
        valid=torch.cat([first.valid, second.valid]),
        info=_joined([first.info, second.info]),
    )


HALVES_STEPPING = HalvesStepping()


def torch_stepping(env: VecEnv) -> Stepping:
    """The way through a rollout of `env` for any policy."""
    return TORCH_STEPPING if getattr(env, "halves", None) is None else HALVES_STEPPING
