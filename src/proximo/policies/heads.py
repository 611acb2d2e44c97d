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

from proximo.config.experiment import AutoHead, GaussianHead, GsdeHead, HeadConfig
from proximo.core.types import EnvSpec, NoiseSpec
from proximo.errors import UserError
from proximo.policies.continuous import DiagonalGaussianHead, StateNoiseHead
from proximo.policies.distributions import MASKED, Bernoulli, Categorical, MultiCategorical
from proximo.policies.head import Head, lead


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

    def from_env(self, action: Tensor) -> Tensor:
        """Counted from 0."""
        return action.long() - self.first


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

    def from_env(self, action: Tensor) -> Tensor:
        """Counted from 0, side by side."""
        return action.long().reshape(*lead(action, self.shape), -1) - self.starts


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

    def from_env(self, action: Tensor) -> Tensor:
        """Side by side."""
        return action.long().reshape(*lead(action, self.shape), -1)


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
