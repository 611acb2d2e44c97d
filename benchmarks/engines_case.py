"""The update that `engines.py` measures: its shapes and data, and the two sides that Proximo has itself.

Shapes: `M` rows of an update, `B` of a minibatch, `D` observations, `A` actions (choices or dimensions).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete

from proximo.build import build_policy
from proximo.config.experiment import Experiment
from proximo.core.batching import RowBatches, Units
from proximo.core.engines.eager import Eager, Plan
from proximo.core.engines.native import Native
from proximo.core.losses import EntropyLoss, PolicyLoss, ValueLoss
from proximo.core.optim import Optimizer
from proximo.core.types import EnvSpec

RATE, BETA1, BETA2, EPS = 3e-4, 0.9, 0.999, 1e-5
CLIP, VALUE_COEF, ENTROPY_COEF, MAX_NORM = 0.2, 0.5, 0.01, 0.5
ORDER_KEY = 7
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """One update: `epochs` passes over `rows` rows in minibatches."""

    name: str
    obs: int
    actions: int
    discrete: bool
    rows: int
    epochs: int
    minibatch: int

    @property
    def minibatches(self) -> int:
        """Steps of the optimiser in one update."""
        return self.epochs * self.rows // self.minibatch


CASES = {
    case.name: case
    for case in (
        Case("W1", 4, 2, True, 1024, 4, 256),
        Case("W2a", 17, 6, False, 2048, 10, 64),
        Case("W2b", 17, 6, False, 2048, 10, 512),
    )
}


class Side(Protocol):
    """One implementation of the update, with parameters of its own."""

    def update(self) -> None: ...
    def parameters(self) -> list[np.ndarray]: ...


def make_policy(case: Case) -> Any:
    """Separate 64 × 64 tanh actor and critic; the same weights each time."""
    action = Discrete(case.actions) if case.discrete else Box(-1.0, 1.0, (case.actions,), np.float32)
    obs = Box(-np.inf, np.inf, (case.obs,), np.float32)
    spec = EnvSpec(case.name, {"obs": obs}, action, 8, torch.device("cpu"))
    experiment = Experiment.model_validate(
        {
            "env": {"id": "CartPole-v1"},
            "policy": {"hidden_sizes": (64, 64), "activation": "Tanh", "normalize_obs": False},
        }
    )
    return build_policy(experiment, spec, torch.device("cpu"))


def make_data(case: Case) -> Arrays:
    """Rows as a rollout gives them, ratios around 1: `obs` [M, D], `action` [M] or [M, A], the rest [M]."""
    random = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32)

    obs = normal(case.rows, case.obs)
    action = (
        random.integers(case.actions, size=case.rows) if case.discrete else normal(case.rows, case.actions)
    )
    with torch.no_grad():
        start = torch.zeros(case.rows, dtype=torch.bool)
        dist = make_policy(case).compute({"obs": torch.from_numpy(obs)}, {}, start).dist
        logp = dist.log_prob(torch.from_numpy(action)).numpy()
    return {
        "obs": obs,
        "action": action,
        "logp_old": logp + 0.1 * normal(case.rows),
        "advantage": normal(case.rows),
        "target": normal(case.rows),
    }


def layers(policy: Any) -> list[list[tuple[torch.Tensor, torch.Tensor]]]:
    """Weights `[out, in]` and biases of the actor, then of the critic."""
    graph = policy.graph().layers
    chains = ([x for x in graph if x.for_actor], [x for x in graph if x.for_critic])
    return [[(x.linears[0].weight, x.linears[0].bias) for x in chain] for chain in chains]


def initial(case: Case) -> tuple[list[list[tuple[np.ndarray, np.ndarray]]], np.ndarray]:
    """Starting weights as `[in, out]` and biases, and the logarithm of the deviation `[A]` (empty if discrete)."""
    policy = make_policy(case)
    nets = [
        [(np.ascontiguousarray(w.detach().numpy().T), b.detach().numpy().copy()) for w, b in net]
        for net in layers(policy)
    ]
    log_std = np.zeros(0, np.float32) if case.discrete else policy.head.log_std.detach().numpy().copy()
    return nets, log_std


def batching(case: Case) -> RowBatches:
    """Draws the same permutations for every side."""
    return RowBatches(case.minibatch, {}, ORDER_KEY)


class TorchSide:
    """Proximo's engine `eager` or `native`, through the call that the training loop makes."""

    def __init__(self, case: Case, data: Arrays, name: str) -> None:
        self.policy = make_policy(case)
        fields = {key: torch.from_numpy(entry) for key, entry in data.items()}
        fields["obs/obs"], fields["target/task"] = fields.pop("obs"), fields.pop("target")
        fields["value/task"] = torch.zeros(case.rows)
        fields["logp_behavior"] = fields["logp_old"]
        self.units = Units(fields, case.rows, True, 0)
        self.optimizer = Optimizer(self.policy, RATE, "constant", 0.01, MAX_NORM, EPS, 0.0)
        self.losses = [PolicyLoss(CLIP, True), ValueLoss(VALUE_COEF, None), EntropyLoss(ENTROPY_COEF)]
        self.batching, self.plan = batching(case), Plan(case.epochs)
        self.engine: Any = Eager() if name == "eager" else Native(self.policy)

    def update(self) -> None:
        """All epochs and minibatches."""
        self.engine.learn(self.policy, self.optimizer, self.losses, self.batching, [self.units], self.plan)

    def parameters(self) -> list[np.ndarray]:
        """Weights `[in, out]` and biases of actor and critic, then the deviation."""
        found = [x.detach().numpy() for net in layers(self.policy) for w, b in net for x in (w.T, b)]
        log_std = getattr(self.policy.head, "log_std", None)
        return found if log_std is None else [*found, log_std.detach().numpy()]
