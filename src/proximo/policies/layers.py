"""Layers by name and their initialisation."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from proximo.config.registry import nearest
from proximo.errors import UserError

_NEED_AXIS = ("Softmax", "Softmin", "LogSoftmax")
# Not functions of one tensor that keep its shape.
_NOT_PLAIN = ("GLU", "MultiheadAttention", "Softmax2d", "Threshold")
ORTHOGONAL_GAIN = math.sqrt(2.0)


def slot(name: str) -> str:
    """A module name for an observation key or stream (`a.b` and `keys` are not allowed as they are)."""
    return "on_" + name.replace(".", "/")


def activation_names() -> list[str]:
    """Every activation of `torch.nn` that can stand between two layers."""
    found = [
        name
        for name, value in vars(nn).items()
        if isinstance(value, type) and value.__module__ == "torch.nn.modules.activation"
    ]
    return sorted({*found, "Identity"} - set(_NOT_PLAIN))


def activation(name: str) -> nn.Module:
    """The `torch.nn` activation of this name; an unknown name raises UserError."""
    names = activation_names()
    if name not in names:
        close = nearest(name.rsplit(".", 1)[-1], names)
        raise UserError(f"activation {name!r} is no activation of torch.nn{close}")
    kind: type[nn.Module] = getattr(nn, name)
    if name in _NEED_AXIS:
        return kind(dim=-1)
    if name == "RReLU":
        # Random slopes would make the probability ratio noise: take the mean, as torch does in evaluation.
        slope = (1 / 8 + 1 / 3) / 2
        return nn.RReLU(slope, slope)
    return kind()


def mlp(inputs: int, widths: Sequence[int], activation_name: str) -> nn.Sequential:
    """`Linear, activation` per width; empty for no widths."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(inputs, width), activation(activation_name)]
        inputs = width
    return nn.Sequential(*layers)


def orthogonal(module: nn.Module, gain: float) -> None:
    """Orthogonal weights (Saxe et al. 2014) and zero biases, for every layer below `module`."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.orthogonal_(layer.weight, gain=gain)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.GRU | nn.LSTM):
            for name, parameter in layer.named_parameters():
                if "weight" in name:
                    nn.init.orthogonal_(parameter)
                else:
                    nn.init.zeros_(parameter)
