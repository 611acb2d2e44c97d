"""The networks of the PyTorch peers, sized as Proximo's."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


def layer(inputs: int, outputs: int, gain: float = 2**0.5) -> nn.Linear:
    """A linear layer, orthogonally initialised."""
    linear = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(linear.weight, gain)
    nn.init.zeros_(linear.bias)
    return linear


class TwoLayers(nn.Module):
    """The user's module of workload W5: two tanh layers with a learnt gain per unit."""

    def __init__(self, inputs: int, width: int = 64) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, width)
        self.second = nn.Linear(width, width)
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, observations: Tensor) -> Tensor:
        return torch.tanh(self.second(torch.tanh(self.first(observations)) * self.gain))


class Pixels(nn.Module):
    """NatureCNN on `[M, 4, 84, 84]` in 0 to 255."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(4, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(),
            nn.Conv2d(64, 64, 3, 1), nn.ReLU(), nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(),
        )  # fmt: skip

    def forward(self, observations: Tensor) -> Tensor:
        return self.layers(observations / 255.0)


def body(network: str, inputs: int, hidden: list[int]) -> tuple[nn.Module, int]:
    """From the observation to the latent, and the latent's width."""
    if network == "cnn":
        return Pixels(), 512
    if network == "module":
        return TwoLayers(inputs, hidden[-1]), hidden[-1]
    sizes = [inputs, *hidden]
    parts: list[nn.Module] = []
    for a, b in pairwise(sizes):
        parts += [layer(a, b), nn.Tanh()]
    return nn.Sequential(*parts), sizes[-1]
