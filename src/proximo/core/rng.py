"""Random numbers as a function of (seed, stream, environment, step): nothing to advance, nothing to lose.

Every draw is a hash of its own coordinates, so workers, ranks and engines that hold different environments draw
the same numbers, and a resumed run needs only the step counter. The mixing is the 64-bit finaliser of
splitmix64 (Steele, Lea & Flood 2014), applied once per coordinate; integers only, so identical on every device.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from proximo.core.seeds import integer_seed as integer_seed
from proximo.core.seeds import stream_key as stream_key

_GAMMA = 0x9E3779B97F4A7C15


def _signed(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >= 1 << 63 else value


_M1, _M2, _STEP = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB), _signed(_GAMMA)


def _shift(x: Tensor, bits: int) -> Tensor:
    # Logical shift right: torch's >> on int64 drags the sign along.
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _M1
    x = (x ^ _shift(x, 27)) * _M2
    return x ^ _shift(x, 31)


def bits(key: int, envs: Tensor, first_step: int, steps: int, dim: int) -> Tensor:
    """`[steps, N, dim]` int64 hashes for global environment indices `envs` `[N]` and steps from `first_step`."""
    find = _bits_numpy if envs.device.type == "cpu" else _bits_torch
    return find(key, envs, first_step, steps, dim)


def _bits_torch(key: int, envs: Tensor, first_step: int, steps: int, dim: int) -> Tensor:
    device = envs.device
    step = torch.arange(first_step, first_step + steps, device=device, dtype=torch.int64)
    lane = torch.arange(dim, device=device, dtype=torch.int64)
    x = _mix(torch.full((), _signed(key), device=device, dtype=torch.int64) + (envs + 1) * _STEP)
    x = _mix(x[None, :] + (step[:, None] + 1) * _STEP)
    return _mix(x[:, :, None] + (lane + 1) * _STEP)


def _bits_numpy(key: int, envs: Tensor, first_step: int, steps: int, dim: int) -> Tensor:
    # The same on unsigned integers, which shift and wrap around as they should: a fifth of the operations.
    gamma = np.uint64(_GAMMA)
    step = np.arange(first_step + 1, first_step + steps + 1, dtype=np.uint64) * gamma
    lane = np.arange(1, dim + 1, dtype=np.uint64) * gamma
    x = _mix_numpy((envs.numpy().astype(np.uint64) + np.uint64(1)) * gamma + np.uint64(key))
    x = _mix_numpy(x[None, :] + step[:, None])
    return torch.from_numpy(_mix_numpy(x[:, :, None] + lane).view(np.int64))


def _mix_numpy(x: np.ndarray[Any, np.dtype[np.uint64]]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def uniform(key: int, envs: Tensor, first_step: int, steps: int, dim: int) -> Tensor:
    """`[steps, N, dim]` float32 in (0, 1), never 0 or 1: 23 bits, as one more would let float32 round up to 1."""
    return (_shift(bits(key, envs, first_step, steps, dim), 41).to(torch.float32) + 0.5) * 2.0**-23


def normal(key: int, envs: Tensor, first_step: int, steps: int, dim: int) -> Tensor:
    """`[steps, N, dim]` float32 standard normal, by the inverse of its distribution function."""
    raw = _shift(bits(key, envs, first_step, steps, dim), 12)
    # MPS has no float64.
    raw = (raw.cpu() if raw.device.type == "mps" else raw).to(torch.float64)
    u = (raw + 0.5) * 2.0**-52
    return (torch.erfinv(2.0 * u - 1.0) * math.sqrt(2.0)).to(envs.device, torch.float32)


def permutation(key: int, index: int, rows: int, device: torch.device) -> Tensor:
    """A permutation of `rows`, number `index` of the stream `key`."""
    generator = torch.Generator()
    generator.manual_seed(stream_key(key, str(index)))
    return torch.randperm(rows, generator=generator).to(device)
