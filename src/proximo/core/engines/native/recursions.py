"""The loops over time in the kernels: the same arithmetic as `core.returns.TorchRecursions`, in float32."""

from __future__ import annotations

import torch
from torch import Tensor

from proximo.core.engines.native.library import library


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


class NativeRecursions:
    """Implements `core.returns.Recursions` for float32 tensors on the CPU."""

    def advantage(
        self,
        reward: Tensor,
        value: Tensor,
        next_value: Tensor,
        terminated: Tensor,
        done: Tensor,
        rho: Tensor | None,
        c: Tensor | None,
        gamma: float,
        lam: float,
        valid: Tensor | None,
    ) -> Tensor:
        """See the protocol."""
        given = [
            None if x is None else x.contiguous()
            for x in (reward, value, next_value, terminated, done, rho, c, valid)
        ]
        out = torch.empty(reward.shape)
        steps, envs = reward.shape
        library().proximo_advantages(steps, envs, *map(_address, given), gamma, lam, out.data_ptr())
        return out

    def discount(self, reward: Tensor, done: Tensor, valid: Tensor, gamma: float, running: Tensor) -> Tensor:
        """See the protocol."""
        given = [x.contiguous() for x in (reward, done, valid)]
        out = torch.empty(reward.shape, dtype=torch.float64)
        steps, envs = reward.shape
        addresses = map(_address, given)
        library().proximo_discounted(steps, envs, *addresses, gamma, running.data_ptr(), out.data_ptr())
        return out
