"""Demonstrations as a source of rollouts: segments of recorded episodes, in the shape of a collector's.

Shapes: `M` recorded rows, `T` steps and `N` columns of a rollout.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from proximo.core import rng
from proximo.core.evaluate import judge
from proximo.core.timer import Timer
from proximo.core.types import Comparison, Correction, Policy, Rollout
from proximo.demos.behavior import inlier_weight, surrogate_weight
from proximo.demos.dataset import Dataset
from proximo.errors import UserError

Behavior = Literal["recorded", "cloned", "none"]
READ_ROWS = 4096


class DemoSource:
    """Pieces of a data set in random order, with V-trace weights for how far off-policy they are.

    A pass gives every row once: the rows form a ring, cut into pieces of `T` steps from a place that each pass draws;
    the last piece is shorter, its other rows are not valid. `alone`: a pass ends with its rollout, so that passes can
    be counted; else the next one goes on in the same rollout. Raises UserError where `behavior` asks for recorded
    log-probabilities that are missing, or a sequence does not fit.
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
        behavior: Behavior = "none",
        rho_bar: float = 1.0,
        c_bar: float = 1.0,
        ood: bool = False,
        sequence_length: int | None = None,
        alone: bool = False,
        clone: Any = None,
        held_out: Dataset | None = None,
        timer: Timer | None = None,
    ) -> None:
        if behavior == "recorded" and dataset.logp is None:
            raise UserError(
                f"demos.{name}.behavior: the data hold no log-probabilities of their actions; "
                "use cloned (with clone or init_from) or none"
            )
        if sequence_length is not None and num_steps % sequence_length:
            raise UserError(
                f"demos.{name}.segment={num_steps} must be a multiple of {sequence_length}, the sequences' length "
                "(ppo.sequence_length, else ppo.num_steps)"
            )
        self.dataset, self.held_out = dataset, held_out
        self.name = name
        self.behavior = behavior
        self.rho_bar, self.c_bar, self.ood = rho_bar, c_bar, ood
        self.num_steps, self.num_envs = num_steps, num_envs
        self.sequence_length = sequence_length or num_steps
        self.alone = alone
        self.timer = timer or Timer()
        self.clone = clone
        """The policy that stands for whoever recorded; frozen."""
        self.key = rng.stream_key(seed, f"demos/{name}")
        self.pieces = -(-dataset.rows // num_steps)
        """Of one pass."""
        self.drawn = 0
        self._start, self._episode, self._done = dataset.start, dataset.episode, dataset.done
        self._order: tuple[int, Tensor] = (-1, torch.zeros(0, dtype=torch.int64))

    @property
    def passes(self) -> int:
        """Whole passes over the data so far."""
        return self.drawn // self.pieces

    def collect(self, policy: Policy) -> Rollout:
        """`[T, N]`: the next `N` pieces."""
        with self.timer.phase("env"):
            first, count = self._next()
            step = torch.arange(self.num_steps)[:, None]
            rollout = self._rollout(policy, (first + step) % self.dataset.rows, step < count)
        if self.clone is not None:
            with self.timer.phase("estimate"):
                obs = self.clone.normalize(rollout.obs, self.clone.snapshot())
                rollout.logp_behavior = judge(self.clone, rollout, obs)[0]
        return rollout

    def in_order(self, policy: Policy) -> Iterator[Rollout]:
        """All rows once, one episode after the other, `[K, 1]` each; a memory gets whole episodes."""
        rows = self.dataset.rows
        pauses = (self._done.nonzero().flatten() + 1).tolist() if policy.recurrent else range(1, rows + 1)
        first = 0
        while first < rows:
            last = pauses[min(bisect_left(pauses, first + READ_ROWS), len(pauses) - 1)]
            index = torch.arange(first, last)[:, None]
            yield self._rollout(policy, index, torch.ones(index.shape, dtype=torch.bool))
            first = last

    def sample(self, policy: Policy, rows: int) -> Rollout:
        """About `rows` rows, evenly spread over the data, `[K, 1]`."""
        stride = max(1, self.dataset.rows // max(rows, 1))
        index = torch.arange(0, self.dataset.rows, stride)[:, None]
        return self._rollout(policy, index, torch.ones(index.shape, dtype=torch.bool))

    def correct(self, comparison: Comparison) -> Correction:
        """ρ = min(ratio, rho_bar), c = min(ratio, c_bar), surrogate weights; `behavior: none` takes the ratio for 1."""
        found = Correction()
        if self.behavior != "none":
            ratio = (comparison.logp_old - comparison.logp_behavior).exp()
            found.rho, found.c = ratio.clamp(max=self.rho_bar), ratio.clamp(max=self.c_bar)
            found.surrogate_weight = surrogate_weight(ratio)
        if self.ood and comparison.distance is not None:
            found.inlier = inlier_weight(comparison.distance, self._dimensions)
        return found

    def _next(self) -> tuple[Tensor, Tensor]:
        """Place on the ring and number of rows of the next `N` pieces, `[N]`."""
        first, count = torch.zeros(2, self.num_envs, dtype=torch.int64)
        filled = 0
        while filled < self.num_envs:
            number, at = divmod(self.drawn, self.pieces)
            if self.alone and filled and at == 0:
                break
            order = self._permutation(number)[at : at + self.num_envs - filled]
            here = slice(filled, filled + order.shape[0])
            first[here] = order * self.num_steps + self._phase(number)
            count[here] = (self.dataset.rows - order * self.num_steps).clamp(max=self.num_steps)
            self.drawn += order.shape[0]
            filled += order.shape[0]
        return first, count

    def _permutation(self, number: int) -> Tensor:
        if self._order[0] != number:
            self._order = number, rng.permutation(self.key, number, self.pieces, torch.device("cpu"))
        return self._order[1]

    def _phase(self, number: int) -> int:
        draw = rng.uniform(self.key, torch.tensor([number]), 0, 1, 1).double()
        return int(draw * self.num_steps)

    def _rollout(self, policy: Policy, index: Tensor, valid: Tensor) -> Rollout:
        data, rows = self.dataset, self.dataset.rows
        obs, action = data.take(index)
        self._dimensions = action[0, 0].numel()
        final_t, final_n = (self._done[index] & valid).nonzero(as_tuple=True)
        # After the last row comes the first: every episode has ended there.
        after = (index[-1] + 1) % rows
        rollout = Rollout(
            source=self.name,
            obs=obs,
            action=action,
            logp_behavior=torch.zeros(index.shape) if data.logp is None else data.logp[index],
            start=self._start[index],
            reward=data.reward[index],
            terminated=data.terminated[index] & valid,
            truncated=data.truncated[index] & valid,
            valid=valid,
            final_t=final_t,
            final_n=final_n,
            final_obs=data.final(self._episode[index[final_t, final_n]]),
            last_obs=data.take(after)[0],
            last_start=self._start[after],
            state=self._memory(policy, index.shape),
            sequence_length=min(self.sequence_length, index.shape[0]),
            stats=policy.snapshot(),
            fresh=False,
        )
        rollout = _to(rollout, next(iter(policy.parameters())).device)
        if data.form == "environment":
            rollout.action = policy.from_env(rollout.action)
            rollout.logp_behavior = rollout.logp_behavior + policy.log_width
        return rollout

    def _memory(self, policy: Policy, shape: tuple[int, ...]) -> dict[str, Tensor]:
        # What was remembered before a segment is unknown: every sequence begins with a fresh memory.
        sequences = max(1, shape[0] // self.sequence_length)
        initial = policy.initial_state(shape[1])
        return {key: entry[None].repeat(sequences, *[1] * entry.dim()) for key, entry in initial.items()}

    def state_dict(self) -> dict[str, Any]:
        """How many pieces were drawn, and the cloned policy where there is one."""
        weights = {} if self.clone is None else {"clone": dict(self.clone.state_dict())}
        return {"drawn": self.drawn, **weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.drawn = int(state["drawn"])
        if self.clone is not None:
            self.clone.load_state_dict(state["clone"])


def _to(rollout: Rollout, device: torch.device) -> Rollout:
    if device.type == "cpu":
        return rollout
    for name, value in vars(rollout).items():
        if isinstance(value, Tensor):
            setattr(rollout, name, value.to(device))
        elif isinstance(value, dict):
            setattr(rollout, name, {key: entry.to(device) for key, entry in value.items()})
    return rollout
