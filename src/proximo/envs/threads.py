"""Gymnasium's MuJoCo environments with the physics of all copies in a few threads of this process.

The environments themselves stay as they are and give the same numbers, bit for bit: only their `do_simulation` is
replaced. When a step begins, the kernels start the simulations of all copies, each in another `MjData` than the one
that the environment shows; a few spare ones go round. The copies are then stepped in turn as ever; where one would
simulate, it waits for its result, if it is not there yet, and shows that. While Python computes rewards and
observations of some copies, the threads simulate the next.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.envs.registration import load_env_creator
from gymnasium.wrappers import OrderEnforcing, TimeLimit

from proximo.config.experiment import EnvConfig
from proximo.core.engines.native.fleet import Fleet, find_library, kernels
from proximo.core.engines.native.library import INSTALL
from proximo.envs import guard
from proximo.envs.gym import SyncEnv
from proximo.envs.layers import RawEpisode
from proximo.envs.processors import cores
from proximo.envs.replay import GymEnv
from proximo.envs.single import choose_mujoco_renderer, find, registered, wrapper_class
from proximo.envs.spaces import Array
from proximo.errors import UserError

_GYMNASIUM, _OURS = "gymnasium.envs.", "gymnasium.envs.mujoco"
_SIMULATES = ("step", "do_simulation", "_step_mujoco_simulation")
"""Methods that must be Gymnasium's own: another one may do anything to the simulation before it steps."""
_PASSES_ACTIONS = (OrderEnforcing, TimeLimit, RawEpisode, gym.ObservationWrapper, gym.RewardWrapper)
MAX_THREADS = 16
SPARES_A_THREAD = 4
"""`MjData` beside the shown ones: how far a thread may be ahead of the environment that reads its results."""


def is_mujoco(config: EnvConfig) -> bool:
    """Whether `env.id` names one of Gymnasium's MuJoCo environments or a subclass of their base."""
    return _kind(config) is not None


def refuses(config: EnvConfig) -> str | None:
    """Why the copies of a configuration cannot be stepped by threads; None where they can."""
    cls = _kind(config)
    if cls is None:
        return "it steps gymnasium.envs.mujoco.MujocoEnv and its subclasses only"
    if kernels() is None:
        return f"it needs the native kernels: {INSTALL}"
    for name in _SIMULATES:
        if not getattr(cls, name).__module__.startswith(_OURS):
            return f"{cls.__name__} has a {name} of its own, which may change the simulation before it steps"
    target = find(config.id)
    own = registered(target).additional_wrappers if isinstance(target, str) else ()
    wrappers = [(w.name, wrapper_class(w)) for w in config.wrappers]
    for name, wrapper in (*((w.name, gym.Wrapper) for w in own), *wrappers):
        if not issubclass(wrapper, _PASSES_ACTIONS):
            return f"the wrapper {name} may change actions"
    return None


def _kind(config: EnvConfig) -> Any:
    """The environment's class where it is a `MujocoEnv`, else None; errors are left to whoever makes it."""
    target: Any = find(config.id)
    if isinstance(target, str):
        target = registered(target).entry_point
    if isinstance(target, str):
        theirs = target.startswith(_GYMNASIUM) and not target.startswith(_OURS)
        if theirs or importlib.util.find_spec("mujoco") is None:
            return None
        choose_mujoco_renderer()
        try:
            target = load_env_creator(target)
        except (ImportError, AttributeError):
            return None
    module = sys.modules.get(f"{_OURS}.mujoco_env")
    return target if module and isinstance(target, type) and issubclass(target, module.MujocoEnv) else None


def alike(make: Callable[[], GymEnv], count: int, config: EnvConfig) -> list[GymEnv]:
    """`count` environments that `make` gives; Gymnasium's own keep one model for all, half a megabyte each.

    A model is constants, and nothing of Gymnasium's writes to it; a user's class or wrapper may.
    """
    envs = [make()]
    shared = type(envs[0].unwrapped).__module__.startswith(_OURS) and not config.wrappers
    for _ in range(1, count):
        envs.append(make())
        if shared:
            _take_model(envs[-1].unwrapped, envs[0].unwrapped)
    return envs


def _take_model(base: Any, other: Any) -> None:
    base.model = base.mujoco_renderer.model = other.model
    base.data = base.mujoco_renderer.data = type(base.data)(other.model)


