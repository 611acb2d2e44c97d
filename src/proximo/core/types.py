"""The vocabulary: what flows between environments, policies and the loop.

Shapes: `T` time steps of a rollout, `N` environments, `B` rows of a minibatch, `K` ended episodes.
Observations are always dictionaries of tensors; a plain (non-Dict) space lives under the key `"obs"`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from gymnasium.spaces import Space
from torch import Tensor

from proximo.core.seeds import PLAIN_KEY as PLAIN_KEY

Obs = dict[str, Tensor]
State = dict[str, Tensor]
"""Memory carried between steps, `[N, ...]` per entry; empty for feed-forward policies."""
Stats = dict[str, Tensor]
"""A snapshot of an observation normaliser (`<key>.mean`, `<key>.std`); empty where nothing is normalised."""


@dataclass(frozen=True)
class EnvSpec:
    """What a policy must know of an environment: spaces, number of copies, device."""

    id: str
    obs_spaces: Mapping[str, Space[Any]]
    """One (never Dict or Tuple) space per observation key, of a single environment."""
    action_space: Space[Any]
    """Of a single environment."""
    num_envs: int
    device: torch.device
    mask_key: str | None = None
    """The observation key that holds the action mask, True where an action is allowed."""


@dataclass
class Final:
    """True last observations of the episodes that ended in this step (sparse)."""

    index: Tensor
    """`[K]` int64: which environments."""
    obs: Obs
    """`[K, ...]` per key."""


@dataclass
class Step:
    """One step of all environments. `obs` is what to act on next (already reset where an episode ended)."""

    obs: Obs
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    final: Final
    valid: Tensor
    """`[N]` bool; False where this step only reset the environment (next-step autoreset). Together with `truncated`:
    the step never happened, its episode was cut before it (a worker process that died)."""
    info: dict[str, Tensor] = field(default_factory=dict)
    """Named scalars `[N]`."""


@runtime_checkable
class VecEnv(Protocol):
    """N environments stepped together, tensors in and tensors out."""

    spec: EnvSpec

    def reset(self, seed: int) -> Obs: ...
    def step(self, action: Tensor) -> Step: ...
    def configure(self, params: Mapping[str, Any]) -> None: ...
    def render(self) -> Any: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class NoiseSpec:
    """The random numbers one action consumes; drawn outside, so that every engine and rank draws the same."""

    kind: Literal["uniform", "normal"]
    dim: int
    every: int = 1
    """The same draw serves this many consecutive steps (gSDE)."""


class Distribution(Protocol):
    """Distribution over policy-space actions with any leading shape `L`."""

    def mode(self) -> Tensor: ...
    def sample(self, noise: Tensor) -> Tensor: ...
    def log_prob(self, action: Tensor) -> Tensor: ...
    def entropy(self) -> Tensor: ...
    def kl(self, other: Any) -> Tensor: ...
    def distance(self, action: Tensor) -> Tensor | None:
        """Mahalanobis distance of an action; None where actions are choices, which none is outside of."""


@dataclass
class Act:
    """What acting yields: policy-space action, its log-probability (natural log), the advanced memory, extras."""

    action: Tensor
    logp: Tensor
    state: State
    aux: dict[str, Tensor] = field(default_factory=dict)
    """`[N, ...]` tensors that reward terms read back from `Rollout.aux`."""


@dataclass
class Output:
    """What a policy says of a batch of observations."""

    dist: Distribution
    values: dict[str, Tensor]
    """One value per stream, of the leading shape of the batch."""


@dataclass
class Episode:
    """A finished episode, in raw (unscaled) reward."""

    return_: float
    length: int
    success: bool | None = None
    info: dict[str, float] = field(default_factory=dict)


@dataclass
class Rollout:
    """Record of `[T, N, ...]` tensors. Owned by its source and overwritten by the next collect; read-only."""

    source: str
    obs: Obs
    action: Tensor
    logp_behavior: Tensor
    start: Tensor
    """`[T, N]` bool: `obs[t]` is the first observation of an episode."""
    reward: Tensor
    """The environment's own reward, raw."""
    terminated: Tensor
    truncated: Tensor
    valid: Tensor
    final_t: Tensor
    """`[K]` int64: time index of each ended episode's last step."""
    final_n: Tensor
    final_obs: Obs
    """`[K, ...]` the observation after that last step."""
    last_obs: Obs
    """`[N, ...]` the observation after the last step of the rollout."""
    last_start: Tensor
    """`[N]` bool: `last_obs` begins an episode."""
    state: State
    """Memory before the first step, `[N, ...]` (or `[S, N, ...]` per sequence start, see `sequence_length`)."""
    sequence_length: int
    stats: Stats
    """Snapshot of the normaliser that the rollout was acted with."""
    aux: dict[str, Tensor] = field(default_factory=dict)
    info: dict[str, Tensor] = field(default_factory=dict)
    rewards: dict[str, Tensor] = field(default_factory=dict)
    """Filled by the reward terms: `[T, N]` per term."""
    episodes: list[Episode] = field(default_factory=list)
    fresh: bool = True
    """False for demonstrations: never centred by, never counted as environment steps."""

    @property
    def done(self) -> Tensor:
        """`[T, N]` bool: the episode ended here, either way."""
        return self.terminated | self.truncated

    @property
    def shape(self) -> tuple[int, int]:
        """`(T, N)`."""
        return self.reward.shape[0], self.reward.shape[1]


