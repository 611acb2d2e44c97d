"""Demonstrations as a source of rollouts: segments of recorded episodes, in the shape of a collector's.

Shapes: `T` steps and `N` columns of a segment batch.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from proximo.core import rng
from proximo.core.types import Correction, Policy, Rollout
from proximo.demos.dataset import Dataset
from proximo.errors import UserError

MIN_SURROGATE_WEIGHT = 0.01


class DemoSource:
    """Random segments of a data set, with V-trace weights for how far off-policy they are.

    `behavior="recorded"` takes ratios against the recorded log-probabilities; `"none"` treats the data as if the
    present policy had acted (ratio 1), for data without them. `rho_bar`, `c_bar` cap the ratios.
    """

    fresh, off_policy = False, True

    def __init__(
        self,
        dataset: Dataset,
        num_steps: int,
        num_envs: int,
        seed: int,
        *,
        name: str = "demos",
        behavior: Literal["recorded", "none"] = "none",
        rho_bar: float = 1.0,
        c_bar: float = 1.0,
        sequence_length: int | None = None,
    ) -> None:
        if behavior == "recorded" and dataset.logp is None:
            raise UserError(f"sources.{name}: no recorded log-probabilities; use behavior: none")
        self.dataset = dataset
        self.name = name
        self.behavior = behavior
        self.rho_bar = rho_bar
        self.c_bar = c_bar
        self.num_steps = min(num_steps, dataset.rows)
        if sequence_length is not None and self.num_steps % sequence_length:
            raise UserError(
                f"sources.{name}: {self.num_steps} recorded steps do not fill a sequence of {num_steps}"
            )
        self.num_envs = num_envs
        self.sequence_length = sequence_length or self.num_steps
        self.key = rng.stream_key(seed, f"demos/{name}")
        self.collected = 0
        self._start, self._episode = dataset.start, dataset.episode

    def collect(self, policy: Policy) -> Rollout:
        """`[T, N]` consecutive steps from `N` random places."""
        data, rows = self.dataset, self.dataset.rows
        columns = torch.arange(self.num_envs)
        draw = rng.uniform(self.key, columns, self.collected, 1, 1)[0, :, 0].double()
        self.collected += 1
        offset = (draw * (rows - self.num_steps + 1)).long()
        index = offset[None, :] + torch.arange(self.num_steps)[:, None]
        final_t, final_n = data.done[index].nonzero(as_tuple=True)
        ended = self._episode[index[final_t, final_n]]
        # After the last episode comes the first: a non-episodic stream goes on from a reset observation.
        after = (index[-1] + 1) % rows
        obs, action = data.take(index)
        last_obs, _ = data.take(after)
        rollout = Rollout(
            source=self.name,
            obs=obs,
            action=action,
            logp_behavior=torch.zeros(index.shape) if data.logp is None else data.logp[index],
            start=self._start[index],
            reward=data.reward[index],
            terminated=data.terminated[index],
            truncated=data.truncated[index],
            valid=torch.ones(index.shape, dtype=torch.bool),
            final_t=final_t,
            final_n=final_n,
            final_obs=data.final(ended),
            last_obs=last_obs,
            last_start=self._start[after],
            state=self._memory(policy),
            sequence_length=self.sequence_length,
            stats=policy.snapshot(),
            fresh=False,
        )
        return _to(rollout, next(iter(policy.parameters())).device)

    def _memory(self, policy: Policy) -> dict[str, Tensor]:
        # What was remembered before a segment is unknown: every sequence begins with a fresh memory.
        sequences = self.num_steps // self.sequence_length
        initial = policy.initial_state(self.num_envs)
        return {key: entry[None].repeat(sequences, *[1] * entry.dim()) for key, entry in initial.items()}

    def correct(self, logp_old: Tensor, logp_behavior: Tensor) -> Correction:
        """ρ = min(ratio, rho_bar), c = min(ratio, c_bar); surrogate weight clip(ratio, 0.01, 1)."""
        if self.behavior == "none":
            return Correction()
        ratio = (logp_old - logp_behavior).exp()
        return Correction(
            rho=ratio.clamp(max=self.rho_bar),
            c=ratio.clamp(max=self.c_bar),
            surrogate_weight=ratio.clamp(MIN_SURROGATE_WEIGHT, 1.0),
        )

    def state_dict(self) -> dict[str, Any]:
        """How many segment batches were drawn."""
        return {"collected": self.collected}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.collected = int(state["collected"])


def _to(rollout: Rollout, device: torch.device) -> Rollout:
    if device.type == "cpu":
        return rollout
    for name, value in vars(rollout).items():
        if isinstance(value, Tensor):
            setattr(rollout, name, value.to(device))
        elif isinstance(value, dict):
            setattr(rollout, name, {key: entry.to(device) for key, entry in value.items()})
    return rollout
