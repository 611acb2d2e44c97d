"""The encoder of workload W5: a module as a user writes one, which no engine but PyTorch can read."""

from __future__ import annotations

import torch
from gymnasium import spaces
from torch import Tensor, nn

from proximo.policies.encoders import BaseFeaturesExtractor


class TwoLayers(BaseFeaturesExtractor):
    """Two tanh layers with a learnt gain per unit; `[M, inputs]` → `[M, width]`."""

    def __init__(self, observation_space: spaces.Box, width: int = 64) -> None:
        super().__init__(observation_space, width)
        self.first = nn.Linear(observation_space.shape[0], width)
        self.second = nn.Linear(width, width)
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, observations: Tensor) -> Tensor:
        """The features."""
        return torch.tanh(self.second(torch.tanh(self.first(observations)) * self.gain))
