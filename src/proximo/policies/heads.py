"""Heads: the actor's latent vector to an action distribution, and its actions to what the environment takes.

Shapes: `L` any leading shape, `H` latent width, `k` action dimensions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from proximo.config.experiment import AutoHead, GaussianHead, GsdeHead, HeadConfig, SquashedGaussianHead
from proximo.core.types import Distribution, EnvSpec, NoiseSpec
from proximo.errors import UserError
from proximo.policies.distributions import (
    MASKED,
    Bernoulli,
    Categorical,
    Gaussian,
    MultiCategorical,
    SquashedGaussian,
    StateNoiseGaussian,
)
from proximo.policies.layers import orthogonal

ACTOR_GAIN = 0.01
"""Gain of the actor's last layer: the first policy is nearly uniform (Andrychowicz et al. 2021)."""
LOG_STD_RANGE = (-20.0, 2.0)
"""Range of a state-dependent logarithm of the deviation (Haarnoja et al. 2018)."""


class Head(nn.Module):
    """Base of the heads. `mask_size` is the width of the action mask, 0 where a head takes none."""

    noise: NoiseSpec
    mask_size: int = 0

    def distribution(self, latent: Tensor, mask: Tensor | None) -> Distribution:
        """The distribution for `latent` `[L, H]` and a bool `mask` `[L, mask_size]`."""
        raise NotImplementedError

    def some_allowed(self, mask: Tensor) -> Tensor:
        """Bool `[L]`: the mask leaves every decision a choice."""
        return mask.any(-1)

    def to_env(self, action: Tensor) -> Tensor:
        """What the environment takes, `[N, *shape]`."""
        raise NotImplementedError

    def initialize(self, ortho: bool) -> None:
        """A last layer that starts near zero."""
        if ortho:
            orthogonal(self, ACTOR_GAIN)


def _masked(logits: Tensor, mask: Tensor | None) -> Tensor:
    return logits if mask is None else logits.masked_fill(~mask, MASKED)


class CategoricalHead(Head):
    """One choice of n."""

    def __init__(self, inputs: int, space: spaces.Discrete) -> None:
        super().__init__()
        self.mask_size = int(space.n)
        self.first = int(space.start)
        self.noise = NoiseSpec("uniform", 1)
        self.linear = nn.Linear(inputs, self.mask_size)

    def distribution(self, latent: Tensor, mask: Tensor | None) -> Categorical:
        """Over `[L]` int64."""
        return Categorical(_masked(self.linear(latent), mask))

    def to_env(self, action: Tensor) -> Tensor:
        """Counted from where the space starts."""
        return action + self.first if self.first else action


class MultiDiscreteHead(Head):
    """k choices; the mask is theirs side by side."""

    starts: Tensor
    columns: Tensor
    padding: Tensor

    def __init__(self, inputs: int, space: spaces.MultiDiscrete) -> None:
        super().__init__()
        counts = space.nvec.reshape(-1)
        self.mask_size = int(counts.sum())
        self.noise = NoiseSpec("uniform", len(counts))
        self.shape = space.nvec.shape
        self.linear = nn.Linear(inputs, self.mask_size)
        widest = int(counts.max())
        # Choices of all lengths stand in one [k, widest] table, so that no operation loops over them.
        column = np.arange(widest)[None] + (counts.cumsum() - counts)[:, None]
        padding = np.arange(widest)[None] >= counts[:, None]
        self.ragged = bool(padding.any())
        self.register_buffer("columns", torch.as_tensor(np.where(padding, 0, column)), persistent=False)
        self.register_buffer("padding", torch.as_tensor(padding), persistent=False)
        starts = torch.as_tensor(np.asarray(space.start).reshape(-1).astype(np.int64))
        self.register_buffer("starts", starts, persistent=False)

    def distribution(self, latent: Tensor, mask: Tensor | None) -> MultiCategorical:
        """Over `[L, k]` int64."""
        logits = _masked(self.linear(latent), mask)
        if not self.ragged:
            return MultiCategorical(logits.reshape(*logits.shape[:-1], *self.columns.shape))
        return MultiCategorical(logits[..., self.columns].masked_fill(self.padding, MASKED))

    def some_allowed(self, mask: Tensor) -> Tensor:
        """Bool `[L]`: each of the k choices has an allowed one."""
        return (mask[..., self.columns] & ~self.padding).any(-1).all(-1)

    def to_env(self, action: Tensor) -> Tensor:
        """Counted from where the space starts, in its shape."""
        return (action + self.starts).reshape(*action.shape[:-1], *self.shape)


