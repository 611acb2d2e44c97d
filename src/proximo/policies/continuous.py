"""Heads for Box actions: a Gaussian, plain or squashed, and state-dependent exploration.

Shapes: `L` any leading shape, `k` action dimensions.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from proximo.config.experiment import GaussianHead, GsdeHead, SquashedGaussianHead
from proximo.core.types import NoiseSpec
from proximo.errors import UserError
from proximo.policies.distributions import EDGE, Gaussian, SquashedGaussian, StateNoiseGaussian
from proximo.policies.head import Head, lead

LOG_STD_RANGE = (-20.0, 2.0)
"""Range of a state-dependent logarithm of the deviation (Haarnoja et al. 2018)."""


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

    def flat(self, action: Tensor) -> Tensor:
        return action.float().reshape(*lead(action, self.shape), self.size)

    def unscale(self, action: Tensor) -> Tensor:
        inside = 2.0 * (self.flat(action) - self.low) / (self.high - self.low) - 1.0
        return inside.clamp(-1.0 + EDGE, 1.0 - EDGE)


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
        self.form = "squashed" if self.squash else "unclipped"
        if self.squash:
            self.log_width = float((0.5 * (self.bounds.high - self.bounds.low)).log().sum())
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

    def from_env(self, action: Tensor) -> Tensor:
        """Flat; where it is squashed, inside ±1, by 1e-6 at the bounds."""
        return self.bounds.unscale(action) if self.squash else self.bounds.flat(action)

    @torch.no_grad()
    def lower_log_std(self, amount: float) -> bool:
        """Of every dimension, or of every state where it depends on the state."""
        held = self.log_std if self.log_std_linear is None else self.log_std_linear.bias
        assert held is not None
        held.sub_(amount)
        return True


class StateNoiseHead(Head):
    """gSDE (Raffin et al. 2021): noise from the latent features; the gradient of the noise stops at them."""

    def __init__(self, inputs: int, space: spaces.Box, config: GsdeHead) -> None:
        super().__init__()
        self.bounds = _Bounds(space)
        self.form = "unclipped"
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

    def from_env(self, action: Tensor) -> Tensor:
        """Flat."""
        return self.bounds.flat(action)

    @torch.no_grad()
    def lower_log_std(self, amount: float) -> bool:
        """Of the exploration matrix."""
        self.log_std.sub_(amount)
        return True
