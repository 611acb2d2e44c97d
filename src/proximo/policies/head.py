"""What every action head is: the actor's latent vector to a distribution, and actions to and from the environment.

Shapes: `L` any leading shape, `H` latent width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from proximo.core.types import Distribution, NoiseSpec
from proximo.policies.layers import orthogonal

ACTOR_GAIN = 0.01
"""Gain of the actor's last layer: the first policy is nearly uniform (Andrychowicz et al. 2021)."""


class Head(nn.Module):
    """Base of the heads. `mask_size` is the width of the action mask, 0 where a head takes none."""

    noise: NoiseSpec
    mask_size: int = 0
    form: str = "environment"
    """What its own actions are, beside those that the environment takes."""
    log_width: float = 0.0
    """Logarithm of the volume of environment actions per volume of its own: densities differ by it."""

    def distribution(self, latent: Tensor, mask: Tensor | None) -> Distribution:
        """The distribution for `latent` `[L, H]` and a bool `mask` `[L, mask_size]`."""
        raise NotImplementedError

    def some_allowed(self, mask: Tensor) -> Tensor:
        """Bool `[L]`: the mask leaves every decision a choice."""
        return mask.any(-1)

    def to_env(self, action: Tensor) -> Tensor:
        """What the environment takes, `[N, *shape]`."""
        raise NotImplementedError

    def from_env(self, action: Tensor) -> Tensor:
        """The head's own action for what an environment took, `[L, *shape]`."""
        raise NotImplementedError

    def lower_log_std(self, amount: float) -> bool:
        """Lower the logarithm of the deviation by `amount`; False where there is none."""
        return False

    def initialize(self, ortho: bool) -> None:
        """A last layer that starts near zero."""
        if ortho:
            orthogonal(self, ACTOR_GAIN)


def lead(action: Tensor, shape: tuple[int, ...]) -> torch.Size:
    """The shape of `action` before the `shape` of the space."""
    return action.shape[: action.dim() - len(shape)]
