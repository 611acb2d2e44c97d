"""An actor-critic told as dense layers, where it consists of nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from torch import nn

from proximo.core.engines.layers import ACTIVATIONS, OBS, Dense, LayerGraph, Unsupported
from proximo.policies.continuous import DiagonalGaussianHead
from proximo.policies.encoders import BaseFeaturesExtractor, DenseBlock, FlatEncoder, MlpEncoder, ResnetMLP
from proximo.policies.fusion import ObservationEncoder
from proximo.policies.head import Head
from proximo.policies.heads import CategoricalHead
from proximo.policies.trunk import Trunk


class _Builder:
    def __init__(self) -> None:
        self.layers: list[Dense] = []
        self.tensors = 1

    def dense(
        self, source: int, linears: list[nn.Linear], act: nn.Module | None, roles: str, add: int | None = None
    ) -> int:
        name = "Identity" if act is None else type(act).__name__
        if name not in ACTIVATIONS:
            raise Unsupported(f"activation {name}")
        slope = float(getattr(act, "negative_slope", getattr(act, "alpha", 0.0)))
        target, self.tensors = self.tensors, self.tensors + 1
        actor, critic = "actor" in roles, "critic" in roles
        self.layers.append(Dense(tuple(linears), source, target, name, slope, add, actor, critic))
        return target

    def sequential(self, source: int, modules: nn.Sequential, roles: str) -> int:
        parts = list(modules)
        at = 0
        while at < len(parts):
            part = parts[at]
            if isinstance(part, DenseBlock):
                first, activation, second = part.inside
                inner = self.dense(source, [cast(nn.Linear, first)], activation, roles)
                source = self.dense(inner, [cast(nn.Linear, second)], nn.LeakyReLU(), roles, add=source)
                at += 1
            elif isinstance(part, nn.Linear):
                source = self.dense(source, [part], parts[at + 1], roles)
                at += 2
            else:
                raise Unsupported(f"layer {type(part).__name__}")
        return source


def layer_graph(
    trunks: Sequence[Trunk],
    actor_layers: nn.Sequential,
    critic_layers: nn.Sequential,
    head: Head,
    value_heads: Mapping[str, nn.Linear],
    mask_key: str | None,
) -> LayerGraph:
    """The dense layers of a policy's parts; raises Unsupported naming the part that is something else.

    `trunks`: the shared one, or the actor's and the critic's. `value_heads`: by stream.
    """
    if any(trunk.memory is not None for trunk in trunks):
        raise Unsupported("memory")
    if isinstance(head, CategoricalHead):
        kind, linear, log_std = "categorical", head.linear, None
    elif isinstance(head, DiagonalGaussianHead) and not head.squash and head.log_std is not None:
        kind, linear, log_std = "gaussian", head.linear, head.log_std
    else:
        raise Unsupported(f"head {type(head).__name__} as configured")
    builder = _Builder()
    roles = ["actor critic"] if len(trunks) == 1 else ["actor", "critic"]
    ends = [_encode(builder, trunk.encoder, role) for trunk, role in zip(trunks, roles, strict=True)]
    actor = builder.sequential(ends[0], actor_layers, "actor")
    critic = builder.sequential(ends[-1], critic_layers, "critic")
    logits = builder.dense(actor, [linear], None, "actor")
    value = builder.dense(critic, list(value_heads.values()), None, "critic")
    return LayerGraph(
        layers=builder.layers,
        obs_width=builder.layers[0].inputs,
        actor=logits,
        critic=value,
        head="gaussian" if kind == "gaussian" else "categorical",
        actions=linear.out_features,
        log_std=log_std,
        streams=tuple(value_heads),
        mask_key=mask_key,
    )


def _encode(builder: _Builder, encoder: ObservationEncoder, roles: str) -> int:
    extractors = [part for part, _, _ in encoder.groups]
    # Exactly these types: a subclass of the user's may compute something else.
    if all(type(part) is FlatEncoder for part in extractors):
        return OBS
    part: BaseFeaturesExtractor = extractors[0]
    if len(extractors) > 1:
        raise Unsupported("several encoders")
    if type(part) in (MlpEncoder, ResnetMLP):
        return builder.sequential(OBS, cast(MlpEncoder, part).layers, roles)
    raise Unsupported(f"encoder {type(part).__name__}")
