"""Stepping with the kernels: they read observations from and write actions into the rollout's own memory."""

from __future__ import annotations

import time
from ctypes import byref
from typing import TYPE_CHECKING, Any

from torch import Tensor

from proximo.core.engines.native.library import CallActing, library
from proximo.core.engines.native.policy import NativePolicy
from proximo.core.stepping import TORCH_STEPPING

if TYPE_CHECKING:
    from proximo.core.collect import Collector

_ROWS = ("reward", "terminated", "truncated", "valid")


class NativeStepping:
    """Acts through the kernels on one plain observation vector; the environment is stepped as ever.

    The first rollout goes the reference's way, which also allocates the memory.
    """

    def run(self, collector: Collector, policy: Any, noise: Tensor) -> None:
        """Act, step, record; the same numbers as the reference."""
        buffers = collector.tape.buffers
        direct = isinstance(policy, NativePolicy) and policy.direct is not None and policy.mask_key is None
        if not direct or not buffers:
            TORCH_STEPPING.run(collector, policy, noise)
            return
        policy.model.ensure_bound()
        obs, action = buffers[f"obs/{policy.direct}"], buffers["action"]
        bounded = policy.bounded(action.shape[1])
        call, advance = _prepare(policy, obs, action, buffers["logp"], noise, bounded)
        arrays = [buffers[name].numpy() for name in _ROWS]
        step_act, program = library().proximo_act, byref(policy.model.program)
        theta, memory = policy.model.theta.data_ptr(), policy.model.forward_memory.data_ptr()
        given, env, clock = byref(call), collector.env, time.perf_counter
        seen = obs.numpy()
        acting = stepping = 0.0
        for t in range(collector.num_steps):
            begun = clock()
            seen[t] = collector.obs[policy.direct].numpy()
            step_act(program, given, theta, memory)
            chosen = action[t] if bounded is None else bounded
            acted = clock()
            step = env.step(chosen if bounded is None else policy.shaped(bounded))
            stepped = clock()
            for array, entry in zip(
                arrays, (step.reward, step.terminated, step.truncated, step.valid), strict=True
            ):
                array[t] = entry.numpy()
            collector.tape.sparse(t, step)
            collector.obs = step.obs
            for name, stride in advance:
                setattr(call, name, getattr(call, name) + stride)
            stepping += stepped - acted
            acting += acted - begun + clock() - stepped
        _mark_starts(collector)
        collector.timer.add("env", stepping)
        collector.timer.add("act", acting)


def _prepare(
    policy: Any, obs: Tensor, action: Tensor, logp: Tensor, noise: Tensor, bounded: Tensor | None
) -> tuple[CallActing, list[tuple[str, int]]]:
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
        setattr(call, name, tensor.data_ptr())
    strides = [(name, tensor.stride(0) * tensor.element_size()) for name, tensor in moving.items()]
    return call, strides


def _mark_starts(collector: Collector) -> None:
    """`start` of every step follows from the end or the reset before it."""
    buffers = collector.tape.buffers
    after = buffers["terminated"] | buffers["truncated"] | ~buffers["valid"]
    start = buffers["start"]
    start[0], start[1:] = collector.start, after[:-1]
    collector.start = after[-1].clone()


NATIVE_STEPPING = NativeStepping()
