"""Encoders: an observation to a vector of features.

Shapes: `M` rows, `F` features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from proximo.errors import UserError
from proximo.policies.layers import mlp
from proximo.policies.views import CNN_MIN_SIDE, flat


class BaseFeaturesExtractor(nn.Module):
    """Base class of every encoder, built-in or your own.

    `forward(observations)` receives float32 tensors `[M, ...]` as `observation_space` describes them (images
    in [0, 1] and channels-first, discrete values one-hot, numbers normalised; for a Dict space a dictionary
    of them) and returns `[M, features_dim]`.
    """

    def __init__(self, observation_space: spaces.Space[Any], features_dim: int = 0) -> None:
        super().__init__()
        if features_dim <= 0:
            raise UserError(f"{type(self).__name__}: features_dim must be positive, not {features_dim}")
        self._observation_space = observation_space
        self._features_dim = features_dim

    @property
    def observation_space(self) -> spaces.Space[Any]:
        """What `forward` receives, of a single row."""
        return self._observation_space

    @property
    def features_dim(self) -> int:
        """Width of what `forward` returns."""
        return self._features_dim


class FlatEncoder(BaseFeaturesExtractor):
    """No network: the observation as one vector."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, math.prod(observation_space.shape))

    def forward(self, observations: Tensor) -> Tensor:
        """`[M, ...]` to `[M, F]`."""
        return flat(observations)


class MlpEncoder(BaseFeaturesExtractor):
    """A plain multilayer perceptron on the flattened observation."""

    def __init__(self, observation_space: spaces.Box, hidden_sizes: Sequence[int], activation: str) -> None:
        inputs = math.prod(observation_space.shape)
        super().__init__(observation_space, hidden_sizes[-1] if hidden_sizes else inputs)
        self.layers = mlp(inputs, hidden_sizes, activation)

    def forward(self, observations: Tensor) -> Tensor:
        """`[M, ...]` to `[M, F]`."""
        result: Tensor = self.layers(flat(observations))
        return result


