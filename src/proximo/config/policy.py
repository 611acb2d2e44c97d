"""The policy's part of the tree: encoders, memory, heads."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from proximo.config.base import Count, Custom, Node, Positive, Widths, tag_of


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


class TherapyEncoder(Node):
    """For `proximo/Therapy-v0`: embeddings of the client's octant and of the history, and two dense layers."""

    type: Literal["therapy"] = "therapy"
    hidden_size: Count = 256
    """Width of both layers."""
    client_features: Count = 16
    """Width of the embedding of the client's octant."""
    history_features: Count = 8
    """Width of the embedding of each entry of the history."""


EncoderConfig = Annotated[
    Annotated[AutoEncoder, Tag("auto")]
    | Annotated[FlatEncoder, Tag("flat")]
    | Annotated[MlpEncoder, Tag("mlp")]
    | Annotated[ResnetMlpEncoder, Tag("resnet_mlp")]
    | Annotated[NatureCnnEncoder, Tag("nature_cnn")]
    | Annotated[ImpalaCnnEncoder, Tag("impala_cnn")]
    | Annotated[TherapyEncoder, Tag("therapy")]
    | Annotated[Custom, Tag("custom")],
    Discriminator(tag_of),
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


HeadConfig = Annotated[AutoHead | GaussianHead | SquashedGaussianHead | GsdeHead, Field(discriminator="type")]


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
    """Scale float observations to mean 0 and deviation 1 by running statistics (never images or masks)."""
    obs_clip: Positive = 10.0
    """Normalised observations are clipped to ± this many deviations."""
