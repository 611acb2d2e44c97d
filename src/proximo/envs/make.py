"""The front door: a configuration in, a tensor environment out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from proximo.config.experiment import EnvConfig
from proximo.core.types import VecEnv
from proximo.envs import ale, threads
from proximo.envs.ahead import expensive
from proximo.envs.classic import BatchClassic, refuses
from proximo.envs.envpool import EnvPool
from proximo.envs.gym import SyncEnv
from proximo.envs.processors import cores
from proximo.envs.registration import THERAPY
from proximo.envs.single import make_single, make_vector, only_vector
from proximo.envs.therapy import batch as therapy
from proximo.envs.vector import GymVectorEnv
from proximo.envs.winners import cached_winner
from proximo.envs.workers import WorkersEnv
from proximo.errors import UserError


@dataclass(frozen=True)
class Request:
    """What a backend is asked for."""

    config: EnvConfig
    num_envs: int
    device: torch.device
    render_mode: str | None
    training: bool
    """False for evaluation: what only helps learning (ends at a lost life, clipped rewards) is left out."""
    first_env: int
    """Global index of the first copy (it enters the seeds)."""


def make_sync(request: Request) -> VecEnv:
    """One Gymnasium environment per copy, stepped one by one in this process."""
    envs = [
        make_single(request.config, render_mode=request.render_mode, training=request.training)
        for _ in range(request.num_envs)
    ]
    return SyncEnv(envs, request.config, request.device, request.first_env)


def make_threads(request: Request) -> VecEnv:
    """Gymnasium's MuJoCo environments, their physics in threads; one copy, or one to be drawn, needs none."""
    reason = threads.refuses(request.config)
    if reason is not None:
        raise UserError(f"env.backend=threads: {request.config.id}: {reason}; use sync")
    if request.num_envs == 1 or request.render_mode is not None:
        return make_sync(request)
    config, count = request.config, request.num_envs
    envs = threads.alike(lambda: make_single(config, training=request.training), count, config)
    return threads.ThreadedMujoco(envs, config, request.device, request.first_env)


def make_gym_vector(request: Request) -> VecEnv:
    """The environment's own vectorised implementation (its vector entry point, or a `VectorEnv` class)."""
    env = make_vector(request.config, request.num_envs, request.render_mode)
    return GymVectorEnv(env, request.config, request.device, request.first_env)


def make_envpool(request: Request) -> VecEnv:
    """EnvPool's version of the environment; one that is drawn is Gymnasium's.

    Where OpenGL is not found, EnvPool's MuJoCo ends the process when it draws.
    """
    if request.render_mode is not None:
        return make_sync(request)
    pool: Any = EnvPool(request.config, request.num_envs)
    return GymVectorEnv(pool, request.config, request.device, request.first_env)


def make_ale(request: Request) -> VecEnv:
    """ALE's own vector environment, for Atari games; one that must be drawn is stepped by `sync`."""
    if request.render_mode is not None:
        return make_sync(request)
    training = request.training
    return ale.AleVectorEnv(request.config, request.num_envs, request.device, request.first_env, training)


def make_batch(request: Request) -> VecEnv:
    """Proximo's own batch implementation of the classic-control tasks or of the therapy client."""
    made = therapy.BatchTherapy if request.config.id == THERAPY else BatchClassic
    mode = request.render_mode
    return made(request.config, request.num_envs, request.device, request.first_env, render_mode=mode)


def make_workers(request: Request) -> VecEnv:
    """Gymnasium environments in worker processes that share memory with this one."""
    return WorkersEnv(
        request.config,
        request.num_envs,
        request.device,
        request.first_env,
        render_mode=request.render_mode,
        training=request.training,
    )


BACKENDS: dict[str, Callable[[Request], VecEnv]] = {
    "sync": make_sync,
    "threads": make_threads,
    "batch": make_batch,
    "vector": make_gym_vector,
    "envpool": make_envpool,
    "workers": make_workers,
    "ale": make_ale,
}
"""Ways to step the copies, by name; `auto` chooses one of them."""


_OF_WORKERS = {"workers": 0, "half_batches": False, "reset_ahead": "auto", "on_crash": "fail"}
"""Settings of the `workers` backend and the values that ask for nothing."""


def _wants_workers(config: EnvConfig) -> str | None:
    """The first setting that only the `workers` backend can fulfil."""
    asked = (name for name, nothing in _OF_WORKERS.items() if getattr(config, name) not in (nothing, False))
    return next(asked, None)


def choose_backend(config: EnvConfig) -> tuple[str, str]:
    """Name of the backend for a configuration and why: what `proximo bench env` found here, else a static rule."""
    if config.backend != "auto":
        if config.backend not in BACKENDS:
            raise UserError(f"env.backend: {config.backend!r} is none of {', '.join(['auto', *BACKENDS])}")
        if config.backend != "workers" and _wants_workers(config):
            raise UserError(f"env.{_wants_workers(config)} needs env.backend: workers, not {config.backend}")
        return config.backend, "asked for"
    if _wants_workers(config):
        return "workers", f"env.{_wants_workers(config)} needs it"
    measured = cached_winner(config)
    if measured in BACKENDS:
        return measured, "the fastest on this machine, as `proximo bench env` measured"
    if only_vector(config.id):
        return "vector", "the environment exists only in vectorised form"
    if config.id == THERAPY and therapy.refuses(config) is None:
        return "batch", "Proximo simulates all clients at once"
    if refuses(config) is None:
        return "batch", "Proximo steps all copies of the classic-control tasks at once"
    if threads.is_mujoco(config):
        return _choose_for_mujoco(config)
    if expensive(config.id):
        return _choose_for_expensive()
    if ale.refuses(config) is None:
        return _choose_for_atari(config)
    return "sync", "one process is fastest for cheap environments, and it can resume any of them"


def _choose_for_expensive() -> tuple[str, str]:
    if cores() == 1:
        return "sync", "its resets are slow, but on one core other processes would not make them faster"
    return "workers", "its resets cost many steps: other processes do them ahead of time"


def _choose_for_mujoco(config: EnvConfig) -> tuple[str, str]:
    reason = threads.refuses(config)
    if reason is not None:
        return "sync", f"not by threads: {reason}"
    if config.num_envs == 1 or cores() == 1:
        return "sync", "threads pay with two copies and two cores or more"
    return "threads", "MuJoCo's physics on all cores gives the same numbers sooner"


def _choose_for_atari(config: EnvConfig) -> tuple[str, str]:
    if config.num_envs == 1 or cores() == 1:
        return "sync", "ALE's threads pay with two copies and two cores or more"
    return "ale", "ALE steps all copies at once, in threads; it cannot resume games, env.backend=sync can"


def make_env(
    config: EnvConfig,
    *,
    num_envs: int | None = None,
    device: str | torch.device = "cpu",
    render_mode: str | None = None,
    training: bool = True,
    first_env: int = 0,
) -> VecEnv:
    """`num_envs` (default: `config.num_envs`) copies of an environment; `UserError` if it cannot be made."""
    name, _ = choose_backend(config)
    count = config.num_envs if num_envs is None else num_envs
    if count < 1:
        raise UserError(f"env.num_envs must be at least 1, not {count}")
    return BACKENDS[name](Request(config, count, torch.device(device), render_mode, training, first_env))
