"""Stepping with the kernels for environments that write into memory they are given.

The environments put observations, rewards and ends straight into the rollout, where the kernels read them: no tensor is
made per step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from ctypes import byref
from typing import Any

import numpy as np
import torch
from torch import Tensor

from proximo.core.engines.native.library import library
from proximo.core.engines.native.stepping import NATIVE_STEPPING, is_direct, mark_starts, prepare
from proximo.core.stepping import Recorder

Array = np.ndarray[Any, Any]
_ROWS = ("reward", "terminated", "truncated", "valid")


class InPlaceStepping:
    """Act, step, go on; the first rollout goes the reference's way, which also allocates the memory."""

    def run(self, collector: Recorder, policy: Any, noise: Tensor) -> float:
        """The same numbers as the reference."""
        buffers = collector.tape.buffers
        if not (is_direct(policy) and buffers and buffers[f"obs/{policy.direct}"].dtype is torch.float32):
            return NATIVE_STEPPING.run(collector, policy, noise)
        policy.model.ensure_bound()
        obs, action = buffers[f"obs/{policy.direct}"], buffers["action"]
        bounded = policy.bounded(action.shape[1])
        call = prepare(policy, obs, action, buffers["logp"], noise, bounded)
        step_act, program, given = library().proximo_act_on, byref(policy.model.program), byref(call)
        theta, memory = policy.model.theta.data_ptr(), policy.model.forward_memory.data_ptr()
        env: Any = collector.env
        step_into, command = env.step_into, _commands(policy, env.spec.action_space, action, bounded)
        clock, key, note = time.perf_counter, policy.direct, collector.tape.sparse
        last = torch.empty_like(obs[0])
        following = [*obs.numpy()[1:], last.numpy()]
        rows = list(zip(*(buffers[name].numpy() for name in _ROWS), strict=True))
        obs[0] = collector.obs[key]
        acting = 0.0
        begun = clock()
        for t in range(collector.num_steps):
            before = clock()
            step_act(program, given, theta, memory)
            acting += clock() - before
            final, info = step_into(command(t), {key: following[t]}, *rows[t])
            note(t, final, info)
        waited = clock() - begun - acting
        collector.obs = {key: last}
        mark_starts(collector)
        return waited


def _commands(policy: Any, space: Any, action: Tensor, bounded: Tensor | None) -> Callable[[int], Array]:
    """Step → what the environments get, as a new array: they may keep it."""
    if bounded is not None:
        shaped = policy.shaped(bounded).numpy()
        return lambda t: np.array(shaped, space.dtype)
    chosen = list(action.numpy())
    first = int(space.start)
    return (lambda t: chosen[t] + first) if first else (lambda t: chosen[t].copy())


IN_PLACE_STEPPING = InPlaceStepping()