class DenseBlock(nn.Module):
    """`x + Linear(LeakyReLU(Linear(x)))`, then LeakyReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inside = nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.leaky_relu(x + self.inside(x))


class ResnetMLP(BaseFeaturesExtractor):
    """Residual multilayer perceptron: Linear, two residual blocks, Linear, with LeakyReLU after each.

    For n inputs and width F it has (n+1)F + 5(F+1)F parameters.
    """

    def __init__(self, observation_space: spaces.Box, features_dim: int = 128) -> None:
        super().__init__(observation_space, features_dim)
        width = features_dim
        self.layers = nn.Sequential(
            nn.Linear(math.prod(observation_space.shape), width),
            nn.LeakyReLU(),
            DenseBlock(width),
            DenseBlock(width),
            nn.Linear(width, width),
            nn.LeakyReLU(),
        )

    def forward(self, observations: Tensor) -> Tensor:
        """`[M, ...]` to `[M, F]`."""
        result: Tensor = self.layers(flat(observations))
        return result


class FirstConvolution(nn.Conv2d):
    """Reads pictures as they are stored: multiplies its weights by `scale`, not every pixel.

    Bytes go straight to the format that the processor convolves (channels last, bfloat16 under autocast, in which
    0 to 255 are exact).
    """

    def __init__(
        self, channels: int, outputs: int, size: int, scale: float, stride: int, padding: int
    ) -> None:
        super().__init__(channels, outputs, size, stride=stride, padding=padding)
        self.scale = scale

    def forward(self, input: Tensor) -> Tensor:
        """`[M, C, H, W]` of any number type."""
        weight = self.weight if self.scale == 1.0 else self.weight * self.scale
        kind, dtype = input.device.type, weight.dtype
        if torch.is_autocast_enabled(kind):
            dtype = torch.get_autocast_dtype(kind)
        pixels = input.to(dtype).contiguous(memory_format=torch.channels_last)
        return nn.functional.conv2d(pixels, weight, self.bias, self.stride, self.padding)


class NatureCNN(BaseFeaturesExtractor):
    """The convolutional network of Mnih et al. 2015 (Nature 518): 32 8×8/4, 64 4×4/2, 64 3×3/1, dense.

    `scale` multiplies the pixels on the way in. Raises UserError for images with a side below 36 pixels.
    """

    def __init__(self, observation_space: spaces.Box, features_dim: int = 512, scale: float = 1.0) -> None:
        super().__init__(observation_space, features_dim)
        channels, height, width = observation_space.shape
        if min(height, width) < CNN_MIN_SIDE:
            raise UserError(
                f"encoder nature_cnn needs images of at least {CNN_MIN_SIDE}×{CNN_MIN_SIDE} pixels, "
                f"not {height}×{width}; use impala_cnn or flat"
            )
        self.convolutions = nn.Sequential(
            FirstConvolution(channels, 32, 8, scale, stride=4, padding=0),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, stride=2),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, stride=1),
            nn.ReLU(),
            nn.Flatten(),
        )
        sides = [((((side - 8) // 4 + 1) - 4) // 2 + 1) - 3 + 1 for side in (height, width)]
        self.linear = nn.Sequential(nn.Linear(64 * sides[0] * sides[1], features_dim), nn.ReLU())

    def forward(self, observations: Tensor) -> Tensor:
        """`[M, C, H, W]` to `[M, F]`."""
        result: Tensor = self.linear(self.convolutions(observations))
        return result


class _ConvBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inside = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.inside(x)
        return result


class ImpalaCNN(BaseFeaturesExtractor):
    """The residual convolutional network of Espeholt et al. 2018 (figure 3, right), without its LSTM.

    `scale` multiplies the pixels on the way in.
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        features_dim: int = 256,
        channels: Sequence[int] = (16, 32, 32),
        scale: float = 1.0,
    ) -> None:
        super().__init__(observation_space, features_dim)
        inputs, height, width = observation_space.shape
        layers: list[nn.Module] = []
        for outputs in channels:
            if layers:
                layers.append(nn.Conv2d(inputs, outputs, 3, padding=1))
            else:
                layers.append(FirstConvolution(inputs, outputs, 3, scale, stride=1, padding=1))
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
            layers += [_ConvBlock(outputs), _ConvBlock(outputs)]
            inputs, height, width = outputs, (height + 1) // 2, (width + 1) // 2
        self.convolutions = nn.Sequential(*layers, nn.ReLU(), nn.Flatten())
        self.linear = nn.Sequential(nn.Linear(inputs * height * width, features_dim), nn.ReLU())

    def forward(self, observations: Tensor) -> Tensor:
        """`[M, C, H, W]` to `[M, F]`."""
        result: Tensor = self.linear(self.convolutions(observations))
        return result


@torch.no_grad()
def probe(encoder: BaseFeaturesExtractor, name: str) -> None:
    """Run an encoder of the user's once on zeros; raises UserError when it fails or returns another width."""
    space = encoder.observation_space
    inner = space.spaces if isinstance(space, spaces.Dict) else {"": space}
    zeros = {key: torch.zeros(2, *(value.shape or ())) for key, value in inner.items()}
    training = encoder.training
    encoder.eval()
    with torch.random.fork_rng(devices=[]):
        try:
            result = encoder(zeros if isinstance(space, spaces.Dict) else zeros[""])
        except Exception as error:
            shapes = {key: tuple(value.shape) for key, value in zeros.items()}
            got = shapes if isinstance(space, spaces.Dict) else shapes[""]
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"encoder {name} fails on observations of shape {got}: {reason}") from error
    encoder.train(training)
    wanted = (2, encoder.features_dim)
    if not isinstance(result, Tensor) or tuple(result.shape) != wanted:
        got_shape = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        raise UserError(
            f"encoder {name} declares features_dim={encoder.features_dim} but returns {got_shape} for two "
            "rows; it must return a tensor [rows, features_dim]"
        )