class Policy(Protocol):
    """Raw observation in, action out; an `nn.Module` that owns normaliser, encoders, memory and heads."""

    noise: NoiseSpec
    recurrent: bool
    streams: tuple[str, ...]
    statistics_held: bool
    """While set, `observe` leaves the observation statistics as they are."""

    def initial_state(self, num_envs: int) -> State: ...
    def act(self, obs: Obs, state: State, start: Tensor, noise: Tensor | None) -> Act: ...
    def normalize(self, obs: Obs, stats: Stats | None = None) -> Obs: ...
    def snapshot(self) -> Stats: ...
    def compute(self, obs: Obs, state: State, start: Tensor) -> Output: ...
    def values(
        self,
        obs: Obs,
        state: State,
        start: Tensor,
        rows: tuple[Tensor, Tensor],
        row_obs: Obs,
        row_start: Tensor,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], State]: ...
    def observe(self, rollout: Rollout) -> None: ...
    def prime(self, rollout: Rollout) -> None: ...
    def to_env(self, action: Tensor) -> Tensor: ...
    def from_env(self, action: Tensor) -> Tensor: ...
    @property
    def log_width(self) -> float: ...
    def parameters(self) -> Any: ...
    def actor_parameters(self) -> Any: ...
    def state_dict(self) -> dict[str, Tensor]: ...


class Stateful(Protocol):
    """A part whose state goes into the checkpoint: nested dicts of tensors and JSON values."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Any) -> Any: ...


@dataclass
class Batch:
    """Rows (leading shape `[B]`) or whole sequences (`[L, B]`, memory policies) of one optimiser step."""

    obs: Obs
    """Already normalised with the snapshot it was acted with."""
    action: Tensor
    logp_behavior: Tensor
    logp_old: Tensor
    advantage: Tensor
    """Weighted sum over streams, as the estimators gave it, or normalised per rollout."""
    value_old: dict[str, Tensor]
    target: dict[str, Tensor]
    fresh: Tensor | None
    """bool: from the environment (True) or from demonstrations (False); None where all rows are fresh."""
    weight: Tensor | None
    """1 for a valid row, 0 for a padded or invalid one; None where every row counts."""
    surrogate_weight: Tensor | None
    """Multiplies the policy-gradient term of a row; None where all are 1 (fresh rows)."""
    state: State
    start: Tensor
    scale: float = 1.0
    """Rows of this minibatch over the nominal minibatch size; below 1 only for a short last minibatch."""


class Source(Protocol):
    """Gives rollouts, and says how far off-policy they are."""

    name: str
    fresh: bool
    """True where its rows come from the environments, False for recorded ones."""
    off_policy: bool
    """True where `logp_behavior` may differ from the learner's: `logp_old` is then recomputed."""

    def collect(self, policy: Policy) -> Rollout: ...
    def correct(self, comparison: Comparison) -> Correction: ...


@dataclass
class Comparison:
    """What the policy that is about to learn says of a rollout's actions, beside whoever acted, `[T, N]`."""

    logp_old: Tensor
    logp_behavior: Tensor
    distance: Tensor | None = None
    """Mahalanobis distance of the action; None where actions are choices, and for rows that are on-policy."""


@dataclass
class Correction:
    """What a rollout's rows count for, `[T, N]`; None stands for exactly 1 everywhere."""

    rho: Tensor | None = None
    """V-trace's ρ, of the temporal difference at the row."""
    c: Tensor | None = None
    """V-trace's c, of what is passed back through the row."""
    surrogate_weight: Tensor | None = None
    """Where given, the advantage leaves the row's own ratio out, which is in here."""
    inlier: Tensor | None = None
    """A further weight of the surrogate; where below 1, a row of negative advantage does not count at all."""


class RewardTerm(Protocol):
    """A pure function of a rollout, `[T, N]`; `update` (if it learns) runs after learning."""

    name: str
    stream: str
    weight: float

    def __call__(self, rollout: Rollout) -> Tensor: ...
    def update(self, rollout: Rollout) -> None: ...


class LossTerm(Protocol):
    """A scalar of output and batch, with metrics to report (scalars, detached)."""

    name: str
    weight: float

    def __call__(self, output: Output, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]: ...
