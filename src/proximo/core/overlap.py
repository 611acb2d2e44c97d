"""Collecting beside learning: rollouts that are one update old, and what corrects for that.

While the learner works on one rollout, a thread acts for the next with a copy of the parameters as they were when
the update began. The copy never moves meanwhile, so the numbers do not depend on which of the two is faster.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from proximo.core.collect import Collector
from proximo.core.tape import Tape
from proximo.core.timer import Timer
from proximo.core.types import Comparison, Correction, Episode, Policy, Rollout


class OverlappedCollector:
    """A collector's rollouts with lag one: the next is under way while the last is learnt from.

    A row was acted with the parameters before the update that its predecessors are learnt in, so it is corrected as
    V-trace does: ρ = min(π/μ, 1) and c = min(π/μ, 1), with π the policy that is about to learn and μ the copy that
    acted. The normaliser's snapshot that a rollout carries is the copy's. The very first rollout has no lag.
    """

    off_policy = True
    fresh = True

    def __init__(self, collector: Collector, actor: Callable[[], Policy]) -> None:
        self.collector = collector
        # A thread of its own, a timer of its own.
        self.timer, collector.timer = collector.timer, Timer()
        self.name = collector.name
        self._make_actor = actor
        self._actor: Policy | None = None
        self._tapes = (collector.tape, Tape(collector.num_steps, collector.device))
        self._turn = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="collect")
        self._pending: Future[Rollout] | None = None

    def collect(self, policy: Policy) -> Rollout:
        """The rollout that is due; begins the next one with the parameters of now."""
        with self.timer.phase("act"):
            ready = self._pending.result() if self._pending is not None else None
            self.timer.add(self.collector.timer.take())
            actor = self._copy(policy)
            if ready is None:
                ready = self._record(actor)
                self.collector.timer.take()
            self._pending = self._thread.submit(self._record, actor)
        return ready

    def correct(self, comparison: Comparison) -> Correction:
        """V-trace's ρ and c, both capped at 1; the advantage carries ρ, so the surrogate takes no further weight."""
        ratio = (comparison.logp_old - comparison.logp_behavior).exp().clamp(max=1.0)
        return Correction(rho=ratio, c=ratio)

    def settle(self) -> None:
        """Wait until nothing runs in the background. Raises what collecting raised."""
        if self._pending is not None:
            self._pending.result()

    def close(self) -> None:
        """End the thread; the environments stay open."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def state_dict(self) -> dict[str, Any]:
        """The collector's state and the rollout that waits to be learnt from."""
        pending = None if self._pending is None else _packed(self._pending.result())
        return {"collector": self.collector.state_dict(), "pending": pending}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.settle()
        self.collector.load_state_dict(state["collector"])
        self._pending = None
        if state["pending"] is not None:
            self._pending = Future()
            self._pending.set_result(_unpacked(state["pending"], self.collector.device))

    def _record(self, actor: Policy) -> Rollout:
        # Two memories in turn: one is learnt from while the other is written.
        self.collector.tape = self._tapes[self._turn]
        self._turn = 1 - self._turn
        return self.collector.collect(actor)

    @torch.no_grad()
    def _copy(self, policy: Policy) -> Policy:
        if self._actor is None:
            self._actor = self._make_actor()
        for mine, theirs in zip(_tensors(self._actor), _tensors(policy), strict=True):
            mine.copy_(theirs)
        return self._actor


def _tensors(policy: Any) -> chain[Tensor]:
    # Buffers that no checkpoint holds count too: the normaliser's float32 form is one.
    return chain(policy.parameters(), policy.buffers())


def _packed(rollout: Rollout) -> dict[str, Any]:
    packed = {field.name: getattr(rollout, field.name) for field in fields(Rollout)}
    packed["episodes"] = [vars(episode) for episode in rollout.episodes]
    return packed


def _unpacked(packed: dict[str, Any], device: torch.device) -> Rollout:
    def move(entry: Any) -> Any:
        if isinstance(entry, Tensor):
            return entry.to(device)
        return {key: move(value) for key, value in entry.items()} if isinstance(entry, dict) else entry

    moved = {name: entry if name == "info" else move(entry) for name, entry in packed.items()}
    return Rollout(**moved | {"episodes": [Episode(**entry) for entry in packed["episodes"]]})
