"""A policy as a list of dense layers: what an engine that is not PyTorch needs to know of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

ACTIVATIONS = ("Identity", "Tanh", "ReLU", "LeakyReLU", "ELU", "Sigmoid", "SiLU")
"""Activations an engine may meet, by their `torch.nn` names."""

OBS = 0
"""The number of the tensor that holds the observation."""


class Unsupported(Exception):
    """The policy has a part that cannot be told as dense layers; the message names it."""


@dataclass(frozen=True)
class Dense:
    """`tensor[target] = activation(linears(tensor[source]) + tensor[add])`; several linears stack their outputs."""

    linears: tuple[nn.Linear, ...]
    source: int
    target: int
    activation: str = "Identity"
    slope: float = 0.0
    """Of LeakyReLU below zero; alpha of ELU."""
    add: int | None = None
    for_actor: bool = False
    for_critic: bool = False

    @property
    def inputs(self) -> int:
        """Width of the source."""
        return self.linears[0].in_features

    @property
    def outputs(self) -> int:
        """Width of the target."""
        return sum(linear.out_features for linear in self.linears)


@dataclass(frozen=True)
class LayerGraph:
    """Dense layers in the order of computation, from the normalised observation to the heads."""

    layers: Sequence[Dense]
    obs_width: int
    actor: int
    """Tensor that holds logits or means."""
    critic: int
    """Tensor that holds one value per stream."""
    head: Literal["categorical", "gaussian"]
    actions: int
    log_std: nn.Parameter | None
    streams: tuple[str, ...]
    mask_key: str | None = None
