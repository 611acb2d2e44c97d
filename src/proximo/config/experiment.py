"""The experiment tree: at once the YAML file, the command line, the Python API and the editor's schema.

The string under a field is the only place where that field is explained.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from proximo.config.base import Count, Custom, Fraction, Node, NonNegative, Positive, Widths
from proximo.config.demos import CustomSource, DemosConfig
from proximo.config.policy import (
    AutoEncoder,
    AutoHead,
    EncoderConfig,
    FlatEncoder,
    GaussianHead,
    GruMemory,
    GsdeHead,
    HeadConfig,
    ImpalaCnnEncoder,
    LstmMemory,
    MemoryConfig,
    MlpEncoder,
    NatureCnnEncoder,
    NoMemory,
    PolicyConfig,
    ResnetMlpEncoder,
    SquashedGaussianHead,
    TherapyEncoder,
)
from proximo.config.ppo import PpoConfig
from proximo.config.running import (
    CheckpointConfig,
    EvalConfig,
    StopConfig,
    TensorboardTracker,
    TrackerConfig,
    TrackioTracker,
    VideoConfig,
    WandbTracker,
)
from proximo.config.terms import (
    TASK_STREAM,
    CloningLoss,
    CurriculumHook,
    CustomLoss,
    CustomReward,
    EnvReward,
    HookConfig,
    LossConfig,
    PotentialReward,
    RewardConfig,
    StreamConfig,
)

__all__ = [
    "BUILT_IN_LOSSES",
    "CONFIG_VERSION",
    "TASK_STREAM",
    "AutoEncoder",
    "AutoHead",
    "CheckpointConfig",
    "CloningLoss",
    "Count",
    "CurriculumHook",
    "Custom",
    "CustomLoss",
    "CustomReward",
    "CustomSource",
    "DemosConfig",
    "EncoderConfig",
    "EnvConfig",
    "EnvReward",
    "EvalConfig",
    "Experiment",
    "FlatEncoder",
    "Fraction",
    "GaussianHead",
    "GruMemory",
    "GsdeHead",
    "HeadConfig",
    "HookConfig",
    "ImpalaCnnEncoder",
    "LossConfig",
    "LstmMemory",
    "MemoryConfig",
    "MlpEncoder",
    "NatureCnnEncoder",
    "NoMemory",
    "Node",
    "NonNegative",
    "PolicyConfig",
    "Positive",
    "PotentialReward",
    "PpoConfig",
    "ResnetMlpEncoder",
    "RewardConfig",
    "SquashedGaussianHead",
    "StopConfig",
    "StreamConfig",
    "TensorboardTracker",
    "TherapyEncoder",
    "TrackerConfig",
    "TrackioTracker",
    "VideoConfig",
    "WandbTracker",
    "Widths",
    "Wrapper",
]

CONFIG_VERSION: Literal[1] = 1
ENV_REWARD = "env"
BUILT_IN_LOSSES = ("policy", "value", "entropy")


class Wrapper(Node):
    """A Gymnasium wrapper around every single environment."""

    name: str
    """A class of `gymnasium.wrappers` (for example `FrameStackObservation`) or `module:Class`."""
    kwargs: dict[str, Any] = {}
    """Keyword arguments for the wrapper."""


class EnvConfig(Node):
    """The environment: which one, how many copies, how they are stepped."""

    id: Annotated[str, Field(min_length=1)]
    """A Gymnasium id (`CartPole-v1`), `module:Id` of a module that registers it, or `module:Class`."""
    kwargs: dict[str, Any] = {}
    """Keyword arguments for the environment's constructor."""
    num_envs: Count = 8
    """How many copies are stepped together."""
    backend: Annotated[str, Field(min_length=1)] = "auto"
    """How the copies are stepped: `auto`, or a registered backend such as `sync` (one by one, in this process)."""
    workers: Annotated[int, Field(ge=0)] = 0
    """`workers` backend: number of processes; 0: one for each core (never more than copies)."""
    half_batches: bool = False
    """`workers` backend: the policy acts on one half of the copies while the workers step the other half."""
    reset_ahead: Literal["auto"] | bool = "auto"
    """`workers` backend: spare copies, reset while workers wait; `auto`: where resets are known to be expensive."""
    on_crash: Literal["fail", "restart"] = "fail"
    """`workers` backend: when a copy raises or its process dies, `fail`, or `restart` it with new episodes."""
    wrappers: tuple[Wrapper, ...] = ()
    """Wrappers applied to each copy, innermost first."""
    max_episode_steps: Count | None = None
    """Truncate episodes after this many steps (default: what the environment registers)."""
    mask_key: str = "action_mask"
    """Observation key (of a Dict space) or `info` key that holds the action mask; ignored where absent."""
    info: tuple[str, ...] = ()
    """Numbers of the `info` dictionary to log by name, averaged over finished episodes."""
    success_key: str = "is_success"
    """`info` key that tells whether an episode succeeded; ignored where absent."""


