"""What an experiment may add by name: reward streams and terms, loss terms, hooks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from proximo.config.base import Count, Custom, Fraction, Node, NonNegative, Positive, tag_of

TASK_STREAM = "task"


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


class PotentialReward(Node):
    """Potential-based shaping: γΦ(s′) − Φ(s), Φ a number of `info`; what is best to do stays best (Ng et al. 1999)."""

    type: Literal["potential"] = "potential"
    after: Annotated[str, Field(min_length=1)]
    """Key in `info` of Φ after the step (for `proximo/Therapy-v0`: `progress`)."""
    before: Annotated[str, Field(min_length=1)]
    """Key in `info` of Φ before the step (for `proximo/Therapy-v0`: `progress_before`)."""
    stream: str = TASK_STREAM
    """The stream it writes to; γ is that stream's."""
    weight: float = 1.0
    """Weight inside the stream, in units of the environment's reward."""


RewardConfig = Annotated[
    Annotated[EnvReward, Tag("env")]
    | Annotated[PotentialReward, Tag("potential")]
    | Annotated[CustomReward, Tag("custom")],
    Discriminator(tag_of),
]


class CloningLoss(Node):
    """Behaviour cloning on demonstration rows: minus the mean log-probability of their actions."""

    type: Literal["cloning"] = "cloning"
    weight: NonNegative = 1.0
    """Weight in the total loss."""
    weight_end: NonNegative | None = None
    """The weight moves to this in a straight line (default: it stays)."""
    until: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Part of the training after which `weight_end` is reached."""


class CustomLoss(Custom):
    """A loss term of your own: a class with `__call__(output, batch) -> scalar tensor`."""

    weight: float = 1.0
    """Weight in the total loss."""


LossConfig = Annotated[
    Annotated[CloningLoss, Tag("cloning")] | Annotated[CustomLoss, Tag("custom")], Discriminator(tag_of)
]


class CurriculumHook(Node):
    """Moves a parameter of the training environments in steps, from easy to hard, as success allows."""

    type: Literal["curriculum"] = "curriculum"
    parameter: Annotated[str, Field(min_length=1)]
    """What the environment's `configure` (or an attribute of it) is called, such as `threshold`."""
    start: int | float
    """Its value at the beginning."""
    end: int | float
    """Its value at last; may be below `start`. Evaluations always have what `env.kwargs` says."""
    step: Positive = 0.05
    """How far it moves at a time."""
    metric: str = "success_rate"
    """The metric that decides; `success_rate` and `return_mean` are over the last 100 training episodes."""
    above: float = 0.7
    """It moves on where the metric is at least this."""
    episodes: Count = 200
    """Training episodes that must end between two moves, so that the metric speaks of the present value."""

    @model_validator(mode="after")
    def _moves(self) -> CurriculumHook:
        if self.start == self.end:
            raise ValueError(f"start and end are both {self.start}: there is nothing to move")
        return self


HookConfig = Annotated[
    Annotated[CurriculumHook, Tag("curriculum")] | Annotated[Custom, Tag("custom")], Discriminator(tag_of)
]