class MultiBinaryHead(Head):
    """k bits; where the mask is False a bit stays 0."""

    def __init__(self, inputs: int, space: spaces.MultiBinary) -> None:
        super().__init__()
        self.shape = space.shape
        self.mask_size = math.prod(space.shape)
        self.noise = NoiseSpec("uniform", self.mask_size)
        self.linear = nn.Linear(inputs, self.mask_size)

    def distribution(self, latent: Tensor, mask: Tensor | None) -> Bernoulli:
        """Over `[L, k]` int64."""
        return Bernoulli(_masked(self.linear(latent), mask))

    def some_allowed(self, mask: Tensor) -> Tensor:
        """Always: bits that stay 0 are an action."""
        return mask.new_ones(mask.shape[:-1], dtype=torch.bool)

    def to_env(self, action: Tensor) -> Tensor:
        """In the shape of the space."""
        return action.reshape(*action.shape[:-1], *self.shape)


class _Bounds(nn.Module):
    """Bounds of a Box action space, flattened."""

    low: Tensor
    high: Tensor

    def __init__(self, space: spaces.Box) -> None:
        super().__init__()
        self.shape = space.shape
        self.size = math.prod(space.shape)
        for name, bound in (("low", space.low), ("high", space.high)):
            value = torch.as_tensor(np.asarray(bound, dtype=np.float32).reshape(-1))
            self.register_buffer(name, value, persistent=False)
        self.open = bool(np.isinf(space.low).all() and np.isinf(space.high).all())

    def clip(self, action: Tensor) -> Tensor:
        inside = action if self.open else action.clamp(self.low, self.high)
        return inside.reshape(*action.shape[:-1], *self.shape)

    def rescale(self, action: Tensor) -> Tensor:
        inside = self.low + (action + 1.0) * 0.5 * (self.high - self.low)
        return inside.clamp(self.low, self.high).reshape(*action.shape[:-1], *self.shape)


class DiagonalGaussianHead(Head):
    """Independent normals, plain (clipped on the way out) or squashed by tanh (rescaled on the way out)."""

    def __init__(self, inputs: int, space: spaces.Box, config: GaussianHead | SquashedGaussianHead) -> None:
        super().__init__()
        self.squash = isinstance(config, SquashedGaussianHead)
        if self.squash and not space.is_bounded("both"):
            raise UserError(
                "policy.head.type: squashed_gaussian needs an action space with finite bounds; use gaussian, "
                "or bound it with the wrapper ClipAction or RescaleAction (env.wrappers)"
            )
        self.bounds = _Bounds(space)
        self.noise = NoiseSpec("normal", self.bounds.size)
        self.log_std_init = config.log_std_init
        self.linear = nn.Linear(inputs, self.bounds.size)
        self.log_std: nn.Parameter | None = None
        self.log_std_linear: nn.Linear | None = None
        if config.state_dependent_std:
            self._check_range()
            self.log_std_linear = nn.Linear(inputs, self.bounds.size)
        else:
            self.log_std = nn.Parameter(torch.full((self.bounds.size,), self.log_std_init))

    def _check_range(self) -> None:
        low, high = LOG_STD_RANGE
        if not low < self.log_std_init < high:
            raise UserError(
                f"policy.head.log_std_init={self.log_std_init} must lie between {low:g} and {high:g} "
                "where state_dependent_std is on"
            )

    def initialize(self, ortho: bool) -> None:
        """A last layer that starts near zero, and the deviation at its initial value."""
        super().initialize(ortho)
        if self.log_std_linear is not None:
            nn.init.constant_(self.log_std_linear.bias, self.log_std_init)

    def distribution(self, latent: Tensor, mask: Tensor | None) -> Gaussian | SquashedGaussian:
        """Over `[L, k]` float32."""
        mean = self.linear(latent)
        if self.log_std_linear is not None:
            log_std = self.log_std_linear(latent).clamp(*LOG_STD_RANGE)
        else:
            assert self.log_std is not None
            log_std = self.log_std
        return SquashedGaussian(mean, log_std) if self.squash else Gaussian(mean, log_std)

    def to_env(self, action: Tensor) -> Tensor:
        """Inside the bounds and in the shape of the space."""
        return self.bounds.rescale(action) if self.squash else self.bounds.clip(action)


