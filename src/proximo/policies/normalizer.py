"""Running statistics of observations, per key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from proximo.core.normalize import RunningMoments
from proximo.core.types import Obs, Stats
from proximo.policies.layers import slot
from proximo.policies.views import is_normalizable


class Standardizer(nn.Module):
    """Moments of one key, with their float32 form at hand."""

    mean: Tensor
    std: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.moments = RunningMoments(shape)
        self.register_buffer("mean", torch.zeros(shape), persistent=False)
        self.register_buffer("std", torch.ones(shape), persistent=False)
        self.register_load_state_dict_post_hook(_refresh)  # type: ignore[no-untyped-call]
        _refresh(self, None)

    def update(self, rows: Tensor) -> None:
        """Take in rows `[M, *shape]`."""
        self.moments.update(rows)
        _refresh(self, None)


# A function of its argument, so that a deep copy refreshes itself and not its original.
def _refresh(module: nn.Module, _: Any) -> None:
    assert isinstance(module, Standardizer)
    module.mean.copy_(module.moments.mean)
    module.std.copy_(module.moments.std())


class ObsNormalizer(nn.Module):
    """Scales real-valued observations to mean 0 and deviation 1 and clips them; the rest passes as it is.

    Statistics move only in `observe`; a `snapshot` keeps normalising as it did when it was taken.
    """

    def __init__(self, obs_spaces: Mapping[str, spaces.Space[Any]], clip: float, enabled: bool) -> None:
        super().__init__()
        self.clip = clip
        keys = [key for key in sorted(obs_spaces) if enabled and is_normalizable(obs_spaces[key])]
        self.by_key = {key: Standardizer(obs_spaces[key].shape or ()) for key in keys}
        self.standardizers = nn.ModuleDict({slot(key): self.by_key[key] for key in keys})

    @property
    def keys(self) -> list[str]:
        """The keys that are normalised."""
        return list(self.by_key)

    def forward(self, obs: Obs, stats: Stats | None = None) -> Obs:
        """Normalised observations, by `stats` or else by the current statistics; any leading shape."""
        if not self.by_key:
            return obs
        result = dict(obs)
        for key in self.by_key:
            x = obs[key]
            if x.dtype is not torch.float32:
                x = x.float()
            if stats is None:
                mean, std = self.by_key[key].mean, self.by_key[key].std
            else:
                mean, std = stats[f"{key}.mean"], stats[f"{key}.std"]
            result[key] = (x - mean).div_(std).clamp_(-self.clip, self.clip)
        return result

    def moments_of(self, key: str) -> tuple[Tensor | None, Tensor | None, float]:
        """Mean, deviation and clip range of a key; (None, None, 0) where it is not normalised."""
        if key not in self.by_key:
            return None, None, 0.0
        part = self.by_key[key]
        return part.mean, part.std, self.clip

    def snapshot(self) -> Stats:
        """A copy of the current statistics; empty where nothing is normalised."""
        result: Stats = {}
        for key, part in self.by_key.items():
            result[f"{key}.mean"] = part.mean.clone()
            result[f"{key}.std"] = part.std.clone()
        return result

    def observe(self, obs: Obs, valid: Tensor) -> None:
        """Take in the valid rows of `obs` `[T, N, ...]`; `valid` `[T, N]`."""
        if not self.by_key:
            return
        rows = valid.flatten().nonzero().squeeze(1)
        everything = rows.shape[0] == valid.numel()
        for key, part in self.by_key.items():
            flat = obs[key].flatten(0, 1)
            part.update(flat if everything else flat.index_select(0, rows))
