"""The policy: normaliser, encoders, memory, layers, action head and one value head per stream.

Shapes: `N` environments, `T` or `L` time steps, `B` rows or sequences, `K` extra rows, `F` features.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from proximo.config.experiment import GruMemory, LstmMemory, PolicyConfig
from proximo.core.engines.layers import LayerGraph
from proximo.core.types import Act, EnvSpec, NoiseSpec, Obs, Output, Rollout, State, Stats
from proximo.errors import RunError
from proximo.policies.fusion import ObservationEncoder
from proximo.policies.heads import build_head
from proximo.policies.layer_graph import layer_graph
from proximo.policies.layers import ORTHOGONAL_GAIN, mlp, orthogonal, slot
from proximo.policies.normalizer import ObsNormalizer
from proximo.policies.precision import multiplications
from proximo.policies.trunk import Owner, Trunk


class ActorCritic(nn.Module):
    """Implements `core.types.Policy` from the spaces of an environment and the configuration.

    Parameters follow from torch's global seed and lie on `spec.device`. Raises UserError where the
    configuration does not fit the spaces.
    """

    noise: NoiseSpec
    recurrent: bool
    streams: tuple[str, ...]

    def __init__(self, spec: EnvSpec, config: PolicyConfig, streams: tuple[str, ...] = ("task",)) -> None:
        super().__init__()
        self.spec = spec
        self.streams = streams
        self.statistics_held = False
        seen = {key: space for key, space in spec.obs_spaces.items() if key != spec.mask_key}
        self.normalizer = ObsNormalizer(seen, config.obs_clip, config.normalize_obs)
        normalized = dict.fromkeys(self.normalizer.keys, config.obs_clip)
        memory = config.memory if isinstance(config.memory, GruMemory | LstmMemory) else None
        self.recurrent = memory is not None
        owners: tuple[Owner, ...] = ("shared",) if config.share_encoder else ("actor", "critic")
        trunks = [Trunk(owner, ObservationEncoder(seen, normalized, config), memory) for owner in owners]
        self.trunks = nn.ModuleDict(dict(zip(owners, trunks, strict=True)))
        # Lists, which do not register them a second time: weights of a shared trunk are stored once.
        self._distinct, self._both = trunks, (trunks[0], trunks[-1])
        features = trunks[0].features_dim
        actor_sizes, critic_sizes = config.hidden_sizes, config.value_hidden_sizes
        critic_sizes = actor_sizes if critic_sizes is None else critic_sizes
        self.actor_layers = mlp(features, actor_sizes, config.activation)
        self.critic_layers = mlp(features, critic_sizes, config.activation)
        self.head = build_head(spec, config.head, (features, *actor_sizes)[-1])
        latent = (features, *critic_sizes)[-1]
        self.value_heads = nn.ModuleDict({slot(name): nn.Linear(latent, 1) for name in streams})
        self.noise = self.head.noise
        self._initialize(config.ortho_init)
        self.to(spec.device)

    def _initialize(self, ortho: bool) -> None:
        if ortho:
            for trunk in self._distinct:
                trunk.initialize()
            orthogonal(self.actor_layers, ORTHOGONAL_GAIN)
            orthogonal(self.critic_layers, ORTHOGONAL_GAIN)
            orthogonal(self.value_heads, 1.0)
        self.head.initialize(ortho)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    def compute_in(self, dtype: torch.dtype) -> None:
        """Let the convolutional encoders compute in `dtype`; their parameters and features stay float32."""
        for trunk in self._distinct:
            trunk.encoder.dtype = dtype

    def initial_state(self, num_envs: int) -> State:
        """An empty memory, `[num_envs, F]` per entry; no entries without memory."""
        state: State = {}
        for trunk in self._distinct:
            if trunk.memory is not None:
                state |= trunk.memory.initial(num_envs, self.device)
        return state

    def act(self, obs: Obs, state: State, start: Tensor, noise: Tensor | None) -> Act:
        """Choose actions for raw `obs` `[N, ...]`; `noise` None takes the mode.

        `start` `[N]` empties the memory before this step. Every memory advances, values are not computed.
        Raises RunError where a mask allows no action (checked here on a CPU, in `observe` elsewhere).
        """
        mask = self.mask(obs)
        if mask is not None and mask.device.type == "cpu":
            _check_allowed(self.head.some_allowed(mask), "environment")
        seen = self.normalizer(obs)
        actor, critic = self._both
        features, after = actor.step(seen, state, start)
        if self.recurrent and critic is not actor:
            after |= critic.step(seen, state, start)[1]
        dist = self.head.distribution(self.actor_layers(features), mask)
        action = dist.mode() if noise is None else dist.sample(noise)
        return Act(action, dist.log_prob(action), after)

    def actor_state(self, num_envs: int) -> State:
        """An empty memory of the actor alone: all that `decide` needs."""
        memory = self._both[0].memory
        return {} if memory is None else memory.initial(num_envs, self.device)

    def decide(self, obs: Obs, state: State, start: Tensor) -> tuple[Tensor, State]:
        """The environment's action by the mode, and the actor's advanced memory: what an export contains."""
        features, after = self._both[0].step(self.normalizer(obs), state, start)
        dist = self.head.distribution(self.actor_layers(features), self.mask(obs))
        return self.to_env(dist.mode()), after

    def normalize(self, obs: Obs, stats: Stats | None = None) -> Obs:
        """Observations scaled by `stats`, or by the current statistics; images and levels pass unchanged."""
        result: Obs = self.normalizer(obs, stats)
        return result

    def snapshot(self) -> Stats:
        """A copy of the current observation statistics."""
        return self.normalizer.snapshot()

    def observe(self, rollout: Rollout) -> None:
        """Take the valid rows of a fresh rollout into the observation statistics, unless they are held."""
        if not rollout.fresh:
            return
        mask = self.mask(rollout.obs)
        if mask is not None and mask.device.type != "cpu":
            _check_allowed(self.head.some_allowed(mask) | ~rollout.valid, "step and environment")
        if not self.statistics_held:
            self.prime(rollout)

    def prime(self, rollout: Rollout) -> None:
        """Take the valid rows of a rollout, fresh or not, into the observation statistics."""
        self.normalizer.observe(rollout.obs, rollout.valid)

    def compute(self, obs: Obs, state: State, start: Tensor) -> Output:
        """Distribution and values for normalised `obs`: rows `[...]`, or with memory sequences `[L, B]`.

        `state` `[B, F]` is the memory before the first step; `start` `[L, B]` empties it before a step
        (`[B]` for a single step). Both are ignored without memory.
        """
        actor, critic = self._both
        features = actor.sequence(obs, state, start)
        dist = self.head.distribution(self.actor_layers(features), self.mask(obs))
        if critic is not actor:
            features = critic.sequence(obs, state, start)
        return Output(dist, self._values(features))

    def values(
        self,
        obs: Obs,
        state: State,
        start: Tensor,
        rows: tuple[Tensor, Tensor],
        row_obs: Obs,
        row_start: Tensor,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], State]:
        """Values per stream: of normalised `obs` `[T, N]`, and of successors `row_obs` `[K]` beside them.

        Successor i is seen with the memory as it is after step `rows[0][i]` of environment `rows[1][i]`, or
        with an empty one where `row_start`; it changes nothing that is carried. The last result is the memory
        that values come from, after the last step.
        """
        critic = self._both[1]
        features, row_features = critic.encoder(obs), critic.encoder(row_obs)
        last: State = {}
        if critic.memory is not None:
            unrolled = critic.memory.unroll(features, state, start, rows[0])
            features, last = unrolled.output, unrolled.states[-1]
            row_features, _ = critic.memory.step(row_features, unrolled.after(*rows), row_start)
        return self._values(features), self._values(row_features), last

    def forward(self, obs: Obs, state: State, start: Tensor) -> Output:
        """`compute` of raw observations."""
        return self.compute(self.normalize(obs), state, start)

    def to_env(self, action: Tensor) -> Tensor:
        """Policy-space actions `[N, ...]` as the environment takes them: clipped, rescaled, in its shape."""
        return self.head.to_env(action)

    def from_env(self, action: Tensor) -> Tensor:
        """Recorded actions of the environment `[..., *shape]` as policy-space ones."""
        return self.head.from_env(action)

    @property
    def log_width(self) -> float:
        """Logarithm of the volume of environment actions per volume of policy-space ones."""
        return self.head.log_width

    def actor_parameters(self) -> list[nn.Parameter]:
        """Everything that decides the action; a trunk that the critic shares is among it."""
        parts = (self._both[0], self.actor_layers, self.head)
        return [parameter for part in parts for parameter in part.parameters()]

    def _values(self, features: Tensor) -> dict[str, Tensor]:
        latent = self.critic_layers(features)
        return {name: self.value_heads[slot(name)](latent).squeeze(-1) for name in self.streams}

    def multiplications(self) -> int:
        """Of one row's forward pass in convolutions and dense layers."""
        spaces = self.spec.obs_spaces
        # Ones, because a mask must allow something.
        obs = {key: torch.ones(1, *(space.shape or ()), device=self.device) for key, space in spaces.items()}
        start = torch.ones(1, dtype=torch.bool, device=self.device)
        return multiplications(self, obs, self.initial_state(1), start)

    @property
    def plain_key(self) -> str | None:
        """The key of the observation, where it is one plain float vector that no encoder changes."""
        encoder = self._both[0].encoder
        key = encoder.direct
        return key if key is not None and self.spec.obs_spaces[key].dtype == np.float32 else None

    def vector(self, obs: Obs) -> Tensor:
        """What the first dense layer reads, `[..., D]`, of normalised `obs`."""
        return self._both[0].encoder.vector(obs)

    def graph(self) -> LayerGraph:
        """The policy as dense layers; raises `Unsupported` naming a part that is something else."""
        actor, critic = self.actor_layers, self.critic_layers
        values = {name: cast(nn.Linear, self.value_heads[slot(name)]) for name in self.streams}
        return layer_graph(self._distinct, actor, critic, self.head, values, self.spec.mask_key)

    def check_mask(self, mask: Tensor) -> None:
        """Raises RunError where a row of `mask` `[N, n]` allows no action."""
        _check_allowed(self.head.some_allowed(mask), "environment")

    def mask(self, obs: Obs) -> Tensor | None:
        """The action mask of `obs` as bool `[..., n]`; None without one."""
        key = self.spec.mask_key
        if key is None:
            return None
        mask = obs[key]
        inner = len(self.spec.obs_spaces[key].shape or ())
        mask = mask if inner == 1 else mask.reshape(*mask.shape[: mask.dim() - inner], -1)
        return mask if mask.dtype is torch.bool else mask != 0


def _check_allowed(allowed: Tensor, what: str) -> None:
    if bool(allowed.all()):
        return
    where = (~allowed).nonzero()[0].tolist()
    raise RunError(
        f"the action mask of {what} {', '.join(map(str, where))} allows no action; "
        "the environment must always allow at least one"
    )
