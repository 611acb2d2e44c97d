"""The algorithm's part of the tree."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from proximo.config.base import Count, Fraction, Node, NonNegative, Positive


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
    surrogate: bool = True
    """False: without the clipped surrogate; then only `losses` train the actor (cloning alone)."""
    value_clip: Positive | None = None
    """Also clip the value function's change to ± this (default: off)."""
    entropy_coef: NonNegative = 0.0
    """Weight of the entropy bonus."""
    entropy_schedule: Literal["constant", "linear"] = "constant"
    """Linear: the entropy bonus falls to 0 at `total_steps`."""
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
    """Random steps before training that set the observation statistics (counted; at least 16 a copy; 0: none)."""
    overlap: bool = False
    """Collect the next rollout while learning from the last: rows are one update old, which V-trace corrects."""
    entropy_alarm: Fraction = 0.05
    """Warn when a discrete policy's entropy falls below this fraction of its maximum (0: never)."""

    @model_validator(mode="after")
    def _fits(self) -> PpoConfig:
        length = self.sequence_length
        if length is not None and self.num_steps % length:
            raise ValueError(f"ppo.sequence_length={length} must divide ppo.num_steps={self.num_steps}")
        if not self.surrogate and (self.target_kl is not None or self.lr_schedule == "adaptive"):
            raise ValueError("ppo.surrogate: ppo.target_kl and an adaptive rate go by the surrogate's KL")
        return self