class ThreadedMujoco(SyncEnv):
    """Steps `envs` (all alike, MuJoCo's) with their physics in threads; everything else is `SyncEnv`'s.

    Raises `UserError` where a wrapper may change actions, or the threads would compute something else.
    """

    def __init__(
        self, envs: Sequence[GymEnv], config: EnvConfig, device: torch.device, first_env: int = 0
    ) -> None:
        super().__init__(envs, config, device, first_env)
        self._copies.arguments = self._begin
        _check_layers(envs[0], config.id)
        self._bases: list[Any] = [env.unwrapped for env in envs]
        self._fleet = _fleet(self._bases, config.id)
        _compare(self._fleet, envs[0], config.id)
        self._ahead: list[Any] = [None] * len(envs)
        for index, base in enumerate(self._bases):
            base.do_simulation = _simulation(base, self._fleet, index, self._ahead)

    def close(self) -> None:
        """Stop the threads, close every copy."""
        self._fleet.close()
        super().close()

    def _begin(self, given: Array) -> list[Any]:
        rows = list(given)
        self._fleet.advance(given, self._bases[0].frame_skip)
        self._ahead[:] = rows
        return rows


def _fleet(bases: Sequence[Any], env_id: str) -> Fleet:
    mujoco = importlib.import_module("mujoco")
    folder = Path(str(mujoco.__file__)).parent
    path = find_library(folder)
    if path is None:
        raise UserError(f"env.backend=threads: no libmujoco in {folder}; use sync")
    which = int(mujoco.mjtState.mjSTATE_INTEGRATION)
    models = [base.model for base in bases]
    if len({int(model.signature) for model in models}) > 1:
        raise UserError(f"env.backend=threads: the copies of {env_id} simulate different bodies; use sync")
    size = mujoco.mj_stateSize(models[0], which)
    threads = min(cores(), len(bases), MAX_THREADS)
    # Any spare one fits all models of one structure: what a step does not write anew is in the state that is copied.
    spare = [mujoco.MjData(models[0]) for _ in range(min(len(bases), SPARES_A_THREAD * threads))]
    return Fleet(path, models, [*(base.data for base in bases), *spare], which, size, threads - 1)


def _simulation(base: Any, fleet: Fleet, index: int, ahead: list[Any]) -> Callable[[Any, int], None]:
    """`do_simulation` for one copy: take what the threads have computed for this very action, else simulate."""
    own, model, shown = base.do_simulation, base.model, base.data

    def do_simulation(ctrl: Any, n_frames: int) -> None:
        nonlocal shown
        if (
            ctrl is not ahead[index]
            or n_frames != fleet.frames
            or base.data is not shown
            or base.model is not model
        ):
            # Replayed episodes, and whatever was exchanged or changed by hand since the threads began.
            own(ctrl, n_frames)
            return
        ahead[index] = None
        base.data = shown = fleet.result(index)

    return do_simulation


def _check_layers(env: GymEnv, env_id: str) -> None:
    layer: Any = env
    while isinstance(layer, gym.Wrapper):
        if not isinstance(layer, _PASSES_ACTIONS):
            raise UserError(
                f"env.backend=threads: {env_id} is wrapped in {type(layer).__name__}, which may change actions; "
                "use sync"
            )
        layer = layer.env


def _compare(fleet: Fleet, env: GymEnv, env_id: str) -> None:
    """One step by the threads and by the environment itself; every episode is seeded, so it leaves no trace."""
    base: Any = env.unwrapped
    guard.reset(env, 0, lambda: f"{env_id}, at reset,")
    own = copy(base.data)
    ctrl = np.tile(base.action_space.high / 2, (fleet.count, 1))
    fleet.advance(ctrl, base.frame_skip)
    theirs = fleet.result(0)
    base.data = own
    base.do_simulation(ctrl[0], base.frame_skip)
    base.data = theirs
    for name in ("qpos", "qvel", "qacc_warmstart", "xpos", "cinert", "cvel", "qfrc_actuator", "cfrc_ext"):
        if not np.array_equal(getattr(own, name), getattr(theirs, name)):
            raise UserError(
                f"env.backend=threads: {env_id} simulates in another way than its threads ({name} differs after "
                "one step); use sync"
            )
