"""How good are agents and scripted therapists, all with the same clients?

A cell is one pattern, mechanism and threshold; in every cell each therapist treats the clients of the same seeds,
so differences are paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from proximo.agent import Agent, load, load_policy, observation_space
from proximo.envs.hashing import Ints
from proximo.envs.make import make_env
from proximo.envs.registration import THERAPY
from proximo.envs.tensors import to_tensors
from proximo.envs.therapy import sight
from proximo.envs.therapy.clients import ALL as EVERYONE
from proximo.envs.therapy.clients import Clients
from proximo.envs.therapy.parameters import STRUCTURE, Parameters, parameters_of
from proximo.envs.therapy.therapists import THERAPISTS, Judgement, Therapist, judge, therapist
from proximo.errors import UserError
from proximo.recipes import therapy_places as places
from proximo.recipes.therapy import experiment_of
from proximo.recipes.therapy_config import load_config
from proximo.runs.evaluation import actor
from proximo.runs.statistics import paired_difference

FIRST_SEED = 1_000_003
"""Clients are those of this seed and the following ones; trainings hash theirs from the run's seed."""


def agent_of(name: str) -> Agent:
    """The agent of a run, of a checkpoint, or of `models/<name>` (its best one).

    Raises: UserError where there is none, or where it was trained on something else.
    """
    place = places.find(name)
    if place is None:
        agent = load(name)
    else:
        experiment = experiment_of(load_config(place.parent / places.CONFIG))
        env = make_env(experiment.env, num_envs=1, training=False)
        try:
            policy = load_policy(experiment, env.spec, place)
            agent = Agent(policy, experiment, observation_space(experiment.env), env.spec)
        finally:
            env.close()
    if agent.experiment.env.id != THERAPY:
        raise UserError(f"{name}: was trained on {agent.experiment.env.id}, not on {THERAPY}")
    return agent


class Treats:
    """An agent as a therapist of `judge`: it sees what the environment would show it."""

    def __init__(self, agent: Agent, *, deterministic: bool = True) -> None:
        self.agent = agent
        self.deterministic = deterministic
        wrappers = agent.experiment.env.wrappers
        reason = sight.refuses(wrappers)
        if reason is not None:
            raise UserError(f"{agent.experiment.name}: cannot be judged beside scripted therapists: {reason}")
        self._sight = sight.sight_of(wrappers)
        self._act: Any = None

    def __call__(self, clients: Clients) -> Ints:
        """Octants `[N]`; begins anew (memory, noise) where the clients do."""
        first = clients.session == 0
        spec = replace(self.agent.spec, num_envs=clients.count)
        if first.all():
            self._act = actor(self.agent.policy, spec, FIRST_SEED, self.deterministic)
        seen = self._sight(clients, EVERYONE)
        obs = to_tensors({key: seen[key] for key in spec.obs_spaces}, spec.device)
        octants: Ints = self._act(obs, torch.from_numpy(first)).cpu().numpy().astype(np.int64)
        return octants


Who = Mapping[str, Therapist]
"""Therapists by the name they are shown under."""


def therapists(agents: Sequence[str], scripted: Sequence[str], *, stochastic: bool = False) -> Who:
    """Agents by what the user called them, then scripted therapists; UserError for an unknown or doubled name."""
    found: dict[str, Therapist] = {}
    for name in agents:
        if name in found or name in THERAPISTS:
            raise UserError(f"{name}: is named twice")
        found[name] = Treats(agent_of(name), deterministic=not stochastic)
    for name in scripted:
        found[name] = therapist(name)
    return found


def clients_of(who: Who) -> tuple[dict[str, Any], Parameters]:
    """What the first agent's clients were like, as keyword arguments and checked; the defaults without agents.

    Raises UserError where agents see histories of different lengths, so that none fits all.
    """
    agents = {name: acts for name, acts in who.items() if isinstance(acts, Treats)}
    trained = {name: dict(acts.agent.experiment.env.kwargs) for name, acts in agents.items()}
    first = next(iter(trained), "")
    for name, given in trained.items():
        for key in STRUCTURE:
            if getattr(parameters_of(given), key) != getattr(parameters_of(trained[first]), key):
                raise UserError(f"{name}: was trained with another {key} than {first}; compare them apart")
    given = trained.get(first, {})
    return given, parameters_of(given)


@dataclass(frozen=True)
class Cell:
    """One kind of client and how every therapist did with the clients of this kind."""

    pattern: str
    mechanism: str
    threshold: float
    judgements: dict[str, Judgement]

    def difference(self, name: str, against: str, what: str = "success") -> tuple[float, float, float]:
        """Mean difference of `what` to another therapist with the same clients, and its 95 % interval."""
        one, other = (getattr(self.judgements[who], what).astype(float) for who in (name, against))
        return paired_difference(one, other)


ALL = "all patterns"


@dataclass(frozen=True)
class Grid:
    """Which clients: every combination. With several patterns there is also one of each client's own drawing."""

    patterns: tuple[str, ...]
    mechanisms: tuple[str, ...]
    thresholds: tuple[float, ...]

    def kinds(
        self, base: Mapping[str, Any], mechanism: str, threshold: float
    ) -> Iterator[tuple[str, Parameters]]:
        """Name and parameters per pattern, the mixture last."""
        given = {**base, "mechanism": mechanism, "threshold": threshold}
        for pattern in self.patterns:
            yield pattern, parameters_of({**given, "patterns": [pattern]})
        if len(self.patterns) > 1:
            yield ALL, parameters_of({**given, "patterns": list(self.patterns)})

    def check(self, base: Mapping[str, Any]) -> None:
        """UserError for a pattern, mechanism or threshold that the simulation does not know."""
        for mechanism in self.mechanisms:
            for threshold in self.thresholds:
                for _ in self.kinds(base, mechanism, threshold):
                    pass


def cells(
    who: Who, base: Mapping[str, Any], grid: Grid, clients: int, seed: int = FIRST_SEED
) -> Iterator[Cell]:
    """Every cell of the grid, one by one, as they are done; `base` are the other parameters of the clients."""
    seeds = np.arange(seed, seed + clients)
    for mechanism in grid.mechanisms:
        for threshold in grid.thresholds:
            for pattern, parameters in grid.kinds(base, mechanism, threshold):
                results = {name: judge(acts, seeds, parameters) for name, acts in who.items()}
                yield Cell(pattern, mechanism, threshold, results)


def summary(name: str, result: Judgement) -> dict[str, Any]:
    """JSON values of one therapist in one cell."""
    return {
        "therapist": name,
        "clients": len(result.seeds),
        "success_rate": result.success_rate,
        "dropout_rate": result.dropout_rate,
        "sessions": float(result.sessions.mean()),
        "return_mean": float(result.returns.mean()),
        "complementary": float(result.complementary.mean()),
    }
