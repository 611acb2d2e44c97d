"""One encoder per observation key, their features side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from proximo.config.experiment import (
    AutoEncoder,
    Custom,
    EncoderConfig,
    FlatEncoder,
    ImpalaCnnEncoder,
    MlpEncoder,
    NatureCnnEncoder,
    PolicyConfig,
    ResnetMlpEncoder,
    TherapyEncoder,
)
from proximo.config.registry import build, nearest, resolve
from proximo.core.types import PLAIN_KEY, Obs
from proximo.errors import UserError
from proximo.policies import encoders
from proximo.policies.encoders import BaseFeaturesExtractor, probe
from proximo.policies.foreign import base_class_aliases
from proximo.policies.layers import ORTHOGONAL_GAIN, orthogonal, slot
from proximo.policies.precision import convolves
from proximo.policies.therapy import TherapyNet
from proximo.policies.views import Purpose, View, is_image

Spaces = Mapping[str, spaces.Space[Any]]
_CONVOLUTIONAL = (NatureCnnEncoder, ImpalaCnnEncoder)
IMAGE_ROWS = 256
"""Images are encoded in slices of this many rows where no gradient is needed, to bound memory and stay in the cache."""
_WHOLE = (Custom, TherapyEncoder)
"""Encoders that read all keys of a Dict space at once."""


def _single(
    key: str, space: spaces.Space[Any], config: EncoderConfig, where: str, limit: float | None
) -> tuple[View, BaseFeaturesExtractor]:
    if isinstance(config, AutoEncoder):
        config = NatureCnnEncoder() if is_image(space) else FlatEncoder()
    purpose: Purpose = "vector"
    if isinstance(config, Custom):
        purpose = "custom"
    elif isinstance(config, _CONVOLUTIONAL):
        purpose = "image"
        if not isinstance(space, spaces.Box):
            raise UserError(f"{where}.type: {config.type} needs images; {key!r} is {type(space).__name__}")
    view = View(key, space, purpose, limit)
    return view, _extractor(config, view.space, where, view.scale or 1.0)


def _extractor(
    config: EncoderConfig, space: spaces.Box | spaces.Dict, where: str, scale: float = 1.0
) -> BaseFeaturesExtractor:
    if isinstance(config, Custom):
        with base_class_aliases(config.type):
            kind = resolve(config.type, BaseFeaturesExtractor)
        made: BaseFeaturesExtractor = build(kind, config.kwargs, space, where=where)
        probe(made, config.type)
        return made
    if isinstance(config, TherapyEncoder):
        return TherapyNet(space, config.hidden_size, config.client_features, config.history_features)
    assert isinstance(space, spaces.Box)
    match config:
        case MlpEncoder():
            return encoders.MlpEncoder(space, config.hidden_sizes, config.activation)
        case ResnetMlpEncoder():
            return encoders.ResnetMLP(space, config.features_dim)
        case NatureCnnEncoder():
            return encoders.NatureCNN(space, config.features_dim, scale)
        case ImpalaCnnEncoder():
            return encoders.ImpalaCNN(space, config.features_dim, config.channels, scale)
        case _:
            return encoders.FlatEncoder(space)


def _choices(obs_spaces: Spaces, config: PolicyConfig) -> dict[str, EncoderConfig]:
    """The encoder of each key: its own, else `policy.encoder` where that fits, else the automatic one."""
    for key in config.encoders:
        if key not in obs_spaces:
            close = nearest(key, list(obs_spaces))
            raise UserError(
                f"policy.encoders.{key}: no such observation; there are {sorted(obs_spaces)}{close}"
            )
    plain = list(obs_spaces) == [PLAIN_KEY]
    chosen: dict[str, EncoderConfig] = {}
    for key in sorted(obs_spaces):
        if key in config.encoders:
            chosen[key] = config.encoders[key]
        elif plain or isinstance(config.encoder, _WHOLE):
            chosen[key] = config.encoder
        else:
            fits = isinstance(config.encoder, _CONVOLUTIONAL) == is_image(obs_spaces[key])
            chosen[key] = config.encoder if fits else AutoEncoder()
    if isinstance(config.encoder, _CONVOLUTIONAL) and config.encoder not in chosen.values():
        raise UserError(
            f"policy.encoder.type: {config.encoder.type} needs an image among {sorted(obs_spaces)}; "
            "name the key under policy.encoders"
        )
    return chosen


class ObservationEncoder(nn.Module):
    """All observation keys but the mask to one vector of features.

    A plain space is read by `policy.encoder`. Of a Dict space, each key is read by its entry in
    `policy.encoders`; the keys without one by an instance of `policy.encoder` each (networks for images read
    the images, the others the rest; what is left over is chosen automatically). An encoder of your own (or the
    therapy client's) under `policy.encoder` receives all keys without an entry, as a dictionary.
    """

    features_dim: int

    def __init__(self, obs_spaces: Spaces, normalized: Mapping[str, float], config: PolicyConfig) -> None:
        """`normalized`: the keys that arrive normalised, and what they are clipped to."""
        super().__init__()
        if not obs_spaces:
            raise UserError(
                "the environment shows nothing but the action mask; the policy needs an observation"
            )
        chosen = _choices(obs_spaces, config)
        together: list[str] = []
        if isinstance(config.encoder, _WHOLE) and list(obs_spaces) != [PLAIN_KEY]:
            together = [key for key in chosen if key not in config.encoders]
        self.views = nn.ModuleDict()
        self.extractors = nn.ModuleDict()
        self.groups: list[tuple[BaseFeaturesExtractor, tuple[str, ...], bool]] = []
        self.own: list[BaseFeaturesExtractor] = []
        self.takes_pixels: set[str] = set()
        """Keys whose encoder is a network of ours that takes pictures as they are stored."""
        self.dtype = torch.float32
        """What convolutional encoders compute in."""
        self.view_of: dict[str, View] = {}
        for key, choice in chosen.items():
            if key not in together:
                where = f"policy.encoders.{key}" if key in config.encoders else "policy.encoder"
                view, part = _single(key, obs_spaces[key], choice, where, normalized.get(key))
                self._add(slot(key), {key: view}, part, False, isinstance(choice, Custom))
                if isinstance(part, encoders.NatureCNN | encoders.ImpalaCNN) and part in self.own:
                    self.takes_pixels.add(key)
        if together:
            views = {key: View(key, obs_spaces[key], "custom", normalized.get(key)) for key in together}
            space = spaces.Dict({key: view.space for key, view in views.items()})
            whole = _extractor(config.encoder, space, "policy.encoder")
            self._add("together", views, whole, True, isinstance(config.encoder, Custom))
        self.features_dim = sum(part.features_dim for part, _, _ in self.groups)
        self.has_images = any(view.kind == "image" for view in self.view_of.values())
        self.direct = self._direct_key()

    def _add(
        self, name: str, views: dict[str, View], part: BaseFeaturesExtractor, as_dict: bool, custom: bool
    ) -> None:
        for key, view in views.items():
            self.views[slot(key)] = self.view_of[key] = view
        self.extractors[name] = part
        self.groups.append((part, tuple(views), as_dict))
        if not custom:
            self.own.append(part)

    def _direct_key(self) -> str | None:
        # One vector and no network: nothing to do but hand it on.
        if len(self.groups) != 1 or not isinstance(self.groups[0][0], encoders.FlatEncoder):
            return None
        key = self.groups[0][1][0]
        view = self.view_of[key]
        return key if view.kind == "plain" and view.raw_ndim == 1 else None

    def initialize(self) -> None:
        """Orthogonal weights for the built-in encoders; your own stay as their constructor made them."""
        for part in self.own:
            orthogonal(part, ORTHOGONAL_GAIN)

    def forward(self, obs: Obs) -> Tensor:
        """Normalised observations of any leading shape `L` to `[L, F]`."""
        if self.direct is not None:
            x = obs[self.direct]
            return x if x.is_floating_point() else x.float()
        key = next(iter(self.view_of))
        lead = obs[key].shape[: obs[key].dim() - self.view_of[key].raw_ndim]
        if len(lead) == 1:
            return self._sliced(obs)
        rows = {k: obs[k].reshape(-1, *obs[k].shape[len(lead) :]) for k in self.view_of}
        return self._sliced(rows).reshape(*lead, self.features_dim)

    def _sliced(self, rows: Obs) -> Tensor:
        # Acting and valuing many images at once takes gigabytes inside the convolutions; a tracer wants no branch.
        if not self.has_images or torch.is_grad_enabled() or torch.compiler.is_exporting():
            return self._rows(rows)
        count = rows[next(iter(self.view_of))].shape[0]
        if count <= IMAGE_ROWS:
            return self._rows(rows)
        pieces = range(0, count, IMAGE_ROWS)
        return torch.cat([self._rows({k: rows[k][i : i + IMAGE_ROWS] for k in self.view_of}) for i in pieces])

    def _view(self, key: str, rows: Tensor) -> Tensor:
        view = self.view_of[key]
        if key in self.takes_pixels:
            return view.pixels(rows)
        seen: Tensor = view(rows)
        return seen

    def vector(self, obs: Obs) -> Tensor:
        """What the encoders read, flattened and side by side: normalised observations `[..., D]`."""
        if self.direct is not None:
            return self(obs)  # type: ignore[no-any-return]
        parts = []
        for key, view in self.view_of.items():
            lead = obs[key].shape[: obs[key].dim() - view.raw_ndim]
            rows = view(obs[key].reshape(-1, *obs[key].shape[len(lead) :]))
            parts.append(rows.reshape(*lead, -1))
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def _rows(self, rows: Obs) -> Tensor:
        parts: list[Tensor] = []
        for extractor, keys, as_dict in self.groups:
            seen = {key: self._view(key, rows[key]) for key in keys}
            given = seen if as_dict else seen[keys[0]]
            if self.dtype is torch.float32 or not convolves(extractor):
                parts.append(extractor(given))
                continue
            with torch.autocast(rows[keys[0]].device.type, self.dtype):
                parts.append(extractor(given).float())
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)
