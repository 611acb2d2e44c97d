"""From what an environment shows to what an encoder reads: floats, images scaled and channels-first, one-hot.

Shapes: `M` rows.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from proximo.errors import UserError

Purpose = Literal["vector", "image", "custom"]
"""`vector`: scaled numbers; `image`: `[C, H, W]`; `custom`: an image where it looks like one, else as is."""

CNN_MIN_SIDE = 36
"""The smallest side that the three strides of NatureCNN leave something of."""
# Integer ranges up to this are levels (of grey, of cards): scaled by their bounds, never by statistics.
_MAX_LEVELS = 1 << 16


def _integer(space: spaces.Box) -> bool:
    return bool(np.issubdtype(space.dtype, np.integer))


def _levels(space: spaces.Box) -> bool:
    span = np.asarray(space.high, dtype=np.float64) - np.asarray(space.low, dtype=np.float64)
    return _integer(space) and bool((span <= _MAX_LEVELS).all())


def _bytes(space: spaces.Box) -> bool:
    return space.dtype == np.uint8 and bool((space.low == 0).all() and (space.high == 255).all())


def image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """`(channels, height, width)` of `[H,W]`, `[C,H,W]`, `[H,W,C]` or a stack of one of the latter two."""
    if len(shape) == 2:
        return 1, shape[0], shape[1]
    *stack, a, b, c = shape
    frames = math.prod(stack)
    return (frames * c, a, b) if c < a else (frames * a, b, c)


def is_image(space: spaces.Space[Any]) -> bool:
    """Whether this is an image that the automatic choice gives to a convolutional network."""
    if not isinstance(space, spaces.Box) or len(space.shape) not in (2, 3, 4):
        return False
    if min(image_shape(space.shape)[1:]) < CNN_MIN_SIDE:
        return False
    return _bytes(space) or _unit_image(space)


def _unit_image(space: spaces.Box) -> bool:
    return len(space.shape) >= 3 and bool((space.low >= 0).all() and (space.high <= 1).all())


def is_normalizable(space: spaces.Space[Any]) -> bool:
    """Whether running statistics scale this space: real numbers, but no images and no discrete levels."""
    if not isinstance(space, spaces.Box) or space.dtype == np.bool_:
        return False
    return not _levels(space) and not _unit_image(space)


def flat(x: Tensor) -> Tensor:
    """`[M, ...]` to `[M, F]`, also for no rows and for scalars."""
    return x.flatten(1) if x.dim() > 1 else x.unsqueeze(1)


class View(nn.Module):
    """Prepares the values of one space for an encoder.

    `space` describes exactly what comes out (a float Box). Raises UserError for spaces without a number form.
    """

    space: spaces.Box
    raw_ndim: int
    classes: Tensor
    columns: Tensor
    low: Tensor
    span: Tensor

    def __init__(self, key: str, space: spaces.Space[Any], purpose: Purpose, limit: float | None) -> None:
        """`limit`: the values come normalised and clipped to ± this (None: as the environment gives them)."""
        super().__init__()
        self.kind: Literal["plain", "onehot", "scaled", "image"] = "plain"
        self.scale: float | None = None
        self.raw_ndim = len(space.shape or ())
        if isinstance(space, spaces.Box):
            self._box(key, space, purpose, limit)
        elif isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
            self._onehot(space)
        elif isinstance(space, spaces.MultiBinary):
            self.space = spaces.Box(0.0, 1.0, space.shape)
        else:
            raise UserError(
                f"observation {key!r}: no encoder reads a {type(space).__name__} space; "
                "convert it to Box, Discrete, MultiDiscrete or MultiBinary with a wrapper (env.wrappers)"
            )

    def _box(self, key: str, space: spaces.Box, purpose: Purpose, limit: float | None) -> None:
        if purpose == "image" or (purpose == "custom" and is_image(space)):
            if len(space.shape) not in (2, 3, 4):
                raise UserError(
                    f"observation {key!r}: a convolutional encoder needs an image, not shape {space.shape}; "
                    "use the encoder flat, mlp or resnet_mlp"
                )
            self.kind = "image"
            self.channels_last = len(space.shape) > 2 and space.shape[-1] < space.shape[-3]
            self.scale = 1 / 255 if _bytes(space) else None
            self.space = spaces.Box(0.0, 1.0, image_shape(space.shape))
        elif limit is not None:
            self.space = spaces.Box(-limit, limit, space.shape)
        elif purpose == "vector" and _levels(space):
            self.kind = "scaled"
            low, high = (torch.as_tensor(np.asarray(b, dtype=np.float32)) for b in (space.low, space.high))
            self.register_buffer("low", low, persistent=False)
            self.register_buffer("span", (high - low).clamp(min=1.0), persistent=False)
            self.space = spaces.Box(0.0, 1.0, space.shape)
        else:
            self.space = spaces.Box(space.low.astype(np.float32), space.high.astype(np.float32), space.shape)

    def _onehot(self, space: spaces.Discrete | spaces.MultiDiscrete) -> None:
        self.kind = "onehot"
        counts = np.atleast_1d(space.n if isinstance(space, spaces.Discrete) else space.nvec.reshape(-1))
        starts = np.broadcast_to(np.asarray(space.start).reshape(-1), counts.shape)
        classes = [np.arange(n) + first for n, first in zip(counts, starts, strict=True)]
        columns = np.repeat(np.arange(len(counts)), counts)
        self.register_buffer("classes", torch.as_tensor(np.concatenate(classes)), persistent=False)
        self.register_buffer("columns", torch.as_tensor(columns), persistent=False)
        self.space = spaces.Box(0.0, 1.0, (len(columns),))

    def pixels(self, x: Tensor) -> Tensor:
        """Images `[M, *raw]` as `[M, C, H, W]`, still in the numbers that the environment gives."""
        if self.channels_last:
            x = x.movedim(-1, -3)
        return x.reshape(x.shape[0], *self.space.shape)

    def forward(self, x: Tensor) -> Tensor:
        """`[M, *raw]` to float32 `[M, *self.space.shape]`."""
        if self.kind == "onehot":
            return (flat(x)[:, self.columns] == self.classes).float()
        if self.kind == "image":
            x = self.pixels(x)
            return x.float() if self.scale is None else x.float() * self.scale
        if self.kind == "scaled":
            return (x.float() - self.low) / self.span
        return x if x.is_floating_point() else x.float()
