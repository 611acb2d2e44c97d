"""The experiment tree: at once the YAML file, the command line, the Python API and the editor's schema.

The string under a field is the only place where that field is explained.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

CONFIG_VERSION = 1
TASK_STREAM = "task"
BUILT_IN_LOSSES = ("policy", "value", "entropy")

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Widths = tuple[Count, ...]


class Node(BaseModel):
    """Base of every part of the tree: frozen, no unknown keys, docstrings as descriptions."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False, validate_default=True
    )


class Custom(Node):
    """A class of your own, named as `module:Class` or `file.py:Class`."""

    type: Annotated[str, Field(pattern=r"^[^:]+:[A-Za-z_][A-Za-z0-9_.]*$")]
    """`module:Class` (importable) or `path/to/file.py:Class` (relative to the working directory)."""
    kwargs: dict[str, Any] = {}
    """Keyword arguments for its constructor, checked against its signature."""


def _tag(value: Any) -> str:
    name = value.get("type", "") if isinstance(value, dict) else getattr(value, "type", "")
    return "custom" if ":" in str(name) else str(name)


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


class AutoEncoder(Node):
    """Chosen by the observation: NatureCNN for images, flat numbers for the rest, one encoder per Dict key."""

    type: Literal["auto"] = "auto"


class FlatEncoder(Node):
    """No network: the observation flattened to a vector (discrete values one-hot)."""

    type: Literal["flat"] = "flat"


class MlpEncoder(Node):
    """A plain multilayer perceptron in front of the heads' own layers."""

    type: Literal["mlp"] = "mlp"
    hidden_sizes: Widths = (64, 64)
    """Width of each layer."""
    activation: str = "Tanh"
    """Name of any `torch.nn` activation."""


class ResnetMlpEncoder(Node):
    """Residual MLP: Linear, two residual blocks of two layers, Linear; (n+1)F + 5(F+1)F parameters."""

    type: Literal["resnet_mlp"] = "resnet_mlp"
    features_dim: Count = 128
    """Width F of every layer."""


class NatureCnnEncoder(Node):
    """The three-layer convolutional network of Mnih et al. 2015."""

    type: Literal["nature_cnn"] = "nature_cnn"
    features_dim: Count = 512
    """Width of the last layer."""


class ImpalaCnnEncoder(Node):
    """The residual convolutional network of Espeholt et al. 2018."""

    type: Literal["impala_cnn"] = "impala_cnn"
    features_dim: Count = 256
    """Width of the last layer."""
    channels: Widths = (16, 32, 32)
    """Channels of each residual section."""


EncoderConfig = Annotated[
    Annotated[AutoEncoder, Tag("auto")]
    | Annotated[FlatEncoder, Tag("flat")]
    | Annotated[MlpEncoder, Tag("mlp")]
    | Annotated[ResnetMlpEncoder, Tag("resnet_mlp")]
    | Annotated[NatureCnnEncoder, Tag("nature_cnn")]
    | Annotated[ImpalaCnnEncoder, Tag("impala_cnn")]
    | Annotated[Custom, Tag("custom")],
    Discriminator(_tag),
]


class NoMemory(Node):
    """Feed-forward: the policy sees the current observation only."""

    type: Literal["none"] = "none"


class GruMemory(Node):
    """A gated recurrent unit between encoder and heads."""

    type: Literal["gru"] = "gru"
    size: Count = 128
    """Width of the hidden state."""


class LstmMemory(Node):
    """A long short-term memory between encoder and heads."""

    type: Literal["lstm"] = "lstm"
    size: Count = 128
    """Width of the hidden state."""


MemoryConfig = Annotated[NoMemory | GruMemory | LstmMemory, Field(discriminator="type")]


class AutoHead(Node):
    """Chosen by the action space: categorical (masked where there is a mask), Gaussian, multi-discrete or binary."""

    type: Literal["auto"] = "auto"


