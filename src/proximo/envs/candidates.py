"""Every backend that can step an environment, measured with random actions on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from torch import Tensor

from proximo.config.experiment import EnvConfig
from proximo.core.types import Obs, VecEnv
from proximo.envs.make import BACKENDS, make_env
from proximo.errors import ProximoError

ROUNDS, SECONDS, DRAWN = 3, 0.7, 64
"""Measurements of each backend, seconds of each, vector actions drawn ahead of time."""


@dataclass(frozen=True)
class Candidate:
    """One backend."""

    backend: str
    steps_per_second: float | None
    """Environment steps of all copies; None where the backend cannot step this environment."""
    start_up: float | None = None
    """Seconds from nothing to the first observation."""
    reason: str = ""
    """Why it cannot."""

    @property
    def cells(self) -> tuple[str, ...]:
        """A row of the table."""
        if self.steps_per_second is None or self.start_up is None:
            return self.backend, self.reason
        return self.backend, f"{self.steps_per_second:,.0f}", f"{self.start_up:.2f}"

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def measure(config: EnvConfig, rounds: int = ROUNDS, seconds: float = SECONDS) -> list[Candidate]:
    """All backends, the fastest first, those that cannot last; in turn, `rounds` times, medians.

    A backend that refuses the environment (`UserError`) or fails while stepping (`RunError`) tells why.
    """
    speeds: dict[str, list[tuple[float, float]]] = {name: [] for name in BACKENDS}
    failed: dict[str, str] = {}
    for _ in range(rounds):
        for name in BACKENDS:
            if name in failed:
                continue
            try:
                speeds[name].append(_once(config.model_copy(update={"backend": name}), seconds))
            except ProximoError as error:
                failed[name] = str(error).splitlines()[0]
    found = [
        Candidate(name, statistics.median(s for s, _ in rows), statistics.median(u for _, u in rows))
        for name, rows in speeds.items()
        if name not in failed
    ]
    found.sort(key=lambda row: -(row.steps_per_second or 0.0))
    return found + [Candidate(name, None, reason=reason) for name, reason in failed.items()]


def _once(config: EnvConfig, seconds: float) -> tuple[float, float]:
    """Steps per second, and seconds until the first observation."""
    begun = time.perf_counter()
    env = make_env(config)
    try:
        obs = env.reset(0)
        start_up = time.perf_counter() - begun
        act = _random(env)
        _play(env, obs, act, seconds / 4)
        return _play(env, obs, act, seconds), start_up
    finally:
        env.close()


def _play(env: VecEnv, obs: Obs, act: Callable[[Obs], Tensor], seconds: float) -> float:
    taken, begun = 0, time.perf_counter()
    while (passed := time.perf_counter() - begun) < seconds:
        obs = env.step(act(obs)).obs
        taken += env.spec.num_envs
    return taken / passed


def _random(env: VecEnv) -> Callable[[Obs], Tensor]:
    """Uniform actions; drawn ahead of time where nothing is masked, so that drawing costs nothing."""
    space, mask_key = env.spec.action_space, env.spec.mask_key
    if mask_key is not None and isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        discrete = isinstance(space, spaces.Discrete)
        sizes = (
            [int(space.n)] if isinstance(space, spaces.Discrete) else [int(n) for n in space.nvec.flatten()]
        )
        start = torch.as_tensor(space.start)

        def masked(obs: Obs) -> Tensor:
            parts = torch.split(obs[mask_key].float(), sizes, dim=-1)
            drawn = torch.cat([torch.multinomial(part, 1) for part in parts], dim=-1)
            drawn = drawn.squeeze(-1) if discrete else drawn.reshape(len(drawn), *space.shape or ())
            return drawn + start

        return masked
    batch = batch_space(space, env.spec.num_envs)
    batch.seed(0)
    ahead = [torch.as_tensor(batch.sample()) for _ in range(DRAWN)]
    turn = 0

    def drawn_ahead(obs: Obs) -> Tensor:
        nonlocal turn
        turn += 1
        return ahead[turn % DRAWN]

    return drawn_ahead