class Experiment(Node):
    """Everything that defines a training run."""

    version: Literal[1] = CONFIG_VERSION
    """Version of this format; older files are migrated."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+@-]*$", max_length=100)] = "ppo"
    """Name of the experiment; part of the run folder's name."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Every random number of the run follows from it."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where networks live; what is absent falls back to the CPU with one printed line."""
    engine: Literal["auto", "eager", "compiled", "native"] = "auto"
    """What computes: `eager` PyTorch, `compiled` torch.compile (GPUs, long runs), `native` kernels for dense nets."""
    threads: Annotated[int, Field(ge=0)] = 0
    """PyTorch threads; 0: by the work of a minibatch, one for small networks and all cores for large ones."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """What convolutional encoders compute in; `auto`: `bfloat16` on a CPU with a unit for it, else `float32`."""
    runs_dir: str = "runs"
    """Folder that receives the run's folder."""
    init_from: str | None = None
    """A run (or checkpoint) whose policy weights and statistics to start from."""
    log_std_subtract: NonNegative = 0.0
    """Lower the logarithm of the policy's deviation by this before training, so that a clone explores less."""
    warm_start_steps: Annotated[int, Field(ge=0)] = 0
    """Environment steps that train the critic alone, at first (counted; rounded up to whole rollouts)."""
    env: EnvConfig
    policy: PolicyConfig = PolicyConfig()
    ppo: PpoConfig = PpoConfig()
    streams: dict[str, StreamConfig] = {}
    """Further reward streams by name (the stream `task` is configured under `ppo`)."""
    rewards: dict[str, RewardConfig] = {}
    """Further reward terms by name (the environment's own is always there)."""
    losses: dict[str, LossConfig] = {}
    """Further loss terms by name (policy, value and entropy are configured under `ppo`)."""
    demos: dict[str, DemosConfig] = {}
    """Demonstrations to learn from, by name; for how to learn from them see also `type: cloning` of `losses`."""
    sources: dict[str, CustomSource] = {}
    """Further sources of rollouts by name, classes of your own."""
    hooks: dict[str, HookConfig] = {}
    """Objects called at named moments of the training: a built-in one or a class of your own."""
    eval: EvalConfig = EvalConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    track: tuple[TrackerConfig, ...] = ()
    """Trackers besides the CSV and JSONL files, by short name or with options."""
    stop: StopConfig = StopConfig()
    video: VideoConfig = VideoConfig()

    @model_validator(mode="before")
    @classmethod
    def _short_names(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("track"), (list, tuple)):
            track = [{"type": t} if isinstance(t, str) else t for t in data["track"]]
            data = {**data, "track": track}
        return data

    @model_validator(mode="after")
    def _fits(self) -> Experiment:
        if TASK_STREAM in self.streams:
            raise ValueError("streams.task: the task stream is configured under ppo (gamma, gae_lambda, …)")
        for loss in BUILT_IN_LOSSES:
            if loss in self.losses:
                raise ValueError(f"losses.{loss}: the built-in losses are configured under ppo")
        if ENV_REWARD in self.rewards:
            raise ValueError("rewards.env: the environment's own reward is always there; choose another name")
        known = {TASK_STREAM, *self.streams}
        for name, term in self.rewards.items():
            if term.stream not in known:
                raise ValueError(f"rewards.{name}.stream: {term.stream!r} is none of {sorted(known)}")
            ends = term.stream == TASK_STREAM or self.streams[term.stream].episodic
            if isinstance(term, PotentialReward) and not ends:
                raise ValueError(
                    f"rewards.{name}.stream: {term.stream!r} must be episodic for type potential"
                )
        used = {term.stream for term in self.rewards.values()}
        for name in self.streams:
            if name not in used:
                raise ValueError(f"streams.{name}: no reward term writes to it")
        self._check_sources()
        rows = self.ppo.num_steps * self.env.num_envs
        if self.ppo.minibatch_size > rows:
            raise ValueError(
                f"ppo.minibatch_size={self.ppo.minibatch_size} is larger than the rollout: "
                f"ppo.num_steps={self.ppo.num_steps} × env.num_envs={self.env.num_envs} = {rows} rows"
            )
        head = self.policy.head
        if isinstance(head, GsdeHead) and self.ppo.num_steps % head.sample_freq:
            raise ValueError(
                f"policy.head.sample_freq={head.sample_freq} must divide ppo.num_steps={self.ppo.num_steps}"
            )
        return self

    @property
    def shares(self) -> dict[str, float]:
        """Share of each minibatch by source, at the start of the training; sources of share 0 for good are left out."""
        found = {
            name: node.mix_ratio for name, node in self.demos.items() if node.mix_ratio or node.mix_ratio_end
        }
        return found | {name: node.mix_ratio for name, node in self.sources.items() if node.mix_ratio}

    @property
    def from_data_alone(self) -> bool:
        """No environment is stepped: the sources take the whole of each minibatch."""
        return math.isclose(sum(self.shares.values()), 1.0)

    def _check_sources(self) -> None:
        for name in ("env", *self.sources):
            if name in self.demos or (name == "env" and name in self.sources):
                raise ValueError(f"the source {name!r} exists already; choose another name")
        ends = {
            name: node.mix_ratio if node.mix_ratio_end is None else node.mix_ratio_end
            for name, node in self.demos.items()
        }
        for shares in (self.shares, self.shares | ends):
            if sum(shares.values()) > 1.0 + 1e-9:
                each = ", ".join(f"{name} {share:g}" for name, share in shares.items())
                raise ValueError(f"the shares of the sources (mix_ratio) add up to more than 1: {each}")
        if self.from_data_alone and self.shares | ends != self.shares:
            raise ValueError(
                "demos: where the shares add up to 1 no environment is stepped; they cannot move"
            )
        if self.from_data_alone and self.ppo.overlap:
            raise ValueError("ppo.overlap: with a mix_ratio of 1 nothing is collected that could overlap")
        if self.from_data_alone and self.warm_start_steps:
            raise ValueError("warm_start_steps: with a mix_ratio of 1 no environment is stepped")
        cloning = [name for name, node in self.losses.items() if isinstance(node, CloningLoss)]
        if cloning and not self.demos and not self.sources:
            raise ValueError(
                f"losses.{cloning[0]}: cloning needs demonstrations, such as demos.expert.datasets=[…]"
            )
        if self.warm_start_steps and not self.ppo.value_coef:
            raise ValueError("warm_start_steps: with ppo.value_coef=0 there is no critic to train")
        if not self.ppo.surrogate and not self.losses:
            raise ValueError(
                "ppo.surrogate: without it some loss must train the policy, such as type: cloning"
            )
