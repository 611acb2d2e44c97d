"""The torch policy with its acting and valuing replaced by the kernels."""

from __future__ import annotations

from ctypes import byref
from typing import Any

import torch
from torch import Tensor

from proximo.core.engines.native.library import CallActing, library
from proximo.core.engines.native.model import Model
from proximo.core.types import Act, Obs, State


class NativePolicy:
    """A policy that acts and values through the kernels; everything else is the torch policy's."""

    def __init__(self, policy: Any, model: Model) -> None:
        self.module = policy
        self.model = model
        self.noise, self.recurrent, self.streams = policy.noise, policy.recurrent, policy.streams
        self.direct = policy.plain_key
        """The key of the one plain observation vector: the kernels then normalise it themselves."""
        self._theta, self._memory = model.theta.data_ptr(), model.forward_memory.data_ptr()
        self.gaussian = model.graph.head == "gaussian"

        self.mask_key = model.graph.mask_key
        self._bounded: Tensor | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)

    @property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest action, `[A]` float32."""
        return self.module.head.bounds.low, self.module.head.bounds.high

    def bounded(self, count: int) -> Tensor | None:
        """Memory for `count` clipped actions `[N, A]`; None where the environment takes them as they are."""
        if not self.gaussian:
            return None
        if self._bounded is None or self._bounded.shape[0] != count:
            self._bounded = torch.empty(count, self.model.graph.actions)
        return self._bounded

    def shaped(self, bounded: Tensor) -> Tensor:
        """Clipped actions in the shape of the space."""
        return bounded.reshape(-1, *self.module.head.bounds.shape)

    def act(self, obs: Obs, state: State, start: Tensor, noise: Tensor | None) -> Act:
        """As the torch policy's `act`, on raw observations `[N, ...]`."""
        graph, module = self.model.graph, self.module
        self.model.ensure_bound()
        if self.direct is None:
            vector, mean, std, clip = module.vector(module.normalize(obs)), None, None, 0.0
        else:
            vector = obs[self.direct]
            mean, std, clip = module.normalizer.moments_of(self.direct)
        vector = vector.contiguous()
        count = vector.shape[0]
        mask = None
        if graph.mask_key is not None:
            allowed = module.mask(obs)
            module.check_mask(allowed)
            mask = allowed.contiguous().view(torch.uint8)
        action = torch.empty(count, graph.actions) if self.gaussian else None
        choice = None if self.gaussian else torch.empty(count, dtype=torch.int64)
        logp = torch.empty(count)
        noise = None if noise is None else noise.contiguous()
        call = CallActing(
            count,
            vector.data_ptr(),
            None if mean is None else mean.data_ptr(),
            None if std is None else std.data_ptr(),
            clip,
            None if mask is None else mask.data_ptr(),
            None if noise is None else noise.data_ptr(),
            None if choice is None else choice.data_ptr(),
            None if action is None else action.data_ptr(),
            logp.data_ptr(),
        )
        library().proximo_act(byref(self.model.program), byref(call), self._theta, self._memory)
        chosen = action if choice is None else choice
        assert chosen is not None
        return Act(chosen, logp, {})

    def values(
        self,
        obs: Obs,
        state: State,
        start: Tensor,
        rows: tuple[Tensor, Tensor],
        row_obs: Obs,
        row_start: Tensor,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], State]:
        """As the torch policy's `values`; feed-forward, so successors are rows like all others."""
        inputs = self.module.vector(obs)
        lead, extra = inputs.shape[:-1], self.module.vector(row_obs)
        flat = torch.cat([inputs.reshape(-1, inputs.shape[-1]), extra]).to(self.model.dtype)
        out = torch.empty(len(self.streams), flat.shape[0], dtype=self.model.dtype)
        library().proximo_values32(
            byref(self.model.program),
            flat.shape[0],
            flat.data_ptr(),
            self._theta,
            out.data_ptr(),
            self._memory,
        )
        count = lead.numel()
        values = {name: out[i, :count].reshape(lead) for i, name in enumerate(self.streams)}
        return values, {name: out[i, count:] for i, name in enumerate(self.streams)}, {}


def mask_bytes(policy: Any, obs: Obs) -> Tensor:
    """The action mask as bytes `[..., n]`."""
    mask: Tensor = policy.mask(obs)
    return mask.contiguous().view(torch.uint8)
