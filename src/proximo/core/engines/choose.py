"""Which engine computes: native where it can do everything asked of it, else eager; compiled where it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from proximo.core.batching import Batching, Units
from proximo.core.engines.compiled import CURE, Compiled, Say
from proximo.core.engines.eager import Eager, Plan
from proximo.core.engines.native import Native
from proximo.core.engines.native.library import status
from proximo.core.optim import Optimizer
from proximo.core.returns import Recursions
from proximo.core.stepping import Stepping
from proximo.core.types import LossTerm, Policy, VecEnv
from proximo.errors import UserError


class Engine(Protocol):
    """Acts, values and learns; owns no random numbers and nothing that a checkpoint needs."""

    name: str
    recursions: Recursions

    def policy(self, policy: Any) -> Policy:
        """The policy as this engine acts and values with it."""

    def actor(self, policy: Any) -> Policy:
        """A copy of what `policy` gave, with parameters of its own, to act while that one learns."""

    def stepping(self, env: VecEnv) -> Stepping:
        """How a collector goes through the steps of `env`."""

    def learn(
        self,
        policy: Any,
        optimizer: Optimizer,
        losses: Sequence[LossTerm],
        batching: Batching,
        parts: Sequence[Units],
        plan: Plan,
    ) -> dict[str, float]:
        """All epochs and minibatches of one update; returns its metrics."""


def choose_engine(
    wanted: str,
    policy: Any,
    losses: Sequence[LossTerm],
    batching: Batching,
    optimizer: Optimizer,
    say: Say = print,
    *,
    warm_start: bool = False,
) -> tuple[Engine, str]:
    """The engine and why it was chosen; UserError where the one asked for cannot do what is configured.

    `auto` never takes compiled: on a CPU it gains less than it costs, on a GPU nobody has run it yet
    (docs/design.md). `say` gets the line with the time that compiling took. `warm_start`: the critic is to be trained
    alone at first.
    """
    if wanted == "eager":
        return Eager(), "as configured"
    if wanted == "compiled":
        compiled = Compiled.refuses(policy, losses, batching, warm_start)
        if compiled is not None:
            raise UserError(f"engine: compiled cannot do this: {compiled}; {CURE}")
        return Compiled(say), "as configured"
    native = Native.refuses(policy, losses, batching, optimizer, warm_start)
    if native is None:
        return Native(policy), f"kernels {status()}"
    if wanted == "native":
        raise UserError(f"engine: native cannot do this: {native}; use engine: auto or eager")
    return Eager(), f"native does not do this: {native}"
