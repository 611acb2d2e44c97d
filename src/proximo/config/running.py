"""What happens around the training: evaluation, checkpoints, stops, videos, trackers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from proximo.config.base import Count, Custom, Node, Positive, tag_of


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
    """TensorBoard event files."""

    type: Literal["tensorboard"] = "tensorboard"
    folder: str | None = None
    """Where they go (default: `tensorboard` in the run's folder)."""


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
    Discriminator(tag_of),
]
