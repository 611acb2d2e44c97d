"""What lies before the layers of actor and critic: an encoder and the memory behind it.

Shapes: `N` environments, `L` time steps, `B` rows or sequences, `F` features.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from proximo.config.experiment import GruMemory, LstmMemory
from proximo.core.types import Obs, State
from proximo.policies.fusion import ObservationEncoder
from proximo.policies.layers import orthogonal
from proximo.policies.memory import Memory

Owner = Literal["shared", "actor", "critic"]


class Trunk(nn.Module):
    """An encoder and the memory behind it, of the actor, the critic or both."""

    def __init__(
        self, owner: Owner, encoder: ObservationEncoder, config: GruMemory | LstmMemory | None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.memory: Memory | None = None
        self.features_dim = encoder.features_dim
        if config is not None:
            self.memory = Memory(config.type, owner, encoder.features_dim, config.size)
            self.features_dim = config.size

    def initialize(self) -> None:
        """Orthogonal weights."""
        self.encoder.initialize()
        if self.memory is not None:
            orthogonal(self.memory, 1.0)

    def step(self, obs: Obs, state: State, start: Tensor) -> tuple[Tensor, State]:
        """Features `[N, F]` of one step and the advanced memory."""
        features: Tensor = self.encoder(obs)
        if self.memory is None:
            return features, {}
        return self.memory.step(features, state, start)

    def sequence(self, obs: Obs, state: State, start: Tensor) -> Tensor:
        """Features `[L, B, F]` of sequences, or `[..., F]` of rows where there is no memory."""
        features: Tensor = self.encoder(obs)
        if self.memory is None:
            return features
        if start.dim() == 1:
            return self.memory.step(features, state, start)[0]
        return self.memory.unroll(features, state, start).output
