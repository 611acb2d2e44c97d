"""The networks of the therapy client: embeddings of the octants and two dense layers, after its first users' design.

Shapes: `M` rows, `H` entries of the history, `F` features.
"""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from proximo.errors import UserError
from proximo.policies.encoders import BaseFeaturesExtractor
from proximo.policies.views import View, flat

OCTANTS = 8
LEVELS = OCTANTS + 1
"""What an entry of the history may be: an octant or nobody's."""
KEYS = ("client_action", "history", "session_number")


class TherapyNet(BaseFeaturesExtractor):
    """Octant and history embedded, any further numbers as they are, then two dense layers with ReLU.

    Of the client's octant 16 features, of each entry of the history 8, and the share of sessions make 417, then
    256 and 256: 173,000 parameters. Reads the observation of `proximo/Therapy-v0`, with discrete values one-hot
    as every encoder gets them; keys that the omniscient wrapper adds are put beside the embeddings. Raises
    UserError for other observations.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        hidden_size: int = 256,
        client_features: int = 16,
        history_features: int = 8,
    ) -> None:
        super().__init__(observation_space, hidden_size)
        inner = observation_space.spaces if isinstance(observation_space, spaces.Dict) else {}
        missing = [key for key in KEYS if key not in inner]
        if missing:
            found = f"has {', '.join(sorted(inner))}" if inner else "is no Dict"
            raise UserError(
                f"encoder therapy reads the observation of proximo/Therapy-v0; this one {found}: no {missing[0]}"
            )
        sizes = {key: spaces.flatdim(space) for key, space in inner.items()}
        if sizes["client_action"] != OCTANTS or sizes["history"] % LEVELS:
            raise UserError(
                f"encoder therapy needs {OCTANTS} client octants and a history of {LEVELS} levels, one-hot"
            )
        self.others = tuple(sorted(key for key in inner if key not in KEYS[:2]))
        self.client = nn.Embedding(OCTANTS, client_features)
        self.history = nn.Embedding(LEVELS, history_features)
        entries = sizes["history"] // LEVELS * history_features
        inputs = client_features + entries + sum(sizes[key] for key in self.others)
        self.layers = nn.Sequential(
            nn.Linear(inputs, hidden_size), nn.ReLU(), nn.Linear(hidden_size, hidden_size), nn.ReLU()
        )

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """`[M, ...]` per key to `[M, F]`."""
        # One-hot rows times the table: the embedding of the octant they name.
        client = observations["client_action"] @ self.client.weight
        shown = observations["history"].reshape(len(client), -1, LEVELS) @ self.history.weight
        parts = [client, shown.flatten(1), *(flat(observations[key]) for key in self.others)]
        result: Tensor = self.layers(torch.cat(parts, -1))
        return result


class _Raw(nn.Module):
    """A `TherapyNet` on observations as the environment gives them."""

    def __init__(self, observation_space: spaces.Dict, hidden_size: int) -> None:
        super().__init__()
        views = {key: View(key, space, "custom", None) for key, space in observation_space.spaces.items()}
        self.views = nn.ModuleDict(views)
        seen = spaces.Dict({key: view.space for key, view in views.items()})
        self.net = TherapyNet(seen, hidden_size)

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        result: Tensor = self.net({key: view(observations[key]) for key, view in self.views.items()})
        return result


class Actor(nn.Module):
    """Raw observations `[M, ...]` per key to unnormalised log-probabilities of the eight octants, `[M, 8]`."""

    def __init__(self, trunk: nn.Module, hidden_size: int = 256) -> None:
        super().__init__()
        self.trunk, self.head = trunk, nn.Linear(hidden_size, OCTANTS)

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """`[M, 8]`."""
        result: Tensor = self.head(self.trunk(observations))
        return result


class Critic(nn.Module):
    """Raw observations `[M, ...]` per key to values `[M]`."""

    def __init__(self, trunk: nn.Module, hidden_size: int = 256) -> None:
        super().__init__()
        self.trunk, self.head = trunk, nn.Linear(hidden_size, 1)

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """`[M]`."""
        result: Tensor = self.head(self.trunk(observations)).squeeze(-1)
        return result


def make_therapy_networks(
    observation_space: spaces.Dict, hidden_size: int = 256, *, shared: bool = False
) -> tuple[Actor, Critic]:
    """Actor and critic on a trunk each (348,313 parameters together), or on a shared one (175,313).

    The modules alone, for use outside Proximo's policy; inside, `policy.encoder.type: therapy` with
    `policy.hidden_sizes: []` is the same network. The reference's documentation speaks of about 200k, which is
    neither. Raises UserError for another environment's observation space.
    """
    trunk = _Raw(observation_space, hidden_size)
    other = trunk if shared else _Raw(observation_space, hidden_size)
    return Actor(trunk, hidden_size), Critic(other, hidden_size)