class GaussianHead(Node):
    """Diagonal Gaussian; the environment receives the action clipped to its bounds."""

    type: Literal["gaussian"] = "gaussian"
    log_std_init: float = 0.0
    """Initial logarithm of the standard deviation."""
    state_dependent_std: bool = False
    """Compute the deviation from the observation instead of learning one number per dimension."""


class SquashedGaussianHead(Node):
    """Diagonal Gaussian through tanh, rescaled to the action bounds."""

    type: Literal["squashed_gaussian"] = "squashed_gaussian"
    log_std_init: float = 0.0
    """Initial logarithm of the standard deviation before the tanh."""
    state_dependent_std: bool = False
    """Compute the deviation from the observation."""


class GsdeHead(Node):
    """Generalised state-dependent exploration (Raffin et al. 2021): smooth noise, held for several steps."""

    type: Literal["gsde"] = "gsde"
    log_std_init: float = -2.0
    """Initial logarithm of the exploration matrix' deviation."""
    sample_freq: Count = 4
    """Draw a new exploration matrix every this many steps (it must divide `ppo.num_steps`)."""
    full_std: bool = True
    """One deviation per feature and action dimension, else one per feature."""


HeadConfig = Annotated[
    AutoHead | GaussianHead | SquashedGaussianHead | GsdeHead, Field(discriminator="type")
]


class PolicyConfig(Node):
    """The actor-critic: encoder, memory, layers, head."""

    hidden_sizes: Widths = (64, 64)
    """Layers of the actor after encoder and memory; may be empty."""
    value_hidden_sizes: Widths | None = None
    """Layers of the critic; default: as `hidden_sizes`."""
    activation: str = "Tanh"
    """Name of any `torch.nn` activation."""
    encoder: EncoderConfig = AutoEncoder()
    """What turns the observation into features."""
    encoders: dict[str, EncoderConfig] = {}
    """For Dict observations: an encoder for single keys (the others are chosen automatically)."""
    share_encoder: bool = False
    """One encoder and memory for actor and critic, instead of one each."""
    memory: MemoryConfig = NoMemory()
    """Recurrent memory between encoder and layers."""
    head: HeadConfig = AutoHead()
    """The action distribution."""
    ortho_init: bool = True
    """Orthogonal initialisation (gain √2 inside, 0.01 for the actor's last layer, 1 for the critic's)."""
    normalize_obs: bool = True
    """Scale unbounded float observations to mean 0 and deviation 1 by running statistics (never images, masks or discrete values)."""
    obs_clip: Positive = 10.0
    """Normalised observations are clipped to ± this many deviations."""


