"""Stepping with the kernels: they read observations from and write actions into the rollout's own memory."""

from __future__ import annotations

import time
from ctypes import byref
from typing import Any

import torch
from torch import Tensor

from proximo.core.engines.native.library import CallActing, library
from proximo.core.engines.native.policy import NativePolicy
from proximo.core.stepping import TORCH_STEPPING, Recorder
from proximo.errors import RunError

_ROWS = ("reward", "terminated", "truncated", "valid")


class NativeStepping:
    """Acts through the kernels on one plain observation vector; the environment is stepped as ever.

    The first rollout goes the reference's way, which also allocates the memory.
    """

    def run(self, collector: Recorder, policy: Any, noise: Tensor) -> float:
        """Act, step, record; the same numbers as the reference."""
        buffers = collector.tape.buffers
        if not (is_direct(policy) and buffers):
            return TORCH_STEPPING.run(collector, policy, noise)
        policy.model.ensure_bound()
        obs, action = buffers[f"obs/{policy.direct}"], buffers["action"]
        bounded = policy.bounded(action.shape[1])
        call = prepare(policy, obs, action, buffers["logp"], noise, bounded)
        step_act, program = library().proximo_act_on, byref(policy.model.program)
        theta, memory = policy.model.theta.data_ptr(), policy.model.forward_memory.data_ptr()
        given, env, clock = byref(call), collector.env, time.perf_counter
        seen, key, sparse = obs.numpy(), policy.direct, collector.tape.sparse
        reward, terminated, truncated, valid = (buffers[name].numpy() for name in _ROWS)
        # The same memory in every step.
        chosen = None if bounded is None else policy.shaped(bounded)
        waited = 0.0
        for t in range(collector.num_steps):
            seen[t] = collector.obs[key].numpy()
            step_act(program, given, theta, memory)
            acted = clock()
            step = env.step(policy.to_env(action[t]) if chosen is None else chosen)
            waited += clock() - acted
            reward[t], valid[t] = step.reward.numpy(), step.valid.numpy()
            terminated[t], truncated[t] = step.terminated.numpy(), step.truncated.numpy()
            sparse(t, step.final, step.info)
            collector.obs = step.obs
        mark_starts(collector)
        return waited


def prepare(
    policy: Any, obs: Tensor, action: Tensor, logp: Tensor, noise: Tensor, bounded: Tensor | None
) -> CallActing:
    """The first step of a rollout for the kernels: `obs` `[T, N, D]`, `action`, `logp` and `noise` likewise."""
    mean, std, clip = policy.normalizer.moments_of(policy.direct)
    noise = noise.contiguous()
    call = CallActing(count=obs.shape[1], obs_clip=clip)
    call.keep = noise  # the kernels hold only its address
    call.mean, call.std = (None if x is None else x.data_ptr() for x in (mean, std))
    moving = {"obs": obs, "noise": noise, "logp": logp}
    moving["action" if policy.gaussian else "choice"] = action
    if bounded is not None:
        call.low, call.high, call.bounded = (x.data_ptr() for x in (*policy.bounds, bounded))
    for name, tensor in moving.items():
        assert tensor.is_contiguous()
        setattr(call, name, tensor.data_ptr())
    return call


def mark_starts(collector: Recorder) -> None:
    """`start` of every step follows from the end or the reset before it."""
    buffers = collector.tape.buffers
    after = buffers["terminated"] | buffers["truncated"] | ~buffers["valid"]
    start = buffers["start"]
    start[0], start[1:] = collector.start, after[:-1]
    collector.start = after[-1].clone()


class FusedStepping:
    """A whole rollout in one call, for environments that the kernels step themselves."""

    def __init__(self, env: Any) -> None:
        self.env = env

    def run(self, collector: Recorder, policy: Any, noise: Tensor) -> float:
        """The same numbers as step by step; the whole time counts as acting."""
        buffers = collector.tape.buffers
        if not (is_direct(policy) and buffers):
            return NATIVE_STEPPING.run(collector, policy, noise)
        policy.model.ensure_bound()
        obs, action = buffers[f"obs/{policy.direct}"], buffers["action"]
        steps, envs = action.shape[:2]
        bounded = policy.bounded(envs)
        call = prepare(policy, obs, action, buffers["logp"], noise, bounded)
        obs[0] = collector.obs[policy.direct]
        last = torch.empty_like(obs[0])
        finals = torch.empty(steps * envs, obs.shape[2])
        final_t, final_n = (torch.empty(steps * envs, dtype=torch.int64) for _ in range(2))
        outs = [obs, last, *(buffers[name] for name in _ROWS[:3]), finals, final_t, final_n]
        ended = library().proximo_collect(
            byref(policy.model.program),
            byref(call),
            policy.model.theta.data_ptr(),
            policy.model.forward_memory.data_ptr(),
            byref(self.env.native),
            steps,
            *(tensor.data_ptr() for tensor in outs),
        )
        if ended < 0:
            step, index = divmod(-1 - ended, envs)
            raise RunError(
                f"{self.env.spec.id}: environment {index} gave a number that is not finite after action "
                f"{action[step, index].tolist()}; its parameters allow no such state"
            )
        if ended:
            collector.tape.finals.append(
                (final_t[:ended].clone(), final_n[:ended].clone(), {policy.direct: finals[:ended].clone()})
            )
        collector.obs = {policy.direct: last}
        mark_starts(collector)
        return 0.0


def is_direct(policy: Any) -> bool:
    """Whether the kernels act on the raw observation as the environment gives it."""
    return isinstance(policy, NativePolicy) and policy.direct is not None and policy.mask_key is None


NATIVE_STEPPING = NativeStepping()