class StateNoiseHead(Head):
    """gSDE (Raffin et al. 2021): noise from the latent features; the gradient of the noise stops at them."""

    def __init__(self, inputs: int, space: spaces.Box, config: GsdeHead) -> None:
        super().__init__()
        self.bounds = _Bounds(space)
        self.noise = NoiseSpec("normal", inputs * self.bounds.size, config.sample_freq)
        self.linear = nn.Linear(inputs, self.bounds.size)
        columns = self.bounds.size if config.full_std else 1
        self.log_std = nn.Parameter(torch.full((inputs, columns), config.log_std_init))

    def distribution(self, latent: Tensor, mask: Tensor | None) -> StateNoiseGaussian:
        """Over `[L, k]` float32."""
        std = self.log_std.exp().expand(-1, self.bounds.size)
        return StateNoiseGaussian(self.linear(latent), latent.detach(), std)

    def to_env(self, action: Tensor) -> Tensor:
        """Clipped to the bounds, in the shape of the space."""
        return self.bounds.clip(action)


def build_head(spec: EnvSpec, config: HeadConfig, inputs: int) -> Head:
    """The head for an action space; raises UserError where `config` or the mask does not fit the space."""
    head = _choose(spec.action_space, config, inputs)
    if spec.mask_key is not None:
        _check_mask(spec, spec.mask_key, head.mask_size)
    return head


def _choose(space: spaces.Space[Any], config: HeadConfig, inputs: int) -> Head:
    if isinstance(space, spaces.Box):
        if not np.issubdtype(space.dtype, np.floating):
            raise UserError(
                f"action space {space}: a Box of {space.dtype} is not supported; "
                "turn it into MultiDiscrete with a wrapper (env.wrappers)"
            )
        if isinstance(config, GsdeHead):
            return StateNoiseHead(inputs, space, config)
        return DiagonalGaussianHead(inputs, space, GaussianHead() if isinstance(config, AutoHead) else config)
    if isinstance(space, spaces.Dict | spaces.Tuple):
        raise UserError(
            f"{type(space).__name__} action spaces are not supported; "
            "turn them into one Box, Discrete, MultiDiscrete or MultiBinary with a wrapper (env.wrappers)"
        )
    if not isinstance(config, AutoHead):
        raise UserError(
            f"policy.head.type: {config.type} needs a Box action space, not {type(space).__name__}; use auto"
        )
    if isinstance(space, spaces.Discrete):
        return CategoricalHead(inputs, space)
    if isinstance(space, spaces.MultiDiscrete):
        return MultiDiscreteHead(inputs, space)
    if isinstance(space, spaces.MultiBinary):
        return MultiBinaryHead(inputs, space)
    raise UserError(f"{type(space).__name__} action spaces are not supported")


def _check_mask(spec: EnvSpec, key: str, wanted: int) -> None:
    space = spec.obs_spaces[key]
    if wanted == 0:
        raise UserError(
            f"the action mask {key!r} needs Discrete, MultiDiscrete or MultiBinary actions, "
            f"not {type(spec.action_space).__name__}; "
            "set env.mask_key to another name to treat it as an observation"
        )
    size = math.prod(space.shape or ())
    if size != wanted:
        raise UserError(f"the action mask {key!r} has {size} entries; the action space has {wanted} choices")