class PpoConfig(Node):
    """The algorithm: rollout length, optimisation, the task stream and the three built-in losses."""

    total_steps: Count = 500_000
    """Environment steps of the whole training; rounded up to whole rollouts."""
    num_steps: Count = 256
    """Steps of each environment per rollout."""
    epochs: Count = 10
    """Passes over a rollout per update."""
    minibatch_size: Count = 64
    """Rows per optimiser step (whole sequences for memory policies)."""
    sequence_length: Count | None = None
    """Memory policies: steps of back-propagation through time; must divide `num_steps` (default: all of it)."""
    learning_rate: Positive = 3e-4
    """Step size of Adam at the start."""
    lr_schedule: Literal["constant", "linear", "cosine", "adaptive"] = "constant"
    """How the learning rate moves: linear and cosine fall to 0 at `total_steps`; adaptive follows `desired_kl`."""
    desired_kl: Positive = 0.01
    """Adaptive schedule: above twice this KL the rate falls by 1.5, below half of it the rate rises by 1.5."""
    gamma: Fraction = 0.99
    """Discount of the task stream."""
    gae_lambda: Fraction = 0.95
    """Bias–variance trade-off of the advantage estimate of the task stream."""
    clip: Positive = 0.2
    """The probability ratio counts only within 1 ± this."""
    clip_schedule: Literal["constant", "linear"] = "constant"
    """Linear: the clip range falls to 0 at `total_steps`."""
    value_clip: Positive | None = None
    """Also clip the value function's change to ± this (default: off)."""
    entropy_coef: NonNegative = 0.0
    """Weight of the entropy bonus."""
    value_coef: NonNegative = 0.5
    """Weight of the value loss (mean squared error, without ½)."""
    max_grad_norm: Positive = 0.5
    """The gradient's norm over all parameters is clipped to this."""
    target_kl: Positive | None = None
    """Stop the update when the approximate KL of a minibatch exceeds 1.5 times this (default: never)."""
    normalize_advantage: Literal["minibatch", "rollout", "none"] = "minibatch"
    """Over which rows advantages are centred and scaled to deviation 1."""
    normalize_reward: bool = True
    """Divide the task stream's reward by the running deviation of its discounted return."""
    reward_clip: Positive = 10.0
    """Scaled rewards are clipped to ± this."""
    adam_eps: Positive = 1e-5
    """Adam's epsilon."""
    weight_decay: NonNegative = 0.0
    """Decoupled weight decay (AdamW)."""
    prime_steps: Annotated[int, Field(ge=0)] = 256
    """Random steps before training from which the observation statistics are set (counted as steps; 0: none)."""
    entropy_alarm: Fraction = 0.05
    """Warn when a discrete policy's entropy falls below this fraction of its maximum (0: never)."""

    @model_validator(mode="after")
    def _fits(self) -> PpoConfig:
        length = self.sequence_length
        if length is not None and self.num_steps % length:
            raise ValueError(f"ppo.sequence_length={length} must divide ppo.num_steps={self.num_steps}")
        return self


class StreamConfig(Node):
    """A reward stream beside the task's: own value head, own discount."""

    weight: float = 1.0
    """Weight of its advantage in the policy's."""
    gamma: Fraction = 0.99
    """Discount."""
    gae_lambda: Fraction = 0.95
    """Lambda of its advantage estimate."""
    normalize_reward: bool = True
    """Divide its reward by the running deviation of its discounted return."""
    episodic: bool = True
    """False: returns run on across episode ends (as curiosity's do)."""


class EnvReward(Node):
    """The environment's own reward."""

    type: Literal["env"] = "env"
    stream: str = TASK_STREAM
    """The stream it writes to."""
    weight: float = 1.0
    """Weight inside the stream."""


class CustomReward(Custom):
    """A reward term of your own: a class with `__call__(rollout) -> [T, N]` and optionally `update(rollout)`."""

    stream: str = TASK_STREAM
    """The stream it writes to."""
    weight: float = 1.0
    """Weight inside the stream."""


RewardConfig = Annotated[
    Annotated[EnvReward, Tag("env")] | Annotated[CustomReward, Tag("custom")], Discriminator(_tag)
]


class CloningLoss(Node):
    """Behaviour cloning on demonstration rows: minus the mean log-probability of their actions."""

    type: Literal["cloning"] = "cloning"
    weight: float = 1.0
    """Weight in the total loss."""


class CustomLoss(Custom):
    """A loss term of your own: a class with `__call__(output, batch) -> scalar tensor`."""

    weight: float = 1.0
    """Weight in the total loss."""


LossConfig = Annotated[
    Annotated[CloningLoss, Tag("cloning")] | Annotated[CustomLoss, Tag("custom")], Discriminator(_tag)
]


class EvalConfig(Node):
    """Evaluation: on environments of its own, with a fixed list of seeds."""

    num_evals: Annotated[int, Field(ge=0)] = 10
    """Evaluations during training, evenly spaced, the last at the end; 0: none."""
    episodes: Count = 10
    """Episodes per evaluation; episode i always uses the same seed."""
    seed: Annotated[int, Field(ge=0)] = 1_000_003
    """Start of the seed list; never used for training."""
    mode: Literal["deterministic", "stochastic", "both"] = "deterministic"
    """Act by the distribution's mode, by sampling, or measure both (the first is then the headline)."""
    random_episodes: Count = 20
    """Episodes of the random policy that the verdict compares with (measured once per environment)."""


class CheckpointConfig(Node):
    """When checkpoints are written and how many are kept."""

    every: Count | None = None
    """Environment steps between checkpoints (default: a tenth of the run)."""
    keep: Count = 3
    """How many of the newest to keep, besides the best one."""


class StopConfig(Node):
    """Stop before `ppo.total_steps`."""

    return_mean: float | None = None
    """Stop when the mean return of an evaluation (or, without evaluations, of the last 100 episodes) reaches this."""
    minutes: Positive | None = None
    """Stop after this much wall time (counted over resumes)."""


class VideoConfig(Node):
    """Videos of the agent, recorded on an environment of their own."""

    every: Count | None = None
    """Environment steps between videos (default: none)."""
    length: Count = 500
    """Frames of a video."""
    after_eval: bool = False
    """Record one after each evaluation."""
    fps: Annotated[int, Field(ge=0)] = 0
    """Frames per second; 0: what the environment declares."""


class TensorboardTracker(Node):
    """TensorBoard event files in the run's folder."""

    type: Literal["tensorboard"] = "tensorboard"


class WandbTracker(Node):
    """Weights & Biases."""

    type: Literal["wandb"] = "wandb"
    project: str = "proximo"
    """Project name."""
    group: str | None = None
    """Group of the run."""
    mode: Literal["online", "offline", "auto"] = "auto"
    """`auto`: online when a login is found, otherwise offline (printed)."""
    sync_tensorboard: bool = False
    """Also upload what TensorBoard writes."""
    monitor_gym: bool = True
    """Upload the videos."""
    save_model: bool = True
    """Upload the final checkpoint, so that the run can be downloaded and played."""


class TrackioTracker(Node):
    """trackio: a local dashboard (SQLite)."""

    type: Literal["trackio"] = "trackio"
    project: str = "proximo"
    """Project name."""


TrackerConfig = Annotated[
    Annotated[TensorboardTracker, Tag("tensorboard")]
    | Annotated[WandbTracker, Tag("wandb")]
    | Annotated[TrackioTracker, Tag("trackio")]
    | Annotated[Custom, Tag("custom")],
    Discriminator(_tag),
]


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
    engine: Literal["auto", "eager"] = "auto"
    """What computes acting and learning; `eager` is plain PyTorch."""
    threads: Annotated[int, Field(ge=0)] = 0
    """PyTorch threads; 0: one for small networks, all cores for convolutional ones."""
    runs_dir: str = "runs"
    """Folder that receives the run's folder."""
    init_from: str | None = None
    """A run (or checkpoint) whose policy weights and statistics to start from."""
    env: EnvConfig
    policy: PolicyConfig = PolicyConfig()
    ppo: PpoConfig = PpoConfig()
    streams: dict[str, StreamConfig] = {}
    """Further reward streams by name (the stream `task` is configured under `ppo`)."""
    rewards: dict[str, RewardConfig] = {}
    """Further reward terms by name (the environment's own is always there)."""
    losses: dict[str, LossConfig] = {}
    """Further loss terms by name (policy, value and entropy are configured under `ppo`)."""
    sources: dict[str, Custom] = {}
    """Further sources of rollouts by name, such as demonstrations."""
    mix_ratio: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    """Share of each minibatch that comes from `sources` (only where there are any)."""
    hooks: dict[str, Custom] = {}
    """Objects called at named moments of the training."""
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
        known = {TASK_STREAM, *self.streams}
        for name, term in self.rewards.items():
            if term.stream not in known:
                raise ValueError(f"rewards.{name}.stream: {term.stream!r} is none of {sorted(known)}")
        used = {term.stream for term in self.rewards.values()}
        for name in self.streams:
            if name not in used:
                raise ValueError(f"streams.{name}: no reward term writes to it")
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
